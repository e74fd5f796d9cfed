//! Clients on real sockets.

mod door;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::StreamOwned;
use rustls::version::{TLS12, TLS13};

use crate::tls::testing::{Browser, Folder, load};
use crate::tls::{Session, Settings};

use super::poll::MAX_EVENTS;
use super::{Arrival, Door, Guest, Happened, Limits, Parts, Poll, Reason, Reception};

const PATIENCE: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(50);
const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// As many seconds as a head may take.
const TIMEOUT: Duration = Duration::from_secs(5);
const START: Duration = Duration::from_secs(100);

fn reception() -> Reception<u32> {
    let limits = Limits { head_timeout: TIMEOUT, max_head_size: 100 };
    Reception::new(limits, Arc::new(Poll::new().unwrap()))
}

/// Takes a turn; returns those who have arrived.
fn turn(reception: &mut Reception<u32>, now: Duration) -> Vec<Arrival<u32>> {
    turn_at(None, reception, now)
}

fn turn_at(
    door: Option<Door<'_>>,
    reception: &mut Reception<u32>,
    now: Duration,
) -> Vec<Arrival<u32>> {
    let mut happened = Happened::default();
    reception.poll.wait(&mut happened, Some(Duration::ZERO)).unwrap();
    let come = reception.turn(|| now, &mut happened, door).unwrap();
    assert!(come.shortage.is_none());
    come.arrivals
}

/// Takes turns until a client is to be answered, which has to be the only one.
fn wait(reception: &mut Reception<u32>) -> Arrival<u32> {
    let mut arrivals = take_turns(reception, PATIENCE);
    assert_eq!(arrivals.len(), 1, "a client has arrived");
    arrivals.remove(0)
}

fn is_silent(reception: &mut Reception<u32>) -> bool {
    take_turns(reception, MOMENT).is_empty()
}

/// Takes turns until some have arrived, or for that long.
fn take_turns(reception: &mut Reception<u32>, patience: Duration) -> Vec<Arrival<u32>> {
    let until = Instant::now() + patience;
    loop {
        let arrivals = turn(reception, START);
        if !arrivals.is_empty() || Instant::now() >= until {
            return arrivals;
        }
        thread::sleep(Duration::from_micros(100));
    }
}

/// Runs the client's side of something while turns are taken, until it is over.
fn beside<T: Send>(reception: &mut Reception<u32>, client: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let client = scope.spawn(client);
        while !client.is_finished() {
            assert!(turn(reception, START).is_empty(), "nobody has said anything");
            thread::sleep(Duration::from_micros(100));
        }
        client.join().unwrap()
    })
}

/// Both ends of a connection, the server's nonblocking.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    server.set_nonblocking(true).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    (server, client)
}

fn add(reception: &mut Reception<u32>, socket: TcpStream, tls: Option<&Settings>) {
    let session = tls.map(|settings| Box::new(Session::new(settings).unwrap()));
    let socket = mio::net::TcpStream::from_std(socket);
    reception.add(START, Guest::new(socket, session, None, 7)).unwrap();
}

/// A client that has been added.
fn client(reception: &mut Reception<u32>, tls: Option<&Settings>) -> TcpStream {
    let (socket, client) = connection();
    add(reception, socket, tls);
    client
}

fn rest(mut client: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    rest
}

#[test]
fn a_head_arrives_when_it_is_whole_with_what_stands_behind_it() {
    let mut reception = reception();
    for cuts in [&[][..], &[1], &[HEAD.len() - 1], &[10, 20, 30]] {
        let mut client = client(&mut reception, None);
        let mut sent = 0;
        for cut in cuts {
            client.write_all(&HEAD[sent..*cut]).unwrap();
            sent = *cut;
            assert!(is_silent(&mut reception));
        }
        client.write_all(&[&HEAD[sent..], b"more"].concat()).unwrap();
        let Arrival { guest, reason } = wait(&mut reception);
        assert_eq!((reason, *guest.owner()), (Reason::Head, 7));
        let Parts { mut socket, received, session, .. } = guest.into_parts();
        assert_eq!(received, [HEAD, b"more"].concat());
        assert!(session.is_none());
        socket.write_all(b"hello").unwrap();
        drop(socket);
        assert_eq!(rest(client), b"hello");
    }
}

#[test]
fn empty_lines_are_no_part_of_it() {
    let mut reception = reception();
    let mut client = client(&mut reception, None);
    for piece in [&b"\r"[..], b"\n\r\n\r", b"\n"] {
        client.write_all(piece).unwrap();
        assert!(is_silent(&mut reception));
    }
    client.write_all(HEAD).unwrap();
    assert_eq!(wait(&mut reception).guest.received(), HEAD);
}

#[test]
fn what_will_never_be_a_head_arrives_at_once() {
    let mut reception = reception();
    for bytes in [&b"\x16\x03\x01"[..], b"GET / HTTP/1.1\n", &[b'a'; 101]] {
        let mut client = client(&mut reception, None);
        client.write_all(bytes).unwrap();
        let Arrival { guest, reason } = wait(&mut reception);
        assert_eq!((reason, guest.received()), (Reason::Head, bytes));
    }
}

#[test]
fn who_leaves_is_forgotten() {
    let mut reception = reception();
    for bytes in [&b""[..], b"GET"] {
        let mut client = client(&mut reception, None);
        client.write_all(bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(is_silent(&mut reception));
        assert_eq!(rest(client), b"");
        assert_eq!(reception.next_due(), None);
    }
}

#[test]
fn who_is_late_is_answered_if_it_has_begun() {
    let mut reception = reception();
    let (silent, mut slow) = (client(&mut reception, None), client(&mut reception, None));
    slow.write_all(b"GET").unwrap();
    assert!(is_silent(&mut reception));
    assert_eq!(reception.next_due(), Some(START + TIMEOUT));
    let just_before = Duration::from_nanos(1);
    let just_before = (START + TIMEOUT).saturating_sub(just_before);
    assert!(turn(&mut reception, just_before).is_empty());
    assert_eq!(reception.next_due(), Some(START + TIMEOUT));
    let mut arrivals = turn(&mut reception, START + TIMEOUT);
    let Arrival { guest, reason } = arrivals.remove(0);
    assert_eq!((reason, guest.received()), (Reason::Late, &b"GET"[..]));
    assert!(arrivals.is_empty());
    assert_eq!(rest(silent), b"");
    assert_eq!(reception.next_due(), None);
}

#[test]
fn all_are_closed_together() {
    let mut reception = reception();
    let (silent, mut ready) = (client(&mut reception, None), client(&mut reception, None));
    ready.write_all(HEAD).unwrap();
    assert_eq!(reception.next_due(), Some(START + TIMEOUT));
    let (socket, mut at_once) = connection();
    at_once.write_all(HEAD).unwrap();
    add(&mut reception, socket, None);
    assert_eq!(reception.next_due(), Some(Duration::ZERO), "it has arrived");
    reception.let_go();
    assert_eq!(rest(at_once), b"");
    assert_eq!((rest(silent), rest(ready)), (vec![], vec![]));
    assert!(is_silent(&mut reception));
    assert_eq!(reception.next_due(), None);
}

#[test]
fn a_head_arrives_by_tls_and_what_follows_is_read_by_others() {
    let folder = Folder::new("reception");
    let settings = load(&folder.files()).unwrap();
    let mut reception = reception();
    for version in [&TLS12, &TLS13] {
        let socket = client(&mut reception, Some(&settings));
        let session = Browser::new(&folder, &[version]).connect();
        let mut client = StreamOwned::new(session, socket);
        beside(&mut reception, || client.conn.complete_io(&mut client.sock).unwrap());
        assert!(!client.conn.is_handshaking());
        client.write_all(&HEAD[..10]).unwrap();
        assert!(is_silent(&mut reception));
        client.write_all(&HEAD[10..]).unwrap();
        let Arrival { guest, reason } = wait(&mut reception);
        assert_eq!((reason, guest.received()), (Reason::Head, HEAD));
        let Parts { mut socket, session, .. } = guest.into_parts();
        let mut session = session.unwrap();
        client.write_all(b"and more").unwrap();
        let more = session.read_all(&mut socket, 100).unwrap();
        assert_eq!(more.unwrap(), b"and more");
        session.write(&mut socket, &[io::IoSlice::new(b"me too")]).unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"me too");
    }
}

#[test]
fn who_speaks_no_tls_is_told_so_in_the_clear() {
    let folder = Folder::new("no-tls");
    let settings = load(&folder.files()).unwrap();
    let mut reception = reception();
    let mut plain = client(&mut reception, Some(&settings));
    plain.write_all(HEAD).unwrap();
    let Arrival { guest, reason } = wait(&mut reception);
    assert_eq!((reason, guest.speaks_tls()), (Reason::NotTls, false));
    let Parts { mut socket, .. } = guest.into_parts();
    socket.write_all(b"speak TLS").unwrap();
    drop(socket);
    assert_eq!(rest(plain), b"speak TLS", "nothing of a session comes before it");
    let mut damaged = client(&mut reception, Some(&settings));
    damaged.write_all(b"\x16\x03\x01\x00\x02\x01\x00garbage").unwrap();
    assert!(is_silent(&mut reception));
    assert_eq!(rest(damaged)[0], 21); // the content type of alerts: RFC 8446 section 5.1
}

#[test]
fn who_leaves_is_forgotten_however_far_the_session_has_come() {
    let folder = Folder::new("cut-short");
    let settings = load(&folder.files()).unwrap();
    let mut reception = reception();
    let mut hello = Vec::new();
    Browser::new(&folder, &[&TLS13]).connect().write_tls(&mut hello).unwrap();
    for length in [0, 1, 5, 100, hello.len()] {
        for together in [true, false] {
            let mut client = client(&mut reception, Some(&settings));
            client.write_all(&hello[..length]).unwrap();
            if !together {
                assert!(is_silent(&mut reception));
                assert!(reception.next_due().is_some());
            }
            client.shutdown(Shutdown::Write).unwrap();
            assert!(is_silent(&mut reception));
            assert_eq!(reception.next_due(), None, "{length} bytes");
        }
    }
}

#[test]
fn what_the_socket_does_not_take_goes_out_later() {
    let folder = Folder::new("slow-reader");
    let settings = load(&folder.files()).unwrap();
    let mut reception = reception();
    let (mut socket, mut client) = connection();
    let filling = fill(&mut socket);
    add(&mut reception, socket, Some(&settings));
    let mut session = Browser::new(&folder, &[&TLS13]).connect();
    session.write_tls(&mut client).unwrap();
    assert!(is_silent(&mut reception));
    io::copy(&mut (&client).take(filling), &mut io::sink()).unwrap();
    beside(&mut reception, || session.complete_io(&mut client).unwrap());
    rustls::Stream::new(&mut session, &mut client).write_all(HEAD).unwrap();
    assert_eq!(wait(&mut reception).guest.received(), HEAD);
}

#[test]
fn what_a_turn_leaves_is_for_the_next() {
    let mut reception = reception();
    let mut clients: Vec<_> = (0..=MAX_EVENTS).map(|_| client(&mut reception, None)).collect();
    for client in &mut clients {
        client.write_all(HEAD).unwrap();
    }
    assert_eq!(turn(&mut reception, START).len(), MAX_EVENTS);
    assert_eq!(turn(&mut reception, START).len(), 1);
    assert!(turn(&mut reception, START).is_empty());
}

#[test]
fn many_come_and_leave_at_every_stage() {
    let folder = Folder::new("stages");
    let settings = load(&folder.files()).unwrap();
    let browser = Browser::new(&folder, &[&TLS13]);
    let mut reception = reception();
    let mut clients = Vec::new();
    for number in 0..60 {
        let socket = client(&mut reception, Some(&settings));
        let mut client = StreamOwned::new(browser.connect(), socket);
        // Nothing, a part of the handshake, or all of it.
        match number % 3 {
            0 => {}
            1 => drop(client.conn.write_tls(&mut client.sock)),
            _ => drop(beside(&mut reception, || client.conn.complete_io(&mut client.sock))),
        }
        clients.push(client);
    }
    assert!(is_silent(&mut reception));
    reception.let_go();
    for mut client in clients {
        // In the middle of it, or told that it is over.
        assert!(!matches!(client.read(&mut [0; 10]), Ok(count) if count > 0));
    }
}

/// Sends until the socket takes no more; returns how many bytes that were.
fn fill(socket: &mut TcpStream) -> u64 {
    let mut count = 0;
    loop {
        match socket.write(&[0; 4096]) {
            Ok(written) => count += written as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return count,
            Err(error) => panic!("{error}"),
        }
    }
}
