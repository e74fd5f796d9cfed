//! What is done with bytes, without a socket.

use std::hint::black_box;

use handy_ws_benchmarks::frames::Payload;
use handy_ws_core::proto::utf8::{Utf8Validator, to_str};
use handy_ws_core::proto::{
    Decoder, Inflation, Input, Limits, Opcode, SharedInflater, apply_mask, encode_frame,
    encoded_size,
};

use super::{Outcome, Work};

const KIB_16: usize = 16 * 1024;

/// Masked frames become events, in an input or in several.
pub(super) struct Decode {
    frames: Vec<u8>,
    /// The same; what is decoded is unmasked where it lies.
    input: Vec<u8>,
    cut: usize,
    decoder: Decoder,
    limits: Limits,
    inflater: SharedInflater,
    messages: usize,
    seen: usize,
}

impl Decode {
    /// Short texts, which all come at once.
    pub(super) fn small() -> Self {
        Self::new(Payload::Ascii.frame(32).repeat(64), usize::MAX, 64)
    }

    /// A message that fits into one read.
    pub(super) fn large() -> Self {
        Self::new(Payload::Binary.frame(65_536), usize::MAX, 1)
    }

    /// A text in 16 frames, cut so that seven headers and some code points are split.
    pub(super) fn fragments() -> Self {
        let frame = Payload::Mixed.frame(1024);
        let mut frames = frame.repeat(16);
        for (index, first) in frames.iter_mut().step_by(frame.len()).enumerate() {
            // FIN in the last one only, and the opcode in the first one.
            *first = u8::from(index == 0) | u8::from(index == 15) << 7;
        }
        Self::new(frames, frame.len() + 1, 1)
    }

    fn new(frames: Vec<u8>, cut: usize, messages: usize) -> Self {
        Self {
            input: frames.clone(),
            frames,
            cut,
            decoder: Decoder::new(Inflation::Off),
            limits: Limits::default(),
            inflater: SharedInflater::new(),
            messages,
            seen: 0,
        }
    }
}

impl Work for Decode {
    fn units(&self) -> usize {
        self.messages
    }

    fn prepare(&mut self) -> Outcome {
        self.input.copy_from_slice(&self.frames);
        self.seen = 0;
        Ok(())
    }

    fn work(&mut self) -> Outcome {
        for piece in self.input.chunks_mut(self.cut) {
            let mut input = Input::new(piece);
            while let Some(event) =
                self.decoder.next(&self.limits, &mut self.inflater, &mut input)?
            {
                black_box(&event);
                self.seen += 1;
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Outcome {
        expect("messages", self.seen, self.messages)
    }
}

/// Payloads become frames.
pub(super) struct Encode {
    payload: Vec<u8>,
    frames: usize,
    out: Vec<u8>,
}

impl Encode {
    pub(super) fn new(frames: usize, size: usize) -> Self {
        Self { payload: Payload::Ascii.bytes(size), frames, out: Vec::new() }
    }
}

impl Work for Encode {
    fn units(&self) -> usize {
        self.frames
    }

    fn prepare(&mut self) -> Outcome {
        self.out.clear();
        Ok(())
    }

    fn work(&mut self) -> Outcome {
        for _ in 0..self.frames {
            encode_frame(&mut self.out, Opcode::Text, black_box(&self.payload));
        }
        Ok(())
    }

    fn check(&mut self) -> Outcome {
        expect("bytes", self.out.len(), self.frames * encoded_size(self.payload.len()))
    }
}

/// A payload is masked, as long as one read may be.
pub(super) struct Mask {
    payload: Vec<u8>,
}

impl Mask {
    const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

    pub(super) fn new() -> Self {
        Self { payload: vec![0; KIB_16] }
    }
}

impl Work for Mask {
    fn units(&self) -> usize {
        1
    }

    fn prepare(&mut self) -> Outcome {
        self.payload.fill(0);
        Ok(())
    }

    fn work(&mut self) -> Outcome {
        apply_mask(&mut self.payload, black_box(Self::KEY));
        Ok(())
    }

    fn check(&mut self) -> Outcome {
        let masked = self.payload.chunks(4).filter(|chunk| *chunk == Self::KEY).count();
        expect("masked words", masked, KIB_16 / 4)
    }
}

/// A text is proven to be UTF-8.
pub(super) struct Validate {
    text: Vec<u8>,
    /// `None`: it comes as a whole.
    piece: Option<usize>,
    valid: usize,
}

impl Validate {
    pub(super) fn whole(text: Payload) -> Self {
        Self { text: text.bytes(KIB_16), piece: None, valid: 0 }
    }

    /// In pieces that end inside of code points, if there are long ones.
    pub(super) fn in_pieces(text: Payload) -> Self {
        Self { text: text.bytes(KIB_16), piece: Some(1000), valid: 0 }
    }
}

impl Work for Validate {
    fn units(&self) -> usize {
        1
    }

    fn prepare(&mut self) -> Outcome {
        self.valid = 0;
        Ok(())
    }

    fn work(&mut self) -> Outcome {
        let Some(piece) = self.piece else {
            let text = to_str(black_box(&self.text)).map_err(|_| "this is no UTF-8")?;
            self.valid = text.len();
            return Ok(());
        };
        let mut validator = Utf8Validator::default();
        for piece in self.text.chunks(piece) {
            validator.feed(piece).map_err(|_| "this is no UTF-8")?;
            self.valid += piece.len();
        }
        if validator.is_complete() { Ok(()) } else { Err("the text ends too early".into()) }
    }

    fn check(&mut self) -> Outcome {
        expect("valid bytes", self.valid, self.text.len())
    }
}

pub(super) fn expect(what: &str, is: usize, should_be: usize) -> Outcome {
    if is == should_be {
        return Ok(());
    }
    Err(format!("there are {is} {what} instead of {should_be}").into())
}
