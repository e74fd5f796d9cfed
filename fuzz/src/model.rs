//! RFC 6455 once more, in the simplest code that is right for a stream that is there as a whole.
//!
//! It reads byte by byte and says where the byte stands that ends a message or proves an error;
//! a length counts as one thing that is known with its last byte. No extension is known here.

use handy_ws_core::proto::{
    CloseCode, CloseFrame, Limits, Opcode, Payload, ProtocolError, Received,
};

/// What a stream means.
#[derive(Debug)]
pub(crate) struct Meaning {
    /// What is said, and where in the stream each ends.
    pub(crate) events: Vec<(Received, usize)>,
    /// The error that ends it, and how many bytes prove it.
    pub(crate) failed: Option<(ProtocolError, usize)>,
}

pub(crate) fn read(limits: &Limits, stream: &[u8]) -> Meaning {
    let mut reader = Reader { limits, stream, at: 0, message: None, events: Vec::new() };
    loop {
        match reader.frame() {
            Ok(()) => {}
            Err(Stop::End) => return Meaning { events: reader.events, failed: None },
            Err(Stop::Failed(error)) => {
                return Meaning { events: reader.events, failed: Some((error, reader.at)) };
            }
        }
    }
}

struct Reader<'a> {
    limits: &'a Limits,
    stream: &'a [u8],
    at: usize,
    message: Option<Message>,
    events: Vec<(Received, usize)>,
}

struct Message {
    is_text: bool,
    payload: Vec<u8>,
    /// How much of a text is known to be good.
    checked: usize,
    frames: u32,
}

/// Why no further frame is read.
enum Stop {
    /// The stream is over, or a CLOSE frame was the last word.
    End,
    /// The byte before this place proves it.
    Failed(ProtocolError),
}

use Stop::Failed;

impl Reader<'_> {
    fn frame(&mut self) -> Result<(), Stop> {
        let first = self.byte()?;
        let (fin, reserved, bits) = (first & 0x80 != 0, first >> 4 & 7, first & 15);
        if reserved != 0 {
            return Err(Failed(ProtocolError::ReservedBits { bits: reserved }));
        }
        let Some(opcode) = Opcode::from_bits(bits) else {
            return Err(Failed(ProtocolError::UnknownOpcode { opcode: bits }));
        };
        if bits >= 8 && !fin {
            return Err(Failed(ProtocolError::FragmentedControl));
        }
        self.check_order(opcode)?;
        let length = self.length(bits >= 8)?;
        if bits < 8 {
            let before = self.message.as_ref().map_or(0, |message| message.payload.len());
            let limit = self.limits.max_message_size;
            if u128::from(length) + before as u128 > limit as u128 {
                return Err(Failed(ProtocolError::MessageTooBig { limit }));
            }
        }
        let key = [self.byte()?, self.byte()?, self.byte()?, self.byte()?];
        if bits < 8 {
            self.data(opcode, fin, length, key)
        } else {
            self.control(opcode, length, key)
        }
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = *self.stream.get(self.at).ok_or(Stop::End)?;
        self.at += 1;
        Ok(byte)
    }

    fn check_order(&self, opcode: Opcode) -> Result<(), Stop> {
        let limit = self.limits.max_fragments;
        match (opcode, &self.message) {
            (Opcode::Continuation, None) => Err(Failed(ProtocolError::UnexpectedContinuation)),
            (Opcode::Continuation, Some(message)) if message.frames >= limit => {
                Err(Failed(ProtocolError::TooManyFragments { limit }))
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                Err(Failed(ProtocolError::ExpectedContinuation { opcode }))
            }
            _in_order => Ok(()),
        }
    }

    fn length(&mut self, is_control: bool) -> Result<u64, Stop> {
        let second = self.byte()?;
        if second < 128 {
            return Err(Failed(ProtocolError::NotMasked));
        }
        let (size, least) = match second - 128 {
            length @ 126.. if is_control => {
                return Err(Failed(ProtocolError::ControlTooLong { length }));
            }
            126 => (2, 126),
            127 => (8, 65_536),
            length => return Ok(u64::from(length)),
        };
        let mut length = 0;
        for _ in 0..size {
            length = length << 8 | u64::from(self.byte()?);
        }
        if length >= 1 << 63 {
            Err(Failed(ProtocolError::LengthTooLong))
        } else if length < least {
            Err(Failed(ProtocolError::LengthNotMinimal))
        } else {
            Ok(length)
        }
    }

    /// Reads as much as there is of a payload; whether that is all of it.
    fn payload(&mut self, length: u64, key: [u8; 4], payload: &mut Vec<u8>) -> bool {
        let rest = &self.stream[self.at..];
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let come = &rest[..length.min(rest.len())];
        let mask = key.repeat(come.len() / 4 + 1);
        payload.extend(come.iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
        self.at += come.len();
        come.len() == length
    }

    fn data(&mut self, opcode: Opcode, fin: bool, length: u64, key: [u8; 4]) -> Result<(), Stop> {
        let mut message = self.message.take().unwrap_or_else(|| Message {
            is_text: opcode == Opcode::Text,
            payload: Vec::new(),
            checked: 0,
            frames: 0,
        });
        message.frames = message.frames.saturating_add(1);
        let is_whole = self.payload(length, key, &mut message.payload);
        if message.is_text {
            if let Some(bad) = message.check_text() {
                self.at -= message.payload.len() - bad;
                return Err(Failed(ProtocolError::InvalidUtf8));
            }
            if fin && is_whole && message.checked < message.payload.len() {
                return Err(Failed(ProtocolError::InvalidUtf8));
            }
        }
        match (is_whole, fin) {
            (false, _) => return Err(Stop::End),
            (true, false) => self.message = Some(message),
            (true, true) => {
                let payload = Payload::Assembled(message.payload);
                let event = if message.is_text {
                    Received::Text(payload)
                } else {
                    Received::Binary(payload)
                };
                self.events.push((event, self.at));
            }
        }
        Ok(())
    }

    fn control(&mut self, opcode: Opcode, length: u64, key: [u8; 4]) -> Result<(), Stop> {
        let mut payload = Vec::new();
        if !self.payload(length, key, &mut payload) {
            return Err(Stop::End);
        }
        let event = match opcode {
            Opcode::Ping => Received::Ping(Payload::Assembled(payload)),
            Opcode::Pong => Received::Pong(Payload::Assembled(payload)),
            _close => Received::Close(close_frame(&payload).map_err(Failed)?),
        };
        self.events.push((event, self.at));
        if opcode == Opcode::Close { Err(Stop::End) } else { Ok(()) }
    }
}

impl Message {
    /// How many bytes of the text prove that it is none.
    fn check_text(&mut self) -> Option<usize> {
        let text = &self.payload[self.checked..];
        let Err(error) = str::from_utf8(text) else {
            self.checked = self.payload.len();
            return None;
        };
        let good = error.valid_up_to();
        let is_hopeless = |length: &usize| {
            let beginning = str::from_utf8(&text[good..good + length]);
            beginning.is_err_and(|error| error.error_len().is_some())
        };
        let hopeless = (1..=4.min(text.len() - good)).find(is_hopeless);
        let bad = hopeless.map(|length| self.checked + good + length);
        self.checked += good;
        bad
    }
}

fn close_frame(payload: &[u8]) -> Result<CloseFrame, ProtocolError> {
    let [high, low, reason @ ..] = payload else {
        return match payload.len() {
            0 => Ok(CloseFrame::empty()),
            length => Err(ProtocolError::BadCloseBody { length }),
        };
    };
    let code = u16::from_be_bytes([*high, *low]);
    let bad_code = ProtocolError::BadCloseCode { code };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(bad_code);
    }
    let reason = str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
    CloseCode::new(code).and_then(|code| CloseFrame::new(code, reason)).ok_or(bad_code)
}
