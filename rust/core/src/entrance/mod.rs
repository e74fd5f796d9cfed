//! WebSocket handshakes that need no code of the program's, from the arrival to the manager.
//!
//! An [`Entrance`] knows the paths of the [`Gate`]s. What arrives there and keeps the terms goes on to
//! the manager at once, many together with one wake of its loop. Everything else is given back, also
//! a handshake that is to be refused: whoever answers requests checks it again, and says why.
//!
//! Clients are let in faster than a manager greets them. So that a crowd is not refused which it
//! would have greeted a moment later, they wait here while too many handshakes are in progress.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::handshake::{Accepted, Negotiation, Terms};
use crate::http::RequestHead;
use crate::manager::{Adoption, Handle, Permit, Refused};
use crate::reception::{Arrival, Guest, Parts, Reason};
use crate::tls::Session;

/// Paths that are known at most. What arrives at others takes the longer way.
const MAX_GATES: usize = 1024;
/// How long a client may wait for handshakes in progress, before somebody says that there are too many.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether there is a place: in that time a manager greets some fifty.
const RETRY: Duration = Duration::from_millis(2);

/// Where handshakes are accepted, and on which terms.
#[derive(Debug)]
pub struct Gate<G> {
    /// What a handshake has to keep.
    pub terms: Arc<Terms>,
    /// As in [`Adoption::deferred`].
    pub deferred: bool,
    /// What the contexts of its connections are made of.
    pub guide: G,
}

/// Who is let in.
#[derive(Debug)]
pub struct Entrant<'a, G> {
    /// That of the gate.
    pub guide: &'a G,
    /// The whole head of the handshake.
    pub head: Vec<u8>,
    /// `None`: it came by a unix socket.
    pub address: Option<SocketAddr>,
    /// `None`: it speaks no TLS.
    pub session: Option<&'a Session>,
    /// What was agreed on.
    pub accepted: &'a Accepted,
}

/// The gates of a server, and who waits there. It does not ask what time it is: that is the time since
/// any moment, always the same. `T` is what comes with a client.
#[derive(Debug)]
pub struct Entrance<G, T> {
    gates: HashMap<String, Arc<Gate<G>>>,
    negotiation: Negotiation,
    max_fields: Option<u64>,
    /// Those for whom too many handshakes are in progress, and until when they wait.
    waiting: VecDeque<(Checked<G, T>, Duration)>,
    /// When to try again.
    retry: Duration,
}

/// A client whose handshake keeps the terms of a gate.
#[derive(Debug)]
struct Checked<G, T> {
    guest: Guest<T>,
    gate: Arc<Gate<G>>,
    head_end: usize,
    accepted: Accepted,
}

impl<G, T> Entrance<G, T> {
    /// Without gates. The negotiation is that of terms that have none.
    #[must_use]
    pub fn new(negotiation: Negotiation, max_fields: Option<u64>) -> Self {
        let (gates, waiting) = (HashMap::new(), VecDeque::new());
        Self { gates, negotiation, max_fields, waiting, retry: Duration::ZERO }
    }

    /// Opens a gate at a path, as it is sent, unless there is one or there are very many.
    pub fn open(&mut self, path: &str, gate: impl FnOnce() -> Gate<G>) {
        if self.gates.len() < MAX_GATES && !self.gates.contains_key(path) {
            self.gates.insert(path.to_owned(), Arc::new(gate()));
        }
    }

    /// Lets in who may come in, and returns the others. While the limit on handshakes in progress is
    /// reached, all wait in the order in which they have come, but not for long.
    pub fn let_in<C>(
        &mut self,
        now: Duration,
        arrivals: Vec<Arrival<T>>,
        manager: &Handle<C>,
        context: impl Fn(Entrant<'_, G>) -> C,
    ) -> Vec<Arrival<T>> {
        let mut others = Vec::new();
        for arrival in arrivals {
            match self.check(arrival) {
                Ok(checked) => self.waiting.push_back((checked, now + PATIENCE)),
                Err(arrival) => others.push(arrival),
            }
        }
        let mut adoptions = Vec::new();
        while let Some((checked, until)) = self.waiting.pop_front() {
            let address = checked.guest.address().map(|address| address.ip());
            match manager.try_admit(address) {
                Ok(permit) => adoptions.push(checked.into_adoption(permit, &context)),
                Err(Refused::MaxPendingHandshakes) if now < until => {
                    self.waiting.push_front((checked, until));
                    break;
                }
                Err(_refused) => others.push(checked.into_arrival()),
            }
        }
        self.retry = now + RETRY;
        adopt_all(adoptions, manager);
        others
    }

    /// When those who wait have to be [let in](Self::let_in); `None` if nobody waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(self.retry)
    }

    /// Closes the connections of those who wait.
    pub fn let_go(&mut self) {
        for (checked, _) in self.waiting.drain(..) {
            checked.guest.close();
        }
    }

    /// The descriptors of those who wait.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.waiting.iter().map(|(checked, _)| checked.guest.descriptor())
    }

    fn check(&self, arrival: Arrival<T>) -> Result<Checked<G, T>, Arrival<T>> {
        match self.examine(&arrival) {
            Some((gate, head_end, accepted)) => {
                let gate = Arc::clone(gate);
                Ok(Checked { guest: arrival.guest, gate, head_end, accepted })
            }
            None => Err(arrival),
        }
    }

    fn examine(&self, arrival: &Arrival<T>) -> Option<(&Arc<Gate<G>>, usize, Accepted)> {
        let Arrival { guest, reason: Reason::Head } = arrival else { return None };
        let end = guest.head_end()?;
        let head = &guest.received()[..end];
        let gate = self.gates.get(path_of(head)?)?;
        let head = RequestHead::parse(head, self.max_fields).ok()?;
        // Those have something to say before it is their turn.
        let has_more = ["content-length", "transfer-encoding", "expect"];
        if has_more.into_iter().any(|name| head.get(name).is_some()) {
            return None;
        }
        let accepted = gate.terms.check(&head, guest.speaks_tls(), &self.negotiation).ok()?;
        Some((gate, end, accepted))
    }
}

impl<G, T> Checked<G, T> {
    fn into_arrival(self) -> Arrival<T> {
        Arrival { guest: self.guest, reason: Reason::Head }
    }

    fn into_adoption<C>(
        self,
        permit: Permit,
        context: impl Fn(Entrant<'_, G>) -> C,
    ) -> Adoption<C> {
        let Self { guest, gate, head_end, accepted } = self;
        let Parts { socket, session, address, received: mut head, .. } = guest.into_parts();
        let received = head.split_off(head_end);
        let context = context(Entrant {
            guide: &gate.guide,
            head,
            address,
            session: session.as_deref(),
            accepted: &accepted,
        });
        Adoption {
            stream: socket,
            session,
            response: accepted.response(),
            received,
            deflate: accepted.deflate(),
            deferred: gate.deferred,
            permit: Some(permit),
            context,
        }
    }
}

fn adopt_all<C>(adoptions: Vec<Adoption<C>>, manager: &Handle<C>) {
    if adoptions.is_empty() {
        return;
    }
    manager.adopting_many(|| {
        for adoption in adoptions {
            if let Err(error) = manager.adopt(adoption) {
                log::error!("taking over a connection failed: {error}");
            }
        }
    });
    // The manager greets them at once, and meanwhile more come for the next turn.
    std::thread::yield_now();
}

/// The path in a request line as nearly all clients write it.
fn path_of(head: &[u8]) -> Option<&str> {
    let target = head.strip_prefix(b"GET ")?;
    let end = target.iter().position(|byte| matches!(byte, b' ' | b'?'))?;
    str::from_utf8(&target[..end]).ok()
}

#[cfg(test)]
mod tests;
