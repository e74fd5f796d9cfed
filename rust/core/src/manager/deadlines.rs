//! What a connection has to do in time, and what follows if it does not.
//!
//! | deadline | from | then |
//! |---|---|---|
//! | next PING | the last one; each connection has a phase of its own | a PING |
//! | `ping_timeout` | a PING, unless any byte has come since | it is let go |
//! | `idle_timeout` | the peer's last text or binary message | CLOSE 1000 |
//! | `write_timeout` | the last byte that a full socket has taken | it is let go |
//! | `close_timeout` | our CLOSE frame; the others do not count any more | it is let go |
//!
//! Whoever is let go gets no CLOSE frame: it is gone, or its socket is full. Traffic only notes
//! times. The [wheel](super::wheel) says when to look at a connection; then its deadlines are worked
//! out from those notes. That happens at the end of a turn, so what has come in counts first, and
//! nobody is blamed for what lies in a socket that we do not read.

use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use crate::proto::{self, CloseCode, CloseFrame, Opcode};

use super::Config;
use super::clock::Clock;
use super::connection::CloseCause;
use super::peer::{Peer, Stage};
use super::queue::Target;
use super::turn::Loop;

/// The payload of our PING. Nobody can guess it, so its PONG has really taken its way.
type PingToken = [u8; 8];

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Ping,
    PingTimeout,
    IdleTimeout,
    WriteTimeout,
    CloseTimeout,
}

impl Due {
    const KINDS: usize = 5;
}

/// The notes that one connection's deadlines are worked out from; first what all traffic looks at.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Deadlines {
    /// The first PING since we last heard of the peer.
    unanswered_since: Option<Instant>,
    last_message: Instant,
    /// Output waits since then, and the socket takes nothing.
    stalled_since: Option<Instant>,
    /// Bytes of output up to the end of our last PING.
    unsent_ping: usize,
    /// Our last PING, until its PONG comes, and when it went out.
    outstanding: Option<(PingToken, Instant)>,
    next_ping: Option<Instant>,
    /// Our CLOSE frame is in the output since then.
    closing_since: Option<Instant>,
}

impl Deadlines {
    /// Those of a new connection. Its id makes the phase of its PINGs, so that they are spread out
    /// even if thousands of connections come at once.
    pub(super) fn new(id: u64, now: Instant, ping_interval: Option<Duration>) -> Self {
        // The golden ratio: numbers that follow one another come to lie far apart.
        let phase = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54;
        let phase = u32::try_from(phase).unwrap_or_default(); // below 1024
        let first = ping_interval.map(|interval| interval / 2 + interval / 2048 * phase);
        Self {
            next_ping: first.and_then(|first| now.checked_add(first)),
            outstanding: None,
            unsent_ping: 0,
            unanswered_since: None,
            last_message: now,
            stalled_since: None,
            closing_since: None,
        }
    }

    /// A byte has come, whatever it means.
    pub(super) fn heard(&mut self) {
        self.unanswered_since = None;
    }

    /// A text or binary message has come.
    pub(super) fn message(&mut self, now: Instant) {
        self.last_message = now;
    }

    /// A PONG has come. If it answers our last PING: the time that this took.
    pub(super) fn pong(&mut self, payload: &[u8], clock: &Clock) -> Option<Duration> {
        let (_, sent_at) = self.outstanding.take_if(|(token, _)| token == payload)?;
        clock.ran_since(sent_at).then(|| clock.now().saturating_duration_since(sent_at))
    }

    /// The PONG, should it come, will be read too late to tell anything.
    pub(super) fn forget_ping(&mut self) {
        self.outstanding = None;
    }

    /// The socket was offered output: it has taken `count` bytes, and so many are `left`.
    pub(super) fn wrote(&mut self, count: usize, left: usize, now: Instant) {
        if self.unsent_ping > 0 {
            self.unsent_ping = self.unsent_ping.saturating_sub(count).min(left);
            if let Some((_, sent_at)) = &mut self.outstanding
                && self.unsent_ping == 0
            {
                *sent_at = now.max(*sent_at);
            }
        }
        if count > 0 && self.stalled_since.take().is_some() {
            self.heard(); // a full socket has room only because the peer has taken something
        }
        if left == 0 {
            self.stalled_since = None;
        } else {
            self.stalled_since.get_or_insert(now);
        }
    }

    /// Messages were dropped from the output. How long our PING still waits behind others is not
    /// known any more, and so it measures nothing.
    pub(super) fn output_dropped(&mut self, count: usize) {
        if self.unsent_ping > 0 && count > 0 {
            self.unsent_ping = self.unsent_ping.saturating_sub(count).max(1);
            self.forget_ping();
        }
    }

    /// When the peer's socket must have taken a byte.
    pub(super) fn stall_end(&self, config: &Config) -> Option<Instant> {
        self.stalled_since?.checked_add(config.write_timeout?)
    }

    /// The nearest deadline, and what it is for.
    fn next(&self, is_open: bool, config: &Config, clock: &Clock) -> Option<(Instant, Due)> {
        let end = |since: Option<Instant>, timeout: Option<Duration>, due: Due| {
            let (since, timeout) = (since?, timeout?);
            Some((clock.fair(since.checked_add(timeout)?, timeout), due))
        };
        if self.closing_since.is_some() {
            return end(self.closing_since, Some(config.close_timeout), Due::CloseTimeout);
        }
        let stall = end(self.stalled_since, config.write_timeout, Due::WriteTimeout);
        if !is_open {
            return stall; // our CLOSE is due, when the handler returns
        }
        let unanswered = end(self.unanswered_since, config.ping_timeout, Due::PingTimeout);
        let idle = end(Some(self.last_message), config.idle_timeout, Due::IdleTimeout);
        let ping = self.next_ping.map(|at| (at, Due::Ping));
        [stall, unanswered, idle, ping].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Notes that it is time for a PING, and when it is time for the next one.
    fn begin_ping(&mut self, interval: Duration, now: Instant) {
        let next = self.next_ping.and_then(|at| at.checked_add(interval));
        self.next_ping = next.filter(|next| *next > now).or_else(|| now.checked_add(interval));
    }

    /// Starts the clocks of what the peer owes anew.
    fn excuse(&mut self, now: Instant) {
        self.unanswered_since = self.unanswered_since.map(|_| now);
        self.last_message = now;
    }
}

impl<C: Send> Loop<C> {
    /// Sees to it that a peer is looked at when its next deadline comes.
    pub(super) fn arm(&mut self, slot: usize) {
        if let Some(peer) = self.peers.get(slot)
            && let Some((deadline, _)) = peer.next_deadline(&self.config, &self.clock)
        {
            self.wheel.arm(slot, deadline);
        }
    }

    /// Our CLOSE frame is in a peer's output: from now on it has `close_timeout`.
    pub(super) fn begin_closing(&mut self, slot: usize) {
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.deadlines.closing_since.get_or_insert(self.clock.now());
            self.arm(slot);
        }
    }

    pub(super) fn expire(&mut self) {
        while let Some(slot) = self.wheel.pop() {
            self.look_at(slot);
        }
        if self.stop_deadline.is_some_and(|deadline| deadline <= self.clock.now()) {
            self.finishing = true;
            let rest: Vec<usize> = self.peers.iter().map(|(slot, _)| slot).collect();
            for slot in rest {
                self.let_go(slot);
            }
        }
    }

    /// Does what is due for a peer, and arms for what is next.
    fn look_at(&mut self, slot: usize) {
        for _ in 0..Due::KINDS {
            let Some(due) = self.due(slot) else { break };
            self.act(slot, due);
        }
        self.arm(slot);
    }

    fn due(&self, slot: usize) -> Option<Due> {
        let peer = self.peers.get(slot).filter(|peer| peer.stage != Stage::Gone)?;
        let (deadline, due) = peer.next_deadline(&self.config, &self.clock)?;
        let is_known = due == Due::Ping || !self.saw_not_all;
        (deadline <= self.clock.now() && is_known).then_some(due)
    }

    fn act(&mut self, slot: usize, due: Due) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let target = Target { slot, id: peer.link.id };
        match due {
            Due::Ping => self.ping(slot),
            Due::PingTimeout | Due::IdleTimeout if peer.may_have_spoken() => {
                peer.deadlines.excuse(self.clock.now());
            }
            // What waited was dropped. The next output shows whether the socket takes it.
            Due::WriteTimeout if peer.output.is_empty() => {
                peer.blocked = false;
                peer.deadlines.stalled_since = None;
            }
            Due::PingTimeout | Due::WriteTimeout if self.takes_a_byte(slot) => {}
            Due::PingTimeout => self.give_up(slot, CloseCause::PingTimeout),
            Due::WriteTimeout => self.give_up(slot, CloseCause::SlowConsumer),
            Due::IdleTimeout => {
                self.close(target, idle_frame(), CloseCause::IdleTimeout);
                self.flush();
            }
            Due::CloseTimeout => self.let_go(slot),
        }
    }

    fn ping(&mut self, slot: usize) {
        let (Some(peer), Some(interval)) = (self.peers.get_mut(slot), self.config.ping_interval)
        else {
            return;
        };
        let now = self.clock.now();
        peer.deadlines.begin_ping(interval, now);
        if peer.stage != Stage::Talking {
            return;
        }
        peer.deadlines.unanswered_since.get_or_insert(now);
        if peer.deadlines.unsent_ping == 0 {
            // Not the turn's time: a round trip may be shorter than a turn.
            let sent_at = Instant::now();
            let token = self.tokens.hash_one((peer.link.id, sent_at)).to_be_bytes();
            peer.output.append_with(&mut self.pool, |out| {
                proto::encode_frame(out, Opcode::Ping, &token);
            });
            peer.deadlines.outstanding = Some((token, sent_at));
            peer.deadlines.unsent_ping = peer.output.len();
            self.flush_peer(slot);
        }
    }

    /// Whether a stalled socket takes something after all. It tells so by itself only when a third
    /// of its buffer is free, which may be megabytes.
    fn takes_a_byte(&mut self, slot: usize) -> bool {
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        let before = peer.output.len();
        peer.blocked = false;
        self.flush_peer(slot);
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        let takes = peer.output.len() < before;
        if takes {
            peer.deadlines.heard();
        }
        takes
    }

    /// Lets a peer go that cannot be told why.
    fn give_up(&mut self, slot: usize, cause: CloseCause) {
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.cause.get_or_insert(cause);
            self.let_go(slot);
        }
    }
}

impl Peer {
    fn next_deadline(&self, config: &Config, clock: &Clock) -> Option<(Instant, Due)> {
        self.deadlines.next(self.protocol.is_open(), config, clock)
    }

    /// Whether there may be something of the peer's that we have not read, or that we have not
    /// even asked it for.
    fn may_have_spoken(&self) -> bool {
        self.listed_ready || self.is_paused || self.stage < Stage::Talking
    }
}

fn idle_frame() -> CloseFrame {
    CloseFrame::new(CloseCode::NORMAL, "idle").unwrap_or_default()
}

#[cfg(test)]
mod tests;
