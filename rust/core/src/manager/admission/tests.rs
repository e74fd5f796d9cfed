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
