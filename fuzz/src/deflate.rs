//! DEFLATE once more (RFC 1951), in the simplest code that is right, with the ends of messages as
//! RFC 7692 has them.
//!
//! It reads bit by bit, and walks a tree for every symbol. Unlike zlib it holds a sender to its
//! window: zlib-rs has 32 KiB of history whatever it was asked for.

/// What a sender leaves out at the end of a message (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// The order in which the lengths of the code for code lengths come (RFC 1951, section 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// What a message is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inflated {
    Whole(Vec<u8>),
    /// More than was wanted comes out.
    TooBig,
    /// It is not DEFLATE, or does not end where a block does.
    Bad,
}

/// Messages that may refer to those before them.
pub(crate) struct Messages {
    /// How far back they may refer, in bytes.
    window: usize,
    /// All that came out so far.
    output: Vec<u8>,
    /// Where the history begins: nothing refers to what was before a last block.
    floor: usize,
}

impl Messages {
    pub(crate) const fn new(window: usize) -> Self {
        Self { window, output: Vec::new(), floor: 0 }
    }

    /// Nothing refers to what was before.
    pub(crate) const fn forget(&mut self) {
        self.floor = self.output.len();
    }

    /// Inflates one message, of at most `most` bytes.
    pub(crate) fn inflate(&mut self, payload: &[u8], most: usize) -> Inflated {
        let bytes = [payload, &TAIL].concat();
        let start = self.output.len();
        let mut bits = Bits { bytes: &bytes, at: 0 };
        let end = 8 * payload.len();
        let mut block =
            Block { end, is_late: false, most: start.saturating_add(most), messages: self };
        match block.all(&mut bits) {
            Ok(()) => Inflated::Whole(self.output[start..].to_vec()),
            Err(Stop::Bad) => Inflated::Bad,
            Err(Stop::TooBig) => Inflated::TooBig,
        }
    }
}

/// Why a message is not inflated.
enum Stop {
    Bad,
    TooBig,
}

/// The blocks of one message.
struct Block<'a> {
    /// The bit where the payload ends; nothing may come out of what follows.
    end: usize,
    /// Whether something did.
    is_late: bool,
    /// The size of the output that must not be exceeded.
    most: usize,
    messages: &'a mut Messages,
}

impl Block<'_> {
    fn all(&mut self, bits: &mut Bits<'_>) -> Result<(), Stop> {
        // Behind a last block, and where nothing has come, nothing was left out.
        let mut is_new = true;
        while bits.at < 8 * bits.bytes.len() && !(is_new && bits.at == self.end) {
            is_new = bits.take(1)? == 1;
            match bits.take(2)? {
                0 => self.stored(bits)?,
                1 => {
                    self.compressed(bits, &Code::fixed_symbols()?, &Code::new(&[5; 32], false)?)?;
                }
                2 => {
                    let (symbols, distances) = read_codes(bits)?;
                    self.compressed(bits, &symbols, &distances)?;
                }
                _reserved => return Err(Stop::Bad),
            }
            if is_new {
                bits.align();
                self.messages.forget();
            }
        }
        if self.is_late { Err(Stop::Bad) } else { Ok(()) }
    }

    /// Section 3.2.4.
    fn stored(&mut self, bits: &mut Bits<'_>) -> Result<(), Stop> {
        bits.align();
        let (length, complement) = (bits.take(16)?, bits.take(16)?);
        if length ^ complement != 0xFFFF {
            return Err(Stop::Bad);
        }
        let rest = &bits.bytes[bits.at / 8..];
        let stored = &rest[..length.min(rest.len())];
        bits.at += 8 * stored.len();
        self.make_room(bits, stored.len())?;
        self.messages.output.extend_from_slice(stored);
        if stored.len() == length { Ok(()) } else { Err(Stop::Bad) }
    }

    /// Section 3.2.3.
    fn compressed(
        &mut self,
        bits: &mut Bits<'_>,
        symbols: &Code,
        distances: &Code,
    ) -> Result<(), Stop> {
        loop {
            let length = match symbols.read(bits)? {
                literal @ 0..256 => {
                    self.make_room(bits, 1)?;
                    self.messages.output.push(u8::try_from(literal).map_err(|_| Stop::Bad)?);
                    continue;
                }
                256 => return Ok(()),
                symbol @ 257..265 => symbol - 254,
                symbol @ 265..285 => grown(bits, symbol - 257, 4)? + 3,
                285 => 258,
                _unused => return Err(Stop::Bad),
            };
            let distance = match distances.read(bits)? {
                symbol @ 0..4 => symbol + 1,
                symbol @ 4..30 => grown(bits, symbol, 2)? + 1,
                _unused => return Err(Stop::Bad),
            };
            let Messages { window, output, floor } = &self.messages;
            if distance > (output.len() - floor).min(*window) {
                return Err(Stop::Bad);
            }
            self.make_room(bits, length)?;
            let output = &mut self.messages.output;
            let from = output.len() - distance;
            // What it refers to may be what it makes.
            for done in (0..length).step_by(distance) {
                output.extend_from_within(from..from + distance.min(length - done));
            }
        }
    }

    /// So many bytes come out here, if that is not too much.
    fn make_room(&mut self, bits: &Bits<'_>, count: usize) -> Result<(), Stop> {
        self.is_late |= count > 0 && bits.at > self.end;
        let is_enough = count <= self.most - self.messages.output.len();
        if is_enough { Ok(()) } else { Err(Stop::TooBig) }
    }
}

/// The tables of section 3.2.5 as a formula: after the first symbols every `step` of them have one
/// more extra bit.
fn grown(bits: &mut Bits<'_>, symbol: usize, step: usize) -> Result<usize, Stop> {
    let extra = symbol / step - 1;
    Ok(((step + symbol % step) << extra) + bits.take(extra)?)
}

/// Section 3.2.7.
fn read_codes(bits: &mut Bits<'_>) -> Result<(Code, Code), Stop> {
    let (symbols, distances) = (bits.take(5)? + 257, bits.take(5)? + 1);
    let count = bits.take(4)? + 4;
    if symbols > 286 || distances > 30 {
        return Err(Stop::Bad);
    }
    let mut lengths = [0; 19];
    for index in &ORDER[..count] {
        lengths[*index] = bits.take(3)?;
    }
    let code = Code::new(&lengths, true)?;
    let mut lengths = Vec::new();
    while lengths.len() < symbols + distances {
        let (length, times) = match code.read(bits)? {
            16 => (*lengths.last().ok_or(Stop::Bad)?, bits.take(2)? + 3),
            17 => (0, bits.take(3)? + 3),
            18 => (0, bits.take(7)? + 11),
            length => (length, 1),
        };
        lengths.extend(std::iter::repeat_n(length, times));
    }
    // A repetition must not go beyond the end, and every block has an end.
    if lengths.len() > symbols + distances || lengths[256] == 0 {
        return Err(Stop::Bad);
    }
    let (symbols, distances) = lengths.split_at(symbols);
    Ok((Code::new(symbols, false)?, Code::new(distances, false)?))
}

/// A Huffman code as a binary tree. The children of node `n` are `2 n` and `2 n + 1`, the root is
/// node 1.
struct Code {
    symbols: Vec<Option<usize>>,
}

impl Code {
    /// Section 3.2.2. A code must use all of its tree; but one for symbols or distances may
    /// consist of a single bit or, as long as nothing is read with it, of nothing.
    fn new(lengths: &[usize], is_for_lengths: bool) -> Result<Self, Stop> {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut symbols = vec![None; 2 << longest];
        let mut node = 1;
        for length in 1..=longest {
            node *= 2;
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, own)| **own == length) {
                *symbols.get_mut(node).filter(|_| node < 2 << length).ok_or(Stop::Bad)? =
                    Some(symbol);
                node += 1;
            }
        }
        let is_complete = longest > 0 && node == 2 << longest;
        let may_be_incomplete = longest <= 1 && !is_for_lengths;
        if is_complete || may_be_incomplete { Ok(Self { symbols }) } else { Err(Stop::Bad) }
    }

    /// Section 3.2.6.
    fn fixed_symbols() -> Result<Self, Stop> {
        let lengths = [[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat();
        Self::new(&lengths, false)
    }

    fn read(&self, bits: &mut Bits<'_>) -> Result<usize, Stop> {
        let mut node = 1;
        loop {
            node = 2 * node + bits.next()?;
            if let Some(symbol) = self.symbols.get(node).ok_or(Stop::Bad)? {
                return Ok(*symbol);
            }
        }
    }
}

/// Bytes as bits, the lowest first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn next(&mut self) -> Result<usize, Stop> {
        let byte = self.bytes.get(self.at / 8).ok_or(Stop::Bad)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Ok(bit.into())
    }

    /// The next bits as a number, the lowest first.
    fn take(&mut self, count: usize) -> Result<usize, Stop> {
        let mut number = 0;
        for place in 0..count {
            number |= self.next()? << place;
        }
        Ok(number)
    }

    /// Skips the rest of a byte that has begun.
    const fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Inflated {
        Inflated::Whole(text.into())
    }

    #[test]
    fn the_examples_of_rfc_7692() {
        let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
        let mut messages = Messages::new(512);
        assert_eq!(messages.inflate(&hello, 5), text("Hello"));
        assert_eq!(messages.inflate(&[0xF2, 0x00, 0x11, 0x00, 0x00], 5), text("Hello"));
        let mut alone = |payload: &[u8]| {
            messages.forget();
            messages.inflate(payload, 5)
        };
        assert_eq!(alone(b"\x00\x05\x00\xFA\xFFHello\x00"), text("Hello"));
        assert_eq!(alone(&[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00]), text("Hello"));
        let two = [0xF2, 0x48, 0x05, 0, 0, 0, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00];
        assert_eq!(alone(&two), text("Hello"));
        assert_eq!(alone(&[0x00]), text(""));
        assert_eq!(alone(&[]), text(""));
        assert_eq!(alone(&hello[..6]), Inflated::Bad);
        assert_eq!(alone(&[0xF2, 0x00, 0x11, 0x00, 0x00]), Inflated::Bad, "a distance beyond");
    }

    #[test]
    fn what_is_beyond_the_window_or_the_limit() {
        // The second message is a match five bytes back.
        let mut messages = Messages::new(2);
        let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
        assert_eq!(messages.inflate(&hello, 4), Inflated::TooBig);
        assert_eq!(messages.inflate(&hello, 5), text("Hello"));
        assert_eq!(messages.inflate(&[0xF2, 0x00, 0x11, 0x00, 0x00], 5), Inflated::Bad);
    }
}
