//! Messages: how they are handed out, and how they are put together while they are incomplete.
//!
//! Only what did not arrive in one piece is put together (RFC 6455, section 5.4). What has come is
//! unmasked already and is checked and appended at once, so the frame it was in need not be
//! kept. The buffer doubles as bytes come, until an eighth is there of a message whose size is known,
//! and then gets that size: a header that announces a gigabyte and sends ten bytes costs tens of
//! bytes.

use std::ops::{Range, RangeInclusive};

use super::frame::{Header, MASK_KEY_SIZE};
use super::mask::apply_mask;
use super::utf8::Utf8Validator;
use super::{CloseFrame, Limits, Opcode, ProtocolError};

/// Where the payload of an event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Whole and unmasked in the input: a range from the start of the slice that was given to
    /// [`Input`](super::Input).
    InPlace(Range<usize>),
    /// Pieced together from several frames or reads.
    Assembled(Vec<u8>),
}

/// Something that a peer has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole text message, proven to be valid UTF-8.
    Text(Payload),
    /// A whole binary message.
    Binary(Payload),
    /// A ping, with at most 125 bytes.
    Ping(Payload),
    /// A pong, with at most 125 bytes.
    Pong(Payload),
    /// A CLOSE frame; whatever follows it has no meaning.
    Close(CloseFrame),
}

/// What becomes of the payload of data messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    /// It is kept, to be delivered.
    Keep,
    /// It is checked and forgotten: nobody waits for it once our CLOSE is out.
    Discard,
}

/// A message whose first frame has begun and whose last frame has not ended.
#[derive(Debug)]
pub(crate) struct Message {
    /// Empty and without heap under [`Sink::Discard`].
    payload: Vec<u8>,
    /// The payload lengths of its frames so far, as announced in their headers.
    announced: usize,
    /// Its frames so far, the unfinished one included.
    fragments: u32,
    /// Whether what comes has to be inflated.
    compressed: bool,
    /// For a text, how far it has been checked.
    text: Option<Utf8Validator>,
}

impl Message {
    /// A message that begins with a frame that has this header; the opcode is text or binary.
    pub(crate) fn new(header: &Header) -> Self {
        let text = (header.opcode == Opcode::Text).then(Utf8Validator::default);
        let Header { length, compressed, .. } = *header;
        Self { payload: Vec::new(), announced: length, fragments: 1, compressed, text }
    }

    /// Whether what comes has to be inflated.
    pub(crate) const fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// The payload lengths of the frames so far, as announced in their headers.
    pub(crate) const fn announced(&self) -> usize {
        self.announced
    }

    /// Whether one more frame is allowed.
    pub(crate) const fn check_fragments(&self, limits: &Limits) -> Result<(), ProtocolError> {
        let limit = limits.max_fragments;
        if self.fragments < limit { Ok(()) } else { Err(ProtocolError::TooManyFragments { limit }) }
    }

    /// A continuation frame begins, whose header was checked against the limits.
    pub(crate) const fn continue_with(&mut self, length: usize) {
        self.announced = self.announced.saturating_add(length);
        self.fragments = self.fragments.saturating_add(1);
    }

    /// Takes the next bytes of the payload, unmasked.
    ///
    /// `last` tells that they belong to the last frame: no more than announced will come.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        last: bool,
        sink: Sink,
    ) -> Result<(), ProtocolError> {
        check(&mut self.text, bytes)?;
        match sink {
            Sink::Keep => {
                self.make_room(bytes.len(), last);
                self.payload.extend_from_slice(bytes);
            }
            Sink::Discard => {}
        }
        Ok(())
    }

    /// Has `read` put the next bytes of the payload where they belong, masked with this key. It gets
    /// so much room, and returns how much of it it has filled.
    pub(crate) fn fill(
        &mut self,
        room: RangeInclusive<usize>,
        last: bool,
        key: [u8; MASK_KEY_SIZE],
        read: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, ProtocolError> {
        let start = self.payload.len();
        // Memory grows when it is used up, and not because there is more to come.
        let spare = self.payload.capacity() - start;
        let is_used_up = spare < *room.start();
        let room = if is_used_up { *room.end() } else { spare.min(*room.end()) };
        self.make_room(room, last);
        self.payload.resize(start + room, 0);
        let count = read(&mut self.payload[start..]).min(room);
        self.payload.truncate(start + count);
        let bytes = &mut self.payload[start..];
        apply_mask(bytes, key);
        check(&mut self.text, bytes)?;
        Ok(count)
    }

    /// How many bytes have come and are kept.
    pub(crate) const fn len(&self) -> usize {
        self.payload.len()
    }

    /// Makes room for `additional` bytes. If they are of the `last` frame, and an eighth of the message
    /// is there, then for all that is still to come.
    fn make_room(&mut self, additional: usize, last: bool) {
        if !last {
            return self.reserve(additional, usize::MAX);
        }
        let come = self.payload.len();
        let is_near = self.announced / 8 <= come;
        let to_come = self.announced.saturating_sub(come).max(additional);
        self.reserve(if is_near { to_come } else { additional }, self.announced);
    }

    /// Takes the next bytes that came out of the inflater.
    pub(crate) fn push_inflated(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<(), ProtocolError> {
        let limit = limits.max_message_size;
        let room = self.room(limits);
        // Bad text before the limit comes before the limit, however it was cut.
        check(&mut self.text, &bytes[..bytes.len().min(room)])?;
        if bytes.len() > room {
            return Err(ProtocolError::MessageTooBig { limit });
        }
        self.reserve(bytes.len(), limit);
        self.payload.extend_from_slice(bytes);
        Ok(())
    }

    /// How many more bytes of payload the limit leaves.
    pub(crate) const fn room(&self, limits: &Limits) -> usize {
        limits.max_message_size.saturating_sub(self.payload.len())
    }

    /// The last frame has ended.
    pub(crate) fn finish(self) -> Result<Event, ProtocolError> {
        let payload = Payload::Assembled(self.payload);
        match self.text {
            Some(text) if text.is_complete() => Ok(Event::Text(payload)),
            Some(_cut_inside_a_code_point) => Err(ProtocolError::InvalidUtf8),
            None => Ok(Event::Binary(payload)),
        }
    }

    /// Forgets the payload so far, to go on with [`Sink::Discard`]. What is compressed is not
    /// looked into any more, so nothing is known about the end of its text.
    pub(crate) fn discard_payload(&mut self) {
        self.payload = Vec::new();
        if self.compressed {
            self.text = None;
        }
    }

    /// Makes room for `additional` bytes: twice what there is, but not more than the `most` bytes
    /// that can come.
    fn reserve(&mut self, additional: usize, most: usize) {
        let needed = self.payload.len() + additional;
        if needed <= self.payload.capacity() {
            return;
        }
        let doubled = needed.max(self.payload.capacity().saturating_mul(2));
        self.payload.reserve_exact(doubled.min(most.max(needed)) - self.payload.len());
    }

    /// The heap in use, in bytes.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.payload.capacity()
    }
}

/// Checks the next bytes of a message, if it is a text.
fn check(text: &mut Option<Utf8Validator>, bytes: &[u8]) -> Result<(), ProtocolError> {
    let Some(text) = text else { return Ok(()) };
    text.feed(bytes).map_err(|_| ProtocolError::InvalidUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(opcode: Opcode, length: usize) -> Header {
        Header { fin: false, compressed: false, opcode, key: [0; 4], length }
    }

    #[test]
    fn the_buffer_at_most_doubles() {
        let mut message = Message::new(&header(Opcode::Binary, usize::MAX));
        let mut come = 0;
        for length in [0, 1, 1, 1, 10, 3, 1000, 0, 1, 5000, 4999] {
            message.push(&vec![7; length], false, Sink::Keep).unwrap();
            come += length;
            assert!(message.capacity() >= come);
            assert!(message.capacity() <= 2 * come, "{} for {come}", message.capacity());
        }
    }

    #[test]
    fn the_buffer_never_exceeds_a_size_that_is_known() {
        for size in [1, 2, 100, 1023, 1024, 1025, 10_000] {
            let mut message = Message::new(&header(Opcode::Binary, size));
            for _ in 0..size {
                message.push(&[7], true, Sink::Keep).unwrap();
                assert!(message.capacity() <= size);
            }
            assert_eq!(message.finish(), Ok(Event::Binary(Payload::Assembled(vec![7; size]))));
        }
    }

    #[test]
    fn there_is_room_for_all_that_is_to_come_when_an_eighth_is_there() {
        let mut message = Message::new(&header(Opcode::Binary, 1000));
        let mut capacity_behind = |length| {
            message.push(&vec![7; length], true, Sink::Keep).unwrap();
            message.capacity()
        };
        assert_eq!([50, 74, 1, 1].map(&mut capacity_behind), [50, 124, 248, 1000]);
    }

    #[test]
    fn the_size_is_known_in_the_last_of_several_frames_too() {
        let mut message = Message::new(&header(Opcode::Text, 100));
        message.push(&[b'a'; 100], false, Sink::Keep).unwrap();
        message.continue_with(10);
        assert_eq!(message.announced(), 110);
        message.push(&[b'b'; 9], true, Sink::Keep).unwrap();
        assert_eq!(message.capacity(), 110);
        message.push(b"b", true, Sink::Keep).unwrap();
        assert_eq!(message.capacity(), 110);
    }

    #[test]
    fn growth_is_geometric() {
        let mut message = Message::new(&header(Opcode::Binary, 100_000));
        let mut capacities = Vec::new();
        for _ in 0..100_000 {
            message.push(&[7], true, Sink::Keep).unwrap();
            capacities.push(message.capacity());
        }
        capacities.dedup();
        assert!(capacities.len() <= 20, "a copy for each of {capacities:?}");
    }

    #[test]
    fn growth_is_geometric_over_many_small_fragments() {
        let mut message = Message::new(&header(Opcode::Binary, 1));
        let mut capacities = Vec::new();
        for _ in 0..10_000 {
            message.push(&[7], false, Sink::Keep).unwrap();
            message.continue_with(1);
            capacities.push(message.capacity());
        }
        capacities.dedup();
        assert!(capacities.len() <= 20, "a copy for each of {capacities:?}");
    }

    #[test]
    fn discarded_text_is_still_checked() {
        let mut message = Message::new(&header(Opcode::Text, 100));
        message.push(b"kept \xC3", false, Sink::Keep).unwrap();
        message.discard_payload();
        message.push(b"\xA4", false, Sink::Discard).unwrap();
        assert_eq!(message.capacity(), 0);
        let error = Err(ProtocolError::InvalidUtf8);
        assert_eq!(message.push(b"\xA4", false, Sink::Discard), error);
    }

    #[test]
    fn counters_do_not_overflow() {
        let limits = Limits { max_message_size: usize::MAX, max_fragments: u32::MAX };
        let mut message = Message::new(&header(Opcode::Binary, usize::MAX));
        message.fragments = u32::MAX - 1;
        assert_eq!(message.check_fragments(&limits), Ok(()));
        message.continue_with(usize::MAX);
        message.continue_with(usize::MAX);
        assert_eq!(message.announced(), usize::MAX);
        let error = ProtocolError::TooManyFragments { limit: u32::MAX };
        assert_eq!(message.check_fragments(&limits), Err(error));
    }
}
