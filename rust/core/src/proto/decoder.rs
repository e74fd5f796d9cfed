//! Bytes to events.
//!
//! A frame that is whole in the input is unmasked where it lies, and its event points there.
//! Everything else is taken over: an unfinished header into a few bytes of the decoder itself, an
//! unfinished control frame into a buffer of its own (a message may be open at the same time), an
//! unfinished or compressed data frame into its [`Message`]. So the input is always used up in the
//! end, and a connection between two messages owns no heap, unless it keeps a history of what was
//! compressed.
//!
//! Headers are judged byte by byte, in the order of the bytes; what is wrong first is reported,
//! whether the header came in one piece or in six.

use std::ops::RangeInclusive;

use super::deflate::{InboundDeflate, Inflation, SharedInflater, compressed_limit};
use super::frame::{self, First, Header, MASK_KEY_SIZE, Short};
use super::mask::rotate_key;
use super::message::{Event, Message, Payload, Sink};
use super::{CloseFrame, Input, MAX_HEADER_SIZE, Opcode, ProtocolError, utf8};

/// Limits of what a peer may send.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest message, in bytes of payload over all of its fragments.
    pub max_message_size: usize,
    /// The most frames one message may consist of, empty ones included.
    ///
    /// A message in a single frame is always allowed.
    pub max_fragments: u32,
}

impl Default for Limits {
    /// 1 MiB and 131,072 fragments.
    fn default() -> Self {
        Self { max_message_size: 1 << 20, max_fragments: 131_072 }
    }
}

/// Makes [`Event`]s of the bytes of one client (RFC 6455, section 5), however they are cut.
#[derive(Debug, Default)]
pub struct Decoder {
    frame: Frame,
    /// The message that is open, possibly between two of its fragments. Boxed, as it owns heap
    /// anyway.
    message: Option<Box<Message>>,
    deflate: InboundDeflate,
}

/// Where in a frame the input ended.
///
/// ```text
///             header whole, payload not
///           +-------------------------> Data / Control
///   Header -+                                 |
///     ^     | frame whole                     | payload whole
///     +-----+---------------------------------+
/// ```
#[derive(Debug)]
enum Frame {
    /// In the header, or between two frames; only the first `length` bytes count.
    Header { bytes: [u8; MAX_HEADER_SIZE], length: u8 },
    /// In the payload of a data frame; `message` is there. `key` fits the next byte.
    Data { fin: bool, key: [u8; MASK_KEY_SIZE], remaining: usize },
    /// In the payload of a control frame. Boxed: rare, and this keeps idle decoders small.
    Control(Box<ControlFrame>),
}

/// A control frame whose payload is not complete.
#[derive(Debug)]
struct ControlFrame {
    header: Header,
    /// What has come of the payload, unmasked.
    payload: Vec<u8>,
}

impl Default for Frame {
    fn default() -> Self {
        Self::Header { bytes: [0; MAX_HEADER_SIZE], length: 0 }
    }
}

impl Frame {
    /// Notes that so much more of the payload of a data frame was read. Returns whether its message
    /// ends with that.
    fn note_read(&mut self, count: usize) -> bool {
        let Self::Data { fin, key, remaining } = self else { return false };
        *remaining -= count;
        *key = rotate_key(*key, count);
        if *remaining > 0 {
            return false;
        }
        let ends = *fin;
        *self = Self::default();
        ends
    }
}

impl Decoder {
    /// A decoder for a connection on which nothing was received yet.
    #[must_use]
    pub fn new(inflation: Inflation) -> Self {
        Self { deflate: InboundDeflate::new(inflation), ..Self::default() }
    }

    /// Reads up to the end of the next message or control frame.
    ///
    /// `Ok(None)` means that the input is used up; come again with more. After an error or a
    /// [`Event::Close`] the decoder must not be used again: what it then says has no meaning.
    #[inline]
    pub fn next(
        &mut self,
        limits: &Limits,
        inflater: &mut SharedInflater,
        input: &mut Input<'_>,
    ) -> Result<Option<Event>, ProtocolError> {
        match self.read_short(limits, input) {
            Some(event) => event.map(Some),
            None if input.remaining() == 0 => Ok(None),
            None => self.advance(limits, inflater, input, Sink::Keep),
        }
    }

    /// Whether the next bytes are of the payload of a message.
    #[inline]
    pub(super) const fn is_in_payload(&self) -> bool {
        matches!(self.frame, Frame::Data { .. })
    }

    /// Has `read` put what comes next of a frame into the message that it belongs to: what is read
    /// into an [`Input`] has to be copied there. `read` gets so much room, and returns how much of it
    /// it has filled. The answer is that of [`next`](Self::next).
    ///
    /// `None`, and `read` is not called, unless that much is to come of a frame that is not compressed,
    /// and as much of its message has come already: who announces much does not get memory for that.
    pub fn fill(
        &mut self,
        room: RangeInclusive<usize>,
        read: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<Result<Option<Event>, ProtocolError>> {
        let (&Frame::Data { fin, key, remaining }, Some(message)) =
            (&self.frame, &mut self.message)
        else {
            return None;
        };
        let (least, most) = room.into_inner();
        let most = most.min(remaining).min(message.len());
        if most < least || message.is_compressed() {
            return None;
        }
        Some(
            message.fill(least..=most, fin, key, read).and_then(|count| {
                if self.frame.note_read(count) { self.finish() } else { Ok(None) }
            }),
        )
    }

    /// Reads a short message that is whole, as most are. It says what [`advance`](Self::advance)
    /// would say, in a fraction of the time. `None`: it is something else, and nothing was read.
    #[inline]
    fn read_short(
        &self,
        limits: &Limits,
        input: &mut Input<'_>,
    ) -> Option<Result<Event, ProtocolError>> {
        let is_between = matches!(self.frame, Frame::Header { length: 0, .. });
        if !is_between || self.message.is_some() {
            return None;
        }
        let Short { opcode, key, length } = frame::parse_short(input.rest())?;
        if input.remaining() - Short::SIZE < length || length > limits.max_message_size {
            return None;
        }
        input.position += Short::SIZE;
        let range = input.unmask(length, key);
        if opcode == Opcode::Binary {
            return Some(Ok(Event::Binary(Payload::InPlace(range))));
        }
        let text = &input.bytes[range.clone()];
        // Most short texts are ASCII, and that is seen at once.
        let is_valid = text.is_ascii() || utf8::to_str(text).is_ok();
        Some(if is_valid {
            Ok(Event::Text(Payload::InPlace(range)))
        } else {
            Err(ProtocolError::InvalidUtf8)
        })
    }

    /// Reads up to the next CLOSE frame; everything else is checked as always, and forgotten. Only
    /// what is compressed is not looked into.
    ///
    /// To be used after [`discard_message`](Self::discard_message).
    pub(crate) fn skip_to_close(
        &mut self,
        limits: &Limits,
        inflater: &mut SharedInflater,
        input: &mut Input<'_>,
    ) -> Result<Option<CloseFrame>, ProtocolError> {
        while let Some(event) = self.advance(limits, inflater, input, Sink::Discard)? {
            match event {
                Event::Close(frame) => return Ok(Some(frame)),
                Event::Text(_) | Event::Binary(_) | Event::Ping(_) | Event::Pong(_) => {}
            }
        }
        Ok(None)
    }

    /// Forgets what has come of the open message, but not that it is open.
    pub(crate) fn discard_message(&mut self) {
        self.deflate.discard();
        if let Some(message) = &mut self.message {
            message.discard_payload();
        }
    }

    #[inline(never)]
    fn advance(
        &mut self,
        limits: &Limits,
        inflater: &mut SharedInflater,
        input: &mut Input<'_>,
        sink: Sink,
    ) -> Result<Option<Event>, ProtocolError> {
        // Nothing is ever due on an empty input: a frame is finished with its last byte.
        while input.remaining() > 0 {
            let event = match &self.frame {
                Frame::Header { length: 0, .. } => match self.parse_header(limits, input.rest())? {
                    Some((header, size)) => {
                        input.position += size;
                        self.read_frame(header, limits, inflater, input, sink)?
                    }
                    None => self.read_split(limits, inflater, input, sink)?,
                },
                Frame::Header { .. } => self.read_split(limits, inflater, input, sink)?,
                Frame::Data { .. } => self.read_data(limits, inflater, input, sink)?,
                Frame::Control(_) => self.read_control(input)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Reads a frame whose header is in several inputs, or as much as there is of the header.
    #[cold]
    fn read_split(
        &mut self,
        limits: &Limits,
        inflater: &mut SharedInflater,
        input: &mut Input<'_>,
        sink: Sink,
    ) -> Result<Option<Event>, ProtocolError> {
        let Frame::Header { mut bytes, length } = self.frame else { return Ok(None) };
        let stashed = usize::from(length);
        let added = input.remaining().min(MAX_HEADER_SIZE - stashed);
        let available = stashed + added;
        bytes[stashed..available].copy_from_slice(&input.rest()[..added]);
        let Some((header, size)) = self.parse_header(limits, &bytes[..available])? else {
            // It was too short for a header, so all of it was added and fits.
            input.position += added;
            #[expect(clippy::cast_possible_truncation, reason = "at most MAX_HEADER_SIZE")]
            let length = available as u8;
            self.frame = Frame::Header { bytes, length };
            return Ok(None);
        };
        // The stashed bytes alone were no header, so it ends behind them.
        input.position += size - stashed;
        self.frame = Frame::default();
        self.read_frame(header, limits, inflater, input, sink)
    }

    /// Judges what there is of a header, byte after byte; `None` if it is not whole.
    ///
    /// Returns the header and its size in bytes.
    #[expect(clippy::inline_always, reason = "a result in memory costs 13 ns, half of a frame")]
    #[inline(always)]
    fn parse_header(
        &self,
        limits: &Limits,
        bytes: &[u8],
    ) -> Result<Option<(Header, usize)>, ProtocolError> {
        let Some((&first, bytes)) = bytes.split_first() else { return Ok(None) };
        let first = frame::parse_first(first, self.deflate.is_on())?;
        let First { fin, compressed, opcode } = first;
        self.check_order(limits, opcode)?;
        let Some((length, size)) = frame::parse_length(opcode, bytes)? else { return Ok(None) };
        let length = self.check_size(limits, first, length)?;
        let Some(&key) = bytes[size..].first_chunk() else { return Ok(None) };
        Ok(Some((Header { fin, compressed, opcode, key, length }, 1 + size + MASK_KEY_SIZE)))
    }

    /// Whether a frame of this kind may come now (RFC 6455, section 5.4).
    #[inline]
    fn check_order(&self, limits: &Limits, opcode: Opcode) -> Result<(), ProtocolError> {
        match (opcode, &self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _)
            | (Opcode::Text | Opcode::Binary, None) => Ok(()),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                Err(ProtocolError::ExpectedContinuation { opcode })
            }
            (Opcode::Continuation, None) => Err(ProtocolError::UnexpectedContinuation),
            (Opcode::Continuation, Some(message)) => message.check_fragments(limits),
        }
    }

    /// Whether the message stays within its limit with `length` more bytes.
    #[inline]
    fn check_size(
        &self,
        limits: &Limits,
        first: First,
        length: u64,
    ) -> Result<usize, ProtocolError> {
        let limit = limits.max_message_size;
        // What is compressed is judged by its size once it is inflated, too.
        let most = |compressed| if compressed { compressed_limit(limit) } else { limit };
        let free = match &self.message {
            // A control frame has at most 125 bytes and belongs to no message.
            _ if first.opcode.is_control() => usize::MAX,
            None => most(first.compressed),
            Some(message) => most(message.is_compressed()).saturating_sub(message.announced()),
        };
        match usize::try_from(length) {
            Ok(length) if length <= free => Ok(length),
            Ok(_) | Err(_) => Err(ProtocolError::MessageTooBig { limit }),
        }
    }

    /// Reads the payload after a header; no event if it is not whole or the message goes on.
    #[inline]
    fn read_frame(
        &mut self,
        header: Header,
        limits: &Limits,
        inflater: &mut SharedInflater,
        input: &mut Input<'_>,
        sink: Sink,
    ) -> Result<Option<Event>, ProtocolError> {
        let Header { fin, compressed, opcode, key, length } = header;
        if length > input.remaining() {
            self.begin(header);
            return Ok(None);
        }
        let event = match opcode {
            Opcode::Text if fin && !compressed => {
                let range = input.unmask(length, key);
                if utf8::to_str(&input.bytes[range.clone()]).is_err() {
                    return Err(ProtocolError::InvalidUtf8);
                }
                Event::Text(Payload::InPlace(range))
            }
            Opcode::Binary if fin && !compressed => {
                Event::Binary(Payload::InPlace(input.unmask(length, key)))
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                self.begin(header);
                return self.read_data(limits, inflater, input, sink);
            }
            Opcode::Ping => Event::Ping(Payload::InPlace(input.unmask(length, key))),
            Opcode::Pong => Event::Pong(Payload::InPlace(input.unmask(length, key))),
            Opcode::Close => {
                let range = input.unmask(length, key);
                Event::Close(CloseFrame::parse(&input.bytes[range])?)
            }
        };
        Ok(Some(event))
    }

    /// Goes on to the payload of a frame.
    fn begin(&mut self, header: Header) {
        let Header { fin, opcode, key, length, .. } = header;
        if opcode.is_control() {
            self.frame = Frame::Control(Box::new(ControlFrame { header, payload: Vec::new() }));
            return;
        }
        match &mut self.message {
            Some(message) => message.continue_with(length),
            None => self.message = Some(Box::new(Message::new(&header))),
        }
        self.frame = Frame::Data { fin, key, remaining: length };
    }

    /// Takes over what there is of a data frame; an event if it ends a message.
    fn read_data(
        &mut self,
        limits: &Limits,
        inflater: &mut SharedInflater,
        input: &mut Input<'_>,
        sink: Sink,
    ) -> Result<Option<Event>, ProtocolError> {
        let (&Frame::Data { fin, key, remaining }, Some(message)) =
            (&self.frame, &mut self.message)
        else {
            return Ok(None);
        };
        let range = input.unmask(remaining, key);
        let ends = self.frame.note_read(range.len());
        let bytes = &input.bytes[range];
        match sink {
            Sink::Keep | Sink::Discard if !message.is_compressed() => {
                message.push(bytes, fin, sink)?;
            }
            Sink::Keep if ends => self.deflate.finish(bytes, message, limits, inflater)?,
            Sink::Keep => self.deflate.push(bytes, message, limits, inflater)?,
            Sink::Discard => {}
        }
        if ends { self.finish() } else { Ok(None) }
    }

    fn finish(&mut self) -> Result<Option<Event>, ProtocolError> {
        self.message.take().map(|message| message.finish()).transpose()
    }

    /// Takes over what there is of a control frame; an event if that completes it.
    fn read_control(&mut self, input: &mut Input<'_>) -> Result<Option<Event>, ProtocolError> {
        let Frame::Control(control) = &mut self.frame else { return Ok(None) };
        let done = control.payload.len();
        let key = rotate_key(control.header.key, done);
        let range = input.unmask(control.header.length - done, key);
        control.payload.extend_from_slice(&input.bytes[range]);
        if control.payload.len() < control.header.length {
            return Ok(None);
        }
        let payload = std::mem::take(&mut control.payload);
        let opcode = control.header.opcode;
        self.frame = Frame::default();
        match opcode {
            Opcode::Ping => Ok(Some(Event::Ping(Payload::Assembled(payload)))),
            Opcode::Pong => Ok(Some(Event::Pong(Payload::Assembled(payload)))),
            Opcode::Close => Ok(Some(Event::Close(CloseFrame::parse(&payload)?))),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => Ok(None),
        }
    }

    /// Whether there is an inflater that nobody else uses.
    #[cfg(test)]
    pub(crate) fn has_inflater(&self) -> bool {
        self.deflate.has_inflater()
    }

    /// The heap that holds what has come of the open message, in bytes.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        let message = self.message.as_ref();
        self.deflate.gathered() + message.map_or(0, |message| message.capacity())
    }
}

#[cfg(test)]
mod tests;
