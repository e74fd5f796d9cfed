//! Who may become a connection.
//!
//! A handshake that is sound asks for a [`Permit`], before anything else is spent on its client,
//! and without one it is refused. All limits are checked and the place is taken under one lock, so
//! that of two clients only one gets the last place. The permit then travels with the socket: into
//! the adoption, into the peer. Dropping it gives the place back, whatever the reason, and a peer
//! drops it behind its socket. So the limit on connections is one on descriptors, too.
//!
//! A permit is *pending* until the 101 goes out: while the program decides about the handshake,
//! while the loop has other things to do, while the handler is told of the connection.
//!
//! Addresses are counted as networks, because nobody has only one IPv6 address: whoever is given
//! any has a /64 at least, 2^64 addresses. An IPv4 address that is written as an IPv6 one
//! (`::ffff:192.0.2.1`, as a socket for both sees it) is the IPv4 address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::Config;
use super::fork::{PerProcess, generation};
use super::sync::MutexGuard;

/// The limit that a handshake has run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// [`Config::max_connections`].
    #[error("there are too many connections")]
    MaxConnections,
    /// [`Config::max_connections_per_address`].
    #[error("there are too many connections from this address")]
    MaxConnectionsPerAddress,
    /// [`Config::max_pending_handshakes`].
    #[error("there are too many handshakes in progress")]
    MaxPendingHandshakes,
}

/// A check of handshakes that is not the core's, but is counted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Whether it is a WebSocket handshake at all.
    Handshake,
    /// Whether a browser may come from there.
    Origin,
    /// What the program says.
    Authorize,
}

/// How many handshakes were refused, by what refused them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    /// By [`Refused::MaxConnections`].
    pub max_connections: u64,
    /// By [`Refused::MaxConnectionsPerAddress`].
    pub max_connections_per_address: u64,
    /// By [`Refused::MaxPendingHandshakes`].
    pub max_pending_handshakes: u64,
    /// By [`Check::Handshake`].
    pub handshake: u64,
    /// By [`Check::Origin`].
    pub origin: u64,
    /// By [`Check::Authorize`].
    pub authorize: u64,
}

/// The limits on connections, and who counts against them.
#[derive(Debug)]
pub(super) struct Admission {
    max_connections: Option<usize>,
    max_connections_per_address: Option<usize>,
    max_pending_handshakes: usize,
    state: PerProcess<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    pending: usize,
    /// Only if there is a limit on that, and only those with a connection.
    per_network: HashMap<IpAddr, usize>,
    refusals: Refusals,
}

impl Admission {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            max_connections: config.max_connections,
            max_connections_per_address: config.max_connections_per_address,
            max_pending_handshakes: config.max_pending_handshakes,
            state: PerProcess::new(State::default()),
        }
    }

    /// Takes a place, or counts a refusal.
    pub(super) fn admit(admission: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, Refused> {
        Self::try_admit(admission, address)
            .inspect_err(|refused| admission.lock().refusals.count(*refused))
    }

    /// Takes a place.
    pub(super) fn try_admit(
        admission: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<Permit, Refused> {
        let limited = address.filter(|_| admission.max_connections_per_address.is_some());
        let network = limited.map(network_of);
        let mut state = admission.lock();
        if let Some(refused) = admission.refusal(&state, network) {
            return Err(refused);
        }
        state.connections += 1;
        state.pending += 1;
        if let Some(network) = network {
            *state.per_network.entry(network).or_default() += 1;
        }
        drop(state);
        Ok(Permit {
            admission: Arc::clone(admission),
            network,
            is_pending: true,
            generation: generation(),
        })
    }

    fn refusal(&self, state: &State, network: Option<IpAddr>) -> Option<Refused> {
        let is_full = |limit: Option<usize>, count| limit.is_some_and(|limit| count >= limit);
        let neighbours = network.and_then(|network| state.per_network.get(&network).copied());
        if is_full(self.max_connections, state.connections) {
            Some(Refused::MaxConnections)
        } else if is_full(self.max_connections_per_address, neighbours.unwrap_or(0)) {
            Some(Refused::MaxConnectionsPerAddress)
        } else if state.pending >= self.max_pending_handshakes {
            Some(Refused::MaxPendingHandshakes)
        } else {
            None
        }
    }

    pub(super) fn count(&self, check: Check) {
        let refusals = &mut self.lock().refusals;
        match check {
            Check::Handshake => refusals.handshake += 1,
            Check::Origin => refusals.origin += 1,
            Check::Authorize => refusals.authorize += 1,
        }
    }

    pub(super) fn refusals(&self) -> Refusals {
        self.lock().refusals
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two counts that belong together.
        self.state.lock()
    }
}

impl Refusals {
    fn count(&mut self, refused: Refused) {
        match refused {
            Refused::MaxConnections => self.max_connections += 1,
            Refused::MaxConnectionsPerAddress => self.max_connections_per_address += 1,
            Refused::MaxPendingHandshakes => self.max_pending_handshakes += 1,
        }
    }
}

/// A place among the connections; dropping it gives it back.
#[derive(Debug)]
#[must_use = "the place is given back when the permit is dropped"]
pub struct Permit {
    admission: Arc<Admission>,
    /// What it counts for, if that is limited.
    network: Option<IpAddr>,
    is_pending: bool,
    /// Of the process where it is counted: a forked child has copies that are not.
    generation: u32,
}

impl Permit {
    /// Notes that the handshake is answered: it is pending no longer.
    pub(super) fn established(&mut self) {
        if self.is_pending {
            self.is_pending = false;
            self.admission.lock().pending -= 1;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.generation != generation() {
            return;
        }
        let mut state = self.admission.lock();
        state.connections -= 1;
        state.pending -= usize::from(self.is_pending);
        if let Some(network) = self.network
            && let Entry::Occupied(mut entry) = state.per_network.entry(network)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// What an address counts for: itself if it is an IPv4 one, its /64 otherwise.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests;
