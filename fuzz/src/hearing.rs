//! What the core makes of a stream, with what must always hold while it listens.

use std::ops::Range;

use handy_ws_core::proto::{
    Connection, Decoder, Event, Inflation, Input, Limits, Payload, ProtocolError, Received,
    SharedInflater,
};

use crate::heap;

/// An inflater of its own and what is gathered before it: see `proto/deflate/inflater.rs`.
const INFLATING: usize = 48 * 1024 + 2 * 48 * 1024;

/// What a connection may own beside payloads: a few small boxes.
const SMALL: usize = 512;

/// The longest payload of a control frame, in a buffer that doubles.
const CONTROL: usize = 2 * 125;

/// What came out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// What was said, with payloads taken out of the input, and where in the stream it ended.
    pub(crate) events: Vec<(Received, usize)>,
    /// The error that ended it, and the piece of the stream with which it came.
    pub(crate) failed: Option<(ProtocolError, Range<usize>)>,
}

impl Heard {
    /// Whether nothing further is listened to: after an error or a CLOSE frame.
    pub(crate) fn is_over(&self) -> bool {
        let closed = matches!(self.events.last(), Some((Received::Close(_), _)));
        closed || self.failed.is_some()
    }

    /// What was said, wherever it ended.
    pub(crate) fn said(&self) -> impl Iterator<Item = &Received> {
        self.events.iter().map(|(event, _end)| event)
    }
}

/// One that listens to a stream: a [`Decoder`] or a [`Connection`].
pub(crate) trait Listener {
    fn listen(
        &mut self,
        limits: &Limits,
        inflater: &mut SharedInflater,
        input: &mut Input<'_>,
    ) -> Option<Received>;
}

impl Listener for Connection {
    fn listen(
        &mut self,
        limits: &Limits,
        inflater: &mut SharedInflater,
        input: &mut Input<'_>,
    ) -> Option<Received> {
        self.receive(limits, inflater, input)
    }
}

impl Listener for Decoder {
    fn listen(
        &mut self,
        limits: &Limits,
        inflater: &mut SharedInflater,
        input: &mut Input<'_>,
    ) -> Option<Received> {
        match self.next(limits, inflater, input) {
            Ok(None) => None,
            Ok(Some(Event::Text(payload))) => Some(Received::Text(payload)),
            Ok(Some(Event::Binary(payload))) => Some(Received::Binary(payload)),
            Ok(Some(Event::Ping(payload))) => Some(Received::Ping(payload)),
            Ok(Some(Event::Pong(payload))) => Some(Received::Pong(payload)),
            Ok(Some(Event::Close(frame))) => Some(Received::Close(frame)),
            Err(error) => Some(Received::Failed(error)),
        }
    }
}

/// A listener and what is known about it.
pub(crate) struct Ear<'a, L> {
    pub(crate) listener: L,
    limits: Limits,
    inflation: Inflation,
    inflater: &'a mut SharedInflater,
    /// The bytes that it was given.
    fed: usize,
    /// The heap that it owns, in bytes.
    owned: isize,
}

impl<'a, L: Listener> Ear<'a, L> {
    /// For a listener that has heard nothing yet. The inflater must be [`ready`].
    pub(crate) const fn new(
        listener: L,
        limits: Limits,
        inflation: Inflation,
        inflater: &'a mut SharedInflater,
    ) -> Self {
        Self { listener, limits, inflation, inflater, fed: 0, owned: 0 }
    }

    /// Listens to a stream in pieces, up to its CLOSE frame or its first error.
    pub(crate) fn hear<'b>(&mut self, pieces: impl Iterator<Item = &'b [u8]>) -> Heard {
        let mut heard = Heard { events: Vec::new(), failed: None };
        for piece in pieces {
            self.hear_piece(piece, &mut heard);
            if heard.is_over() {
                break;
            }
        }
        heard
    }

    /// Listens to one more piece.
    pub(crate) fn hear_piece(&mut self, piece: &[u8], heard: &mut Heard) {
        let start = self.fed;
        self.fed += piece.len();
        let mut bytes = piece.to_vec();
        let mut position = 0;
        loop {
            let mut input = Input::new(&mut bytes[position..]);
            let received = self.next(&mut input);
            let begin = position;
            position += input.position();
            let place = &bytes[begin..position];
            match received {
                None => {
                    assert_eq!(position, bytes.len(), "the input was not used up");
                    return;
                }
                Some(Received::Failed(error)) => {
                    heard.failed = Some((error, start..self.fed));
                    return;
                }
                Some(received) => heard.events.push((taken_out(received, place), start + position)),
            }
            if heard.is_over() {
                return;
            }
        }
    }

    /// The next thing that is said; what the listener owns afterwards is within its limit.
    fn next(&mut self, input: &mut Input<'_>) -> Option<Received> {
        let Self { listener, limits, inflater, .. } = self;
        let (received, heap) = heap::measure(|| listener.listen(limits, inflater, input));
        let limit = self.heap_limit();
        let most = (self.owned + heap.peak).cast_unsigned();
        self.owned += heap.kept - given_away(received.as_ref(), &self.limits).cast_signed();
        assert!(self.owned >= 0, "more was freed than owned");
        let owned = self.owned.cast_unsigned();
        assert!(owned <= limit, "{owned} bytes of heap are owned, {limit} are enough");
        // A buffer that grows may be there twice, the new one up to twice as large.
        assert!(most <= 3 * limit, "{most} bytes of heap at once, {limit} are enough");
        received
    }

    /// Runs something else on the listener, such as closing it.
    pub(crate) fn with<T>(&mut self, code: impl FnOnce(&mut L) -> T) -> T {
        let (result, heap) = heap::measure(|| code(&mut self.listener));
        self.owned += heap.kept;
        result
    }

    /// The heap that it owns, in bytes.
    pub(crate) const fn owned(&self) -> isize {
        self.owned
    }

    /// The most heap that it may own after what it was given.
    fn heap_limit(&self) -> usize {
        let message = self.limits.max_message_size;
        SMALL
            + CONTROL
            + match self.inflation {
                // It doubles, or there is room for all of a message of which an eighth is there.
                Inflation::Off => message.saturating_mul(2).min(8 * self.fed),
                // What is in plain frames doubles as above, what is inflated stops at the limit.
                Inflation::ByMessage | Inflation::WithTakeover => INFLATING + 2 * message,
            }
    }
}

/// The heap of what is said, which no longer is the listener's. No message is over the limit.
fn given_away(received: Option<&Received>, limits: &Limits) -> usize {
    let (payload, limit) = match received {
        Some(Received::Text(payload) | Received::Binary(payload)) => {
            (payload, limits.max_message_size)
        }
        Some(Received::Ping(payload) | Received::Pong(payload)) => (payload, 125),
        Some(Received::Close(frame)) => return frame.reason().len(),
        Some(Received::Failed(_)) | None => return 0,
    };
    match payload {
        Payload::InPlace(range) => {
            assert!(range.len() <= limit, "{} bytes of {limit}", range.len());
            0
        }
        Payload::Assembled(bytes) => {
            assert!(bytes.len() <= limit, "{} bytes of {limit}", bytes.len());
            bytes.capacity()
        }
    }
}

/// The same with its payload taken out of the input.
fn taken_out(received: Received, input: &[u8]) -> Received {
    let take = |payload| match payload {
        Payload::InPlace(range) => Payload::Assembled(input[range].to_vec()),
        assembled @ Payload::Assembled(_) => assembled,
    };
    match received {
        Received::Text(payload) => {
            let payload = take(payload);
            let Payload::Assembled(text) = &payload else { unreachable!() };
            assert!(str::from_utf8(text).is_ok(), "a text that is not UTF-8");
            Received::Text(payload)
        }
        Received::Binary(payload) => Received::Binary(take(payload)),
        Received::Ping(payload) => Received::Ping(take(payload)),
        Received::Pong(payload) => Received::Pong(take(payload)),
        other @ (Received::Close(_) | Received::Failed(_)) => other,
    }
}

/// An inflater that has made all that it shares, so that what is measured is the listeners' own.
pub(crate) fn ready(inflation: Inflation) -> SharedInflater {
    let mut inflater = SharedInflater::new();
    if inflation != Inflation::Off {
        let mut message = [0xC2, 0x81, 0, 0, 0, 0, 0]; // an empty block
        let mut decoder = Decoder::new(Inflation::ByMessage);
        let limits = Limits::default();
        let event = decoder.next(&limits, &mut inflater, &mut Input::new(&mut message));
        assert_eq!(event, Ok(Some(Event::Binary(Payload::Assembled(Vec::new())))));
    }
    inflater
}
