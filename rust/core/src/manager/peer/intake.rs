//! What comes in from one socket: bytes, then what the protocol makes of them, then events.

use std::io;
use std::ops::Range;

use crate::proto::{
    self, CloseFrame, Input, Limits, Opcode, Payload, ProtocolError, Received, SharedInflater,
};
use crate::tls::Arrival;

use super::super::clock::Clock;
use super::super::connection::CloseCause;
use super::super::counters::Counters;
use super::super::handler::{Event, bytes};
use super::super::output::BufferPool;
use super::super::read::{Readiness, Taken};
use super::Peer;

/// What a byte that comes compressed takes off the budget, beside the bytes that it becomes: there
/// are streams that take time to inflate and become nothing.
const COST_OF_COMPRESSED_BYTE: usize = 8;

/// So much has to be still to come of a frame, and to be there of its message, for the next bytes to
/// be read into that, and not into the arena.
const MIN_FILL: usize = 16 * 1024;

/// What a peer needs of the loop to take bytes in.
pub(in super::super) struct Intake<'a, C> {
    pub(in super::super) limits: &'a Limits,
    pub(in super::super) inflater: &'a mut SharedInflater,
    /// Bytes that may still be inflated in this turn: decoding what may be compressed stops when
    /// none are left.
    pub(in super::super) inflate_budget: &'a mut usize,
    pub(in super::super) pool: &'a mut BufferPool,
    pub(in super::super) events: &'a mut Vec<Event<C>>,
    pub(in super::super) counters: &'a mut Counters,
    pub(in super::super) clock: &'a Clock,
}

impl Peer {
    /// Reads once into `arena[room]` and decodes what came, in place. What belongs to a long message
    /// is read into that instead.
    pub(in super::super) fn read<C>(
        &mut self,
        arena: &mut [u8],
        room: Range<usize>,
        intake: &mut Intake<'_, C>,
    ) -> Taken {
        if self.protocol.is_in_payload()
            && let Some(taken) = self.read_on(room.len(), intake)
        {
            return taken;
        }
        let result = self.stream.read(&mut arena[room.clone()]);
        self.take_arrival(result, intake, |peer, count, intake| {
            let arrived = &mut arena[room.start..room.start + count];
            peer.decode(arrived, Some(room.start), intake)
        })
    }

    /// Reads once into the message that is being put together, if it is a long one.
    #[cold]
    fn read_on<C>(&mut self, most: usize, intake: &mut Intake<'_, C>) -> Option<Taken> {
        let mut result = Ok(None);
        let received = self.protocol.fill(MIN_FILL..=most, |place| {
            result = self.stream.read(place);
            if let Ok(Some(arrival)) = &result { arrival.count } else { 0 }
        })?;
        Some(self.take_arrival(result, intake, |peer, _, intake| {
            let mut used = false;
            if let Some(received) = received {
                peer.take(received, &[], None, &mut used, intake);
            }
            used
        }))
    }

    /// Says what a read came to. `decode` has the bytes decoded, if there are any, and returns whether
    /// the batch now refers to them.
    #[inline]
    fn take_arrival<C>(
        &mut self,
        result: io::Result<Option<Arrival>>,
        intake: &mut Intake<'_, C>,
        decode: impl FnOnce(&mut Self, usize, &mut Intake<'_, C>) -> bool,
    ) -> Taken {
        self.blocked |= self.stream.unsent() > 0; // it may have answered something
        match result {
            Ok(None) => {
                self.fin = true;
                Taken::default()
            }
            Ok(Some(Arrival { count, more, cost })) => {
                intake.counters.bytes_received += count as u64;
                self.deadlines.heard();
                let used = decode(self, count, intake);
                if self.deflate.is_some() {
                    let cost = count * COST_OF_COMPRESSED_BYTE;
                    *intake.inflate_budget = intake.inflate_budget.saturating_sub(cost);
                }
                // A short read has emptied the socket, except for a FIN behind the data.
                let more = more || self.read_closed || self.holds();
                let readiness = if more { Readiness::More } else { Readiness::Drained };
                Taken { cost, kept: if used { count } else { 0 }, readiness }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Taken { readiness: Readiness::Drained, ..Taken::default() }
            }
            Err(error) => {
                log::debug!("connection {}: {error}", self.link.id);
                Taken::default()
            }
        }
    }

    /// Feeds the protocol with bytes that stand at `base` in the arena, or, for what was read
    /// behind the handshake, not in it. Returns whether the batch now refers to `data`.
    pub(in super::super) fn decode<C>(
        &mut self,
        data: &mut [u8],
        base: Option<usize>,
        intake: &mut Intake<'_, C>,
    ) -> bool {
        let mut used = false;
        let mut input = Input::new(data);
        loop {
            if *intake.inflate_budget == 0 && self.deflate.is_some() {
                self.held = input.rest().to_vec();
                return used;
            }
            let received = self.protocol.receive(intake.limits, intake.inflater, &mut input);
            let Some(received) = received else { return used };
            if !self.take(received, input.all(), base, &mut used, intake) {
                return used;
            }
        }
    }

    /// Takes what was decoded of `data`, which stands at `base`. Returns whether more can follow, and
    /// notes in `used` if the batch now refers to `data`.
    #[expect(
        clippy::inline_always,
        reason = "a call for each message costs a tenth of a short one"
    )]
    #[inline(always)]
    fn take<C>(
        &mut self,
        received: Received,
        data: &[u8],
        base: Option<usize>,
        used: &mut bool,
        intake: &mut Intake<'_, C>,
    ) -> bool {
        let slot = self.link.slot;
        match received {
            Received::Text(payload) if self.accepts(&payload, intake) => {
                let payload = place(payload, data, base);
                *used |= matches!(payload, Payload::InPlace(_));
                intake.events.push(Event::Text { slot, payload });
            }
            Received::Binary(payload) if self.accepts(&payload, intake) => {
                let payload = place(payload, data, base);
                *used |= matches!(payload, Payload::InPlace(_));
                intake.events.push(Event::Binary { slot, payload });
            }
            Received::Text(_) | Received::Binary(_) => {
                self.protocol.fail(ProtocolError::TooManyMessages);
                self.take_failure(ProtocolError::TooManyMessages, intake);
                return false;
            }
            Received::Close(frame) => self.take_close(frame, intake),
            Received::Ping(payload) => self.take_ping(bytes(&payload, data), intake),
            Received::Pong(payload) => self.take_pong(bytes(&payload, data), intake),
            Received::Failed(error) => {
                self.take_failure(error, intake);
                return false;
            }
        }
        true
    }

    /// Counts a message, unless there are too many of them.
    fn accepts<C>(&mut self, payload: &Payload, intake: &mut Intake<'_, C>) -> bool {
        // Inflating it has cost something, whatever becomes of it.
        if let (Payload::Assembled(bytes), Some(_)) = (payload, &self.deflate) {
            *intake.inflate_budget = intake.inflate_budget.saturating_sub(bytes.len());
        }
        let now = intake.clock.now();
        let accepts = self.rate.allows_message(now);
        if accepts {
            intake.counters.messages_received += 1;
            self.deadlines.message(now);
        }
        accepts
    }

    fn take_close<C>(&mut self, frame: CloseFrame, intake: &mut Intake<'_, C>) {
        self.close_answered = self.protocol.is_closed();
        self.cause.get_or_insert(CloseCause::Peer);
        intake.events.push(Event::CloseMessage { slot: self.link.slot, frame });
        self.ask_for_answer(intake.events);
    }

    fn take_ping<C>(&mut self, payload: &[u8], intake: &mut Intake<'_, C>) {
        self.pong_backlog += proto::encoded_size(payload.len());
        self.output.append_with(intake.pool, |out| {
            proto::encode_frame(out, Opcode::Pong, payload);
        });
    }

    fn take_pong<C>(&mut self, payload: &[u8], intake: &Intake<'_, C>) {
        if let Some(latency) = self.deadlines.pong(payload, intake.clock) {
            self.link.note_latency(latency);
        }
    }

    fn take_failure<C>(&mut self, error: ProtocolError, intake: &mut Intake<'_, C>) {
        self.cause.get_or_insert(CloseCause::ProtocolError);
        log::debug!("connection {}: {error}", self.link.id);
        self.ask_for_answer(intake.events);
    }

    /// Of a deferred peer, tells the handler where our CLOSE belongs.
    fn ask_for_answer<C>(&self, events: &mut Vec<Event<C>>) {
        if self.deferred && self.protocol.needs_answer() {
            events.push(Event::Answer { slot: self.link.slot });
        }
    }

    /// What was read in an earlier turn and is to be decoded before anything else is read.
    pub(in super::super) fn take_held(&mut self) -> Option<Vec<u8>> {
        (!self.held.is_empty()).then(|| std::mem::take(&mut self.held))
    }

    /// Whether bytes that have been read wait to be decoded.
    pub(in super::super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }
}

/// The payload of an event: a range of the arena, or a copy of bytes that are not in it.
#[inline]
fn place(payload: Payload, bytes: &[u8], base: Option<usize>) -> Payload {
    match (payload, base) {
        (Payload::InPlace(range), Some(base)) => {
            Payload::InPlace(range.start + base..range.end + base)
        }
        (Payload::InPlace(range), None) => Payload::Assembled(bytes[range].to_vec()),
        (Payload::Assembled(bytes), _) => Payload::Assembled(bytes),
    }
}
