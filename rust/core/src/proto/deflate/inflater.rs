//! Messages that come compressed (RFC 7692, section 7.2.2).
//!
//! Without context takeover every message stands alone, so all connections share one inflater. A
//! message that comes in pieces is gathered first: an inflater of its own takes 47 KB, and whoever
//! can make a server spend that for one byte has a lever. Only a message of which more has come
//! than that is given one, until it ends. With takeover a connection has its own from its first
//! compressed message on.
//!
//! Output is taken in steps, each checked against the limit on a message and, for text, as UTF-8,
//! so a message is refused with the first byte too many, however small it came.

use std::fmt;

use zlib_rs::{Inflate, InflateError, InflateFlush, Status};

use super::super::message::Message;
use super::super::{Limits, ProtocolError};
use super::{MAX_WINDOW_BITS, TAIL};

/// What is gathered of a message before it gets an inflater of its own, in bytes.
const GATHERED: usize = 48 * 1024;

/// How much is inflated in one step, in bytes.
const STEP: usize = 32 * 1024;

/// An empty last block. Where another block may begin, and only there, it ends the stream.
const EMPTY_LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// How the messages of a peer may be compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Inflation {
    /// Not at all: no extension was agreed on.
    #[default]
    Off,
    /// Each by itself (`client_no_context_takeover`).
    ByMessage,
    /// With reference to those before it.
    WithTakeover,
}

/// The inflater of all connections that have no context takeover, made when it is first needed.
#[derive(Debug, Default)]
pub struct SharedInflater {
    inflater: Option<Inflater>,
    /// Where each step's output goes first.
    step: Vec<u8>,
}

impl SharedInflater {
    /// An inflater that takes no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { inflater: None, step: Vec::new() }
    }

    fn step(&mut self) -> &mut [u8] {
        self.step.resize(STEP, 0);
        &mut self.step
    }
}

/// The most bytes that a compressed message may take on the wire if `limit` bytes may come out.
///
/// DEFLATE makes what it cannot compress a little longer; an encoder that wastes more than an
/// eighth is up to no good.
pub(crate) const fn compressed_limit(limit: usize) -> usize {
    limit.saturating_add(limit / 8).saturating_add(1024)
}

/// The compressed messages of one peer. Owns no heap, except while a message has come in part, and
/// with context takeover.
#[derive(Debug, Default)]
pub(crate) struct InboundDeflate {
    inflation: Inflation,
    state: Option<Box<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// With takeover that of the connection, else that of the open message, if it is long.
    inflater: Option<Inflater>,
    /// What has come of the open message and is not inflated yet.
    gathered: Vec<u8>,
}

impl InboundDeflate {
    pub(crate) const fn new(inflation: Inflation) -> Self {
        Self { inflation, state: None }
    }

    /// Whether RSV1 has a meaning.
    pub(crate) fn is_on(&self) -> bool {
        self.inflation != Inflation::Off
    }

    /// Takes a part of the open message that is not its end.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        message: &mut Message,
        limits: &Limits,
        shared: &mut SharedInflater,
    ) -> Result<(), ProtocolError> {
        let State { inflater, gathered } = &mut **self.state.get_or_insert_default();
        let gathers = inflater.is_none() && self.inflation == Inflation::ByMessage;
        if gathers && gathered.len() + bytes.len() <= GATHERED {
            gathered.extend_from_slice(bytes);
            return Ok(());
        }
        let inflater = inflater.get_or_insert_with(Inflater::new);
        inflater.feed(&std::mem::take(gathered), message, limits, shared.step())?;
        inflater.feed(bytes, message, limits, shared.step())
    }

    /// Takes the rest of the open message.
    pub(crate) fn finish(
        &mut self,
        bytes: &[u8],
        message: &mut Message,
        limits: &Limits,
        shared: &mut SharedInflater,
    ) -> Result<(), ProtocolError> {
        if self.inflation == Inflation::WithTakeover {
            let state = self.state.get_or_insert_default();
            let inflater = state.inflater.get_or_insert_with(Inflater::new);
            inflater.feed(bytes, message, limits, shared.step())?;
            return inflater.end_message(message, limits, shared.step());
        }
        let (mut own, gathered) = match self.state.take() {
            Some(state) => (state.inflater, state.gathered),
            None => (None, Vec::new()), // it is whole in `bytes`
        };
        shared.step();
        let SharedInflater { inflater, step } = shared;
        let inflater = if let Some(own) = &mut own {
            own
        } else {
            let inflater = inflater.get_or_insert_with(Inflater::new);
            inflater.reset(); // the last message may have ended with an error
            inflater
        };
        inflater.feed(&gathered, message, limits, step)?;
        inflater.feed(bytes, message, limits, step)?;
        inflater.end_message(message, limits, step)?;
        inflater.prove_boundary(step)
    }

    /// Forgets everything: nothing will be inflated any more.
    pub(crate) fn discard(&mut self) {
        self.state = None;
    }

    /// Whether there is an inflater that nobody else uses.
    #[cfg(test)]
    pub(crate) fn has_inflater(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.inflater.is_some())
    }

    /// The heap that holds what has come of the open message, in bytes.
    #[cfg(test)]
    pub(crate) fn gathered(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.gathered.capacity())
    }
}

/// A stream of raw DEFLATE.
struct Inflater {
    stream: Inflate,
    /// Nothing was fed since the message, or the stream, began.
    at_start: bool,
}

/// What one call of zlib came to.
struct Inflated {
    status: Result<Status, InflateError>,
    read: usize,
    written: usize,
}

impl Inflater {
    fn new() -> Self {
        Self { stream: Inflate::new(false, MAX_WINDOW_BITS), at_start: true }
    }

    fn reset(&mut self) {
        self.stream.reset(false);
        self.at_start = true;
    }

    /// Inflates `input` into the message, a step at a time.
    fn feed(
        &mut self,
        mut input: &[u8],
        message: &mut Message,
        limits: &Limits,
        step: &mut [u8],
    ) -> Result<(), ProtocolError> {
        if input.is_empty() {
            return Ok(());
        }
        self.at_start = false;
        loop {
            // One byte beyond the limit is enough to know.
            let room = step.len().min(message.room(limits).saturating_add(1));
            let Inflated { status, read, written } = self.inflate(input, &mut step[..room]);
            // What came out before an error may be at fault before it.
            message.push_inflated(&step[..written], limits)?;
            input = &input[read..];
            match status.map_err(|_| ProtocolError::BadDeflate)? {
                // A last block may be anywhere in a message (section 7.2.3.4).
                Status::StreamEnd => {
                    self.reset();
                    if input.is_empty() {
                        return Ok(());
                    }
                    self.at_start = false;
                }
                Status::Ok | Status::BufError if written == room => {} // there may be more
                Status::Ok | Status::BufError if input.is_empty() => return Ok(()),
                Status::Ok | Status::BufError => return Err(ProtocolError::BadDeflate),
            }
        }
    }

    /// Adds what the sender has left out. A message that ends where it should says nothing more.
    ///
    /// Nothing is left out behind a last block, and where there was nothing to compress some
    /// senders have nothing to send.
    fn end_message(
        &mut self,
        message: &mut Message,
        limits: &Limits,
        step: &mut [u8],
    ) -> Result<(), ProtocolError> {
        if self.at_start {
            return Ok(());
        }
        let before = message.room(limits);
        self.feed(&TAIL, message, limits, step)?;
        self.at_start = true;
        if message.room(limits) == before { Ok(()) } else { Err(ProtocolError::BadDeflate) }
    }

    /// Whether another block could begin here. If not, the message was cut short, and its end was
    /// taken for data. The stream has to be reset before it is used again.
    fn prove_boundary(&mut self, step: &mut [u8]) -> Result<(), ProtocolError> {
        match self.inflate(&EMPTY_LAST_BLOCK, step).status {
            Ok(Status::StreamEnd) => Ok(()),
            Ok(Status::Ok | Status::BufError) | Err(_) => Err(ProtocolError::BadDeflate),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "lengths of slices")]
    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Inflated {
        let (read, written) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(input, output, InflateFlush::SyncFlush);
        let read = (self.stream.total_in() - read) as usize;
        let written = (self.stream.total_out() - written) as usize;
        Inflated { status, read, written }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inflater").field("at_start", &self.at_start).finish_non_exhaustive()
    }
}
