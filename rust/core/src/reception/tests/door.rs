//! Clients that come in through a door.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use crate::tls::testing::{Folder, load};

use super::super::poll::MAX_EVENTS;
use super::super::{Arrival, Door, Happened, Listener, MAX_STEPS, Parts, Reason};
use super::{HEAD, START, TIMEOUT, client, reception, turn_at};

const SECOND: Duration = Duration::from_secs(1);

fn in_the_clear(listener: &Listener) -> Door<'_> {
    Door { listener, tls: &|| Ok(None) }
}

/// The one that has come to a listener.
fn accepted(listener: &Listener) -> Arrival<u32> {
    let mut reception = reception();
    reception.poll.listen(listener).unwrap();
    let door = Some(in_the_clear(listener));
    let mut arrivals = turn_at(door, &mut reception, START);
    assert!(turn_at(door, &mut reception, START).is_empty());
    assert_eq!(reception.next_due(), None);
    assert_eq!(arrivals.len(), 1);
    arrivals.remove(0)
}

#[test]
fn clients_are_accepted_with_their_addresses() {
    let tcp = mio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let mut first = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    first.write_all(HEAD).unwrap();
    let guest = accepted(&Listener::Tcp(tcp)).guest;
    assert_eq!((*guest.owner(), guest.address()), (0, Some(first.local_addr().unwrap())));

    let folder = Folder::new("unix-socket");
    let path = folder.0.join("socket");
    let unix = UnixListener::bind(&path).unwrap();
    unix.set_nonblocking(true).unwrap();
    let mut second = UnixStream::connect(&path).unwrap();
    second.write_all(HEAD).unwrap();
    let unix = Listener::Unix(mio::net::UnixListener::from_std(unix));
    let Parts { mut socket, address, .. } = accepted(&unix).guest.into_parts();
    assert_eq!(address, None);
    socket.write_all(b"hello").unwrap();
    second.read_exact(&mut [0; 5]).unwrap();
    let socket = mio::net::TcpStream::from_std(socket);
    assert!(socket.peek(&mut [0]).is_err(), "it does not block");
}

#[test]
fn many_who_say_something_do_not_keep_a_new_client_waiting() {
    let mut reception = reception();
    let mut clients: Vec<_> = (0..MAX_EVENTS).map(|_| client(&mut reception, None)).collect();
    let listener = mio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    for client in &mut clients {
        client.write_all(HEAD).unwrap();
    }
    let mut last = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    last.write_all(HEAD).unwrap();
    let listener = Listener::Tcp(listener);
    reception.poll.listen(&listener).unwrap();
    let arrivals = turn_at(Some(in_the_clear(&listener)), &mut reception, START);
    let owners: Vec<_> = arrivals.iter().map(|arrival| *arrival.guest.owner()).collect();
    assert_eq!(owners, [&[7; MAX_EVENTS][..], &[0]].concat());
}

#[test]
fn settings_that_are_new_by_now_are_for_the_next_who_comes() {
    let mut reception = reception();
    let folder = Folder::new("new-settings");
    let settings = load(&folder.files()).unwrap();
    let listener = mio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let visit = || {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(HEAD).unwrap();
        client
    };
    let clients = RefCell::new(vec![visit()]);
    let tls = || {
        // The second one comes when the turn has begun, and there are settings since then.
        let mut clients = clients.borrow_mut();
        if clients.len() == 2 {
            return Ok(Some(settings.clone()));
        }
        clients.push(visit());
        Ok(None)
    };
    let listener = Listener::Tcp(listener);
    reception.poll.listen(&listener).unwrap();
    let door = Door { listener: &listener, tls: &tls };
    let arrivals = turn_at(Some(door), &mut reception, START);
    let reasons: Vec<_> = arrivals.iter().map(|arrival| arrival.reason).collect();
    assert_eq!(reasons, [Reason::Head, Reason::NotTls]);
}

#[test]
fn a_crowd_comes_in_a_few_at_a_time() {
    let mut reception = reception();
    let listener = mio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..=MAX_STEPS {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(HEAD).unwrap();
        clients.push(client);
    }
    let listener = Listener::Tcp(listener);
    reception.poll.listen(&listener).unwrap();
    let door = Some(in_the_clear(&listener));
    let counts = [(); 3].map(|()| turn_at(door, &mut reception, START).len());
    assert_eq!(counts, [MAX_STEPS, 1, 0]);
}

#[test]
fn the_time_of_each_begins_when_it_has_come() {
    let mut reception = reception();
    let listener = mio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
    for mut client in &clients {
        client.write_all(b"GET").unwrap();
    }
    let listener = Listener::Tcp(listener);
    reception.poll.listen(&listener).unwrap();
    let mut happened = Happened::default();
    reception.poll.wait(&mut happened, None).unwrap();
    let time = Cell::new(START);
    let clock = || time.replace(time.get() + SECOND);
    reception.turn(clock, &mut happened, Some(in_the_clear(&listener))).unwrap();
    assert_eq!(reception.next_due(), Some(START + TIMEOUT));
    assert_eq!(turn_at(None, &mut reception, START + TIMEOUT).len(), 1);
    assert_eq!(reception.next_due(), Some(START + SECOND + TIMEOUT));
}
