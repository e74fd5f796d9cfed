//! WebSocket handshakes that need no code of the program's, from the arrival to the manager.
//!
//! An [`Entrance`] knows the paths of the [`Gate`]s. What arrives there and keeps the terms goes on to
//! the manager at once, many together with one wake of its loop. Everything else is given back, also
//! a handshake that is to be refused: whoever answers requests checks it again, and says why.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::handshake::{Accepted, Negotiation, Terms};
use crate::http::RequestHead;
use crate::manager::{Adoption, Handle, Permit};
use crate::reception::{Arrival, Guest, Parts, Reason};
use crate::tls::Session;

/// Paths that are known at most. What arrives at others takes the longer way.
const MAX_GATES: usize = 1024;

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

/// The gates of a server.
#[derive(Debug)]
pub struct Entrance<G> {
    gates: HashMap<String, Gate<G>>,
    negotiation: Negotiation,
    max_fields: Option<u64>,
}

/// A handshake that is accepted, and has a place.
struct Admitted<'a, G> {
    gate: &'a Gate<G>,
    head_end: usize,
    accepted: Accepted,
    permit: Permit,
}

impl<G> Entrance<G> {
    /// Without gates. The negotiation is that of terms that have none.
    #[must_use]
    pub fn new(negotiation: Negotiation, max_fields: Option<u64>) -> Self {
        Self { gates: HashMap::new(), negotiation, max_fields }
    }

    /// Opens a gate at a path, as it is sent, unless there is one or there are very many.
    pub fn open(&mut self, path: &str, gate: impl FnOnce() -> Gate<G>) {
        if self.gates.len() < MAX_GATES && !self.gates.contains_key(path) {
            self.gates.insert(path.to_owned(), gate());
        }
    }

    /// Lets in who may come in, and returns the others.
    pub fn let_in<T, C>(
        &self,
        arrivals: Vec<Arrival<T>>,
        manager: &Handle<C>,
        context: impl Fn(Entrant<'_, G>) -> C,
    ) -> Vec<Arrival<T>> {
        let mut others = Vec::new();
        let mut adoptions = Vec::new();
        for arrival in arrivals {
            match self.admit(&arrival, manager) {
                Some(admitted) => adoptions.push(adoption(admitted, arrival.guest, &context)),
                None => others.push(arrival),
            }
        }
        if !adoptions.is_empty() {
            manager.adopting_many(|| {
                for adoption in adoptions {
                    if let Err(error) = manager.adopt(adoption) {
                        log::error!("taking over a connection failed: {error}");
                    }
                }
            });
        }
        others
    }

    fn admit<T, C>(&self, arrival: &Arrival<T>, manager: &Handle<C>) -> Option<Admitted<'_, G>> {
        let Arrival { guest, reason: Reason::Head } = arrival else { return None };
        let (gate, head_end, accepted) = self.check(guest)?;
        let permit = manager.try_admit(guest.address().map(|address| address.ip())).ok()?;
        Some(Admitted { gate, head_end, accepted, permit })
    }

    fn check<T>(&self, guest: &Guest<T>) -> Option<(&Gate<G>, usize, Accepted)> {
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

/// The path in a request line as nearly all clients write it.
fn path_of(head: &[u8]) -> Option<&str> {
    let target = head.strip_prefix(b"GET ")?;
    let end = target.iter().position(|byte| matches!(byte, b' ' | b'?'))?;
    str::from_utf8(&target[..end]).ok()
}

fn adoption<T, G, C>(
    admitted: Admitted<'_, G>,
    guest: Guest<T>,
    context: impl Fn(Entrant<'_, G>) -> C,
) -> Adoption<C> {
    let Admitted { gate, head_end, accepted, permit } = admitted;
    let Parts { socket, session, address, received: mut head, .. } = guest.into_parts();
    let received = head.split_off(head_end);
    let (guide, response) = (&gate.guide, accepted.response());
    let context =
        context(Entrant { guide, head, address, session: session.as_deref(), accepted: &accepted });
    Adoption {
        stream: socket,
        session,
        response,
        received,
        deflate: accepted.deflate(),
        deferred: gate.deferred,
        permit: Some(permit),
        context,
    }
}

#[cfg(test)]
mod tests;
