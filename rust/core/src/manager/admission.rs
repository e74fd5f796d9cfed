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
use std::sync::{Arc, MutexGuard};

use super::Config;
use super::fork::{PerProcess, generation};

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
        let limited = address.filter(|_| admission.max_connections_per_address.is_some());
        let network = limited.map(network_of);
        let mut state = admission.lock();
        if let Some(refused) = admission.refusal(&state, network) {
            state.refusals.count(refused);
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admission(
        max_connections: Option<usize>,
        max_connections_per_address: Option<usize>,
        max_pending_handshakes: usize,
    ) -> Arc<Admission> {
        Arc::new(Admission::new(&Config {
            max_connections,
            max_connections_per_address,
            max_pending_handshakes,
            ..Config::default()
        }))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn assert_empty(admission: &Admission) {
        let state = admission.lock();
        assert_eq!((state.connections, state.pending), (0, 0));
        assert_eq!(state.per_network, HashMap::new());
    }

    #[test]
    fn without_limits_everybody_is_admitted_and_nobody_is_remembered() {
        let admission = admission(None, None, usize::MAX);
        let admit = |_| Admission::admit(&admission, Some(address("192.0.2.1"))).unwrap();
        let permits: Vec<Permit> = (0..1000).map(admit).collect();
        assert_eq!(admission.lock().per_network, HashMap::new());
        drop(permits);
        assert_empty(&admission);
        assert_eq!(admission.refusals(), Refusals::default());
    }

    #[test]
    fn the_last_place_is_given_once_and_again_when_somebody_leaves() {
        let admission = admission(Some(2), None, 100);
        let first = Admission::admit(&admission, None).unwrap();
        let _second = Admission::admit(&admission, None).unwrap();
        assert_eq!(Admission::admit(&admission, None).unwrap_err(), Refused::MaxConnections);
        drop(first);
        let _third = Admission::admit(&admission, None).unwrap();
        assert_eq!(Admission::admit(&admission, None).unwrap_err(), Refused::MaxConnections);
        let expected = Refusals { max_connections: 2, ..Refusals::default() };
        assert_eq!(admission.refusals(), expected);
    }

    #[test]
    fn an_established_connection_is_pending_no_longer() {
        let admission = admission(None, None, 1);
        let mut first = Admission::admit(&admission, None).unwrap();
        assert_eq!(Admission::admit(&admission, None).unwrap_err(), Refused::MaxPendingHandshakes);
        first.established();
        first.established(); // counts once
        let second = Admission::admit(&admission, None).unwrap();
        drop(first);
        assert_eq!(Admission::admit(&admission, None).unwrap_err(), Refused::MaxPendingHandshakes);
        drop(second);
        assert_empty(&admission);
    }

    #[test]
    fn an_address_counts_as_its_network() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("::1", "127.0.0.1", false),
        ] {
            let admission = admission(None, Some(1), 100);
            let _one = Admission::admit(&admission, Some(address(one))).unwrap();
            let refused = Admission::admit(&admission, Some(address(other))).err();
            assert_eq!(refused, same.then_some(Refused::MaxConnectionsPerAddress), "{one} {other}");
            // Who has no address has no neighbours either.
            let _unknown = [Admission::admit(&admission, None), Admission::admit(&admission, None)]
                .map(Result::unwrap);
        }
    }

    #[test]
    fn what_others_refuse_is_counted_beside_the_limits() {
        let admission = admission(None, None, 0);
        Admission::admit(&admission, None).unwrap_err();
        for (check, count) in [(Check::Handshake, 1), (Check::Origin, 2), (Check::Authorize, 3)] {
            (0..count).for_each(|_| admission.count(check));
        }
        let expected = Refusals {
            max_pending_handshakes: 1,
            handshake: 1,
            origin: 2,
            authorize: 3,
            ..Refusals::default()
        };
        assert_eq!(admission.refusals(), expected);
    }

    #[test]
    fn threads_never_hold_more_than_the_limit_and_leave_nothing_behind() {
        let admission = admission(Some(5), Some(2), 4);
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let admission = &admission;
                scope.spawn(move || {
                    let address = Some(IpAddr::from([192, 0, 2, thread % 4]));
                    for _ in 0..2000 {
                        let Ok(mut permit) = Admission::admit(admission, address) else { continue };
                        let state = admission.lock();
                        assert!(state.connections <= 5 && state.pending <= 4);
                        assert!(state.per_network.values().all(|count| (1..=2).contains(count)));
                        drop(state);
                        permit.established();
                    }
                });
            }
        });
        assert_empty(&admission);
    }

    /// What may happen to the permits, of which a number picks one.
    #[derive(Debug, Clone)]
    enum Step {
        Admit(Option<u8>),
        Establish(prop::sample::Index),
        Drop(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => prop::option::of(0..4_u8).prop_map(Step::Admit),
            2 => any::<prop::sample::Index>().prop_map(Step::Establish),
            2 => any::<prop::sample::Index>().prop_map(Step::Drop),
        ]
    }

    proptest! {
        /// The counts are those of the permits that are there, and the limits hold exactly.
        #[test]
        fn counts_are_those_of_the_permits_that_are_there(
            max_connections in prop::option::of(1..8_usize),
            per_address in prop::option::of(1..4_usize),
            max_pending in 1..5_usize,
            steps in prop::collection::vec(step(), 0..100),
        ) {
            let admission = admission(max_connections, per_address, max_pending);
            let mut permits: Vec<(Permit, Option<u8>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Admit(host) => {
                        let from_there = permits.iter().filter(|(_, other)| *other == host).count();
                        let pending = permits.iter().filter(|(one, _)| one.is_pending).count();
                        let is_full = max_connections.is_some_and(|most| permits.len() >= most)
                            || (host.is_some() && per_address.is_some_and(|most| from_there >= most))
                            || pending >= max_pending;
                        let address = host.map(|host| IpAddr::from([192, 0, 2, host]));
                        match Admission::admit(&admission, address) {
                            Ok(permit) => {
                                prop_assert!(!is_full);
                                permits.push((permit, host));
                            }
                            Err(_) => prop_assert!(is_full),
                        }
                    }
                    Step::Establish(which) if !permits.is_empty() => {
                        which.get_mut(&mut permits).0.established();
                    }
                    Step::Drop(which) if !permits.is_empty() => {
                        drop(permits.swap_remove(which.index(permits.len())));
                    }
                    Step::Establish(_) | Step::Drop(_) => {}
                }
                let state = admission.lock();
                prop_assert_eq!(state.connections, permits.len());
                let pending = permits.iter().filter(|(one, _)| one.is_pending).count();
                prop_assert_eq!(state.pending, pending);
                let counted: usize = state.per_network.values().sum();
                let limited = permits.iter().filter(|(one, _)| one.network.is_some()).count();
                prop_assert_eq!(counted, limited);
                prop_assert!(state.per_network.values().all(|count| *count > 0));
            }
            drop(permits);
            assert_empty(&admission);
        }
    }
}
