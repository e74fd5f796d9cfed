//! Clients on real sockets.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustls::StreamOwned;
use rustls::version::{TLS12, TLS13};

use crate::tls::testing::{Browser, Folder, load};
use crate::tls::{Received, Secured, Settings};

use super::{Handshakes, MAX_STEPS, SharedStream};

const PATIENCE: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(50);

/// Takes turns until a stream is done, which has to be the only one.
fn wait(handshakes: &mut Handshakes) -> RawFd {
    let done = take_turns(handshakes, PATIENCE);
    assert_eq!(done.len(), 1, "a handshake is done");
    done[0]
}

fn is_silent(handshakes: &mut Handshakes) -> bool {
    take_turns(handshakes, MOMENT).is_empty()
}

/// Takes turns until some are done, or for that long.
fn take_turns(handshakes: &mut Handshakes, patience: Duration) -> Vec<RawFd> {
    let until = Instant::now() + patience;
    loop {
        let done = handshakes.turn().unwrap();
        if !done.is_empty() || Instant::now() >= until {
            return done;
        }
        thread::sleep(Duration::from_micros(100));
    }
}

/// Runs the client's side of something while turns are taken, until it is over.
fn beside<T: Send>(handshakes: &mut Handshakes, client: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let client = scope.spawn(client);
        while !client.is_finished() {
            assert!(
                handshakes.turn().unwrap().is_empty(),
                "done before the client has said anything"
            );
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

fn secured(settings: &Settings, socket: TcpStream) -> (RawFd, SharedStream) {
    let fd = socket.as_raw_fd();
    (fd, Arc::new(Mutex::new(Some(Secured::new(settings, socket).unwrap()))))
}

fn receive(stream: &SharedStream) -> io::Result<Received> {
    stream.lock().unwrap().as_mut().unwrap().receive(100)
}

#[test]
fn the_first_plaintext_is_told_and_what_follows_is_read_by_others() {
    let folder = Folder::new("handshakes");
    let settings = load(&folder.files()).unwrap();
    let mut handshakes = Handshakes::new().unwrap();
    for version in [&TLS12, &TLS13] {
        let (socket, client) = connection();
        let (fd, stream) = secured(&settings, socket);
        handshakes.add(fd, &stream).unwrap();
        let session = Browser::new(&folder, &[version]).connect();
        let mut client = StreamOwned::new(session, client);
        beside(&mut handshakes, || client.conn.complete_io(&mut client.sock).unwrap());
        assert!(!client.conn.is_handshaking());
        assert!(is_silent(&mut handshakes));
        client.write_all(b"hello").unwrap();
        assert_eq!(wait(&mut handshakes), fd);
        assert_eq!(receive(&stream).unwrap(), Received::Plaintext(b"hello".to_vec()));
        assert_eq!(receive(&stream).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.write_all(b"and more").unwrap();
        assert!(is_silent(&mut handshakes));
        assert_eq!(receive(&stream).unwrap(), Received::Plaintext(b"and more".to_vec()));
        stream.lock().unwrap().as_mut().unwrap().send(b"me too").unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"me too");
    }
}

#[test]
fn what_comes_in_its_place_is_told_as_well() {
    let folder = Folder::new("no-handshake");
    let settings = load(&folder.files()).unwrap();
    let mut handshakes = Handshakes::new().unwrap();
    let mut speak = |bytes: &[u8]| {
        let (socket, mut client) = connection();
        let (fd, stream) = secured(&settings, socket);
        handshakes.add(fd, &stream).unwrap();
        client.write_all(bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(wait(&mut handshakes), fd);
        let received = receive(&stream);
        (received, stream, client)
    };
    assert_eq!(speak(b"").0.unwrap(), Received::End);
    assert_eq!(speak(b"\x16\x03").0.unwrap(), Received::End);
    let (received, stream, mut client) = speak(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(received.unwrap(), Received::NotTls);
    let (mut socket, _) = stream.lock().unwrap().take().unwrap().into_parts();
    socket.write_all(b"speak TLS").unwrap();
    drop(socket);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"speak TLS", "nothing of a session comes before it");
    let (received, _, mut client) = speak(b"\x16\x03\x01\x00\x02\x01\x00garbage");
    assert_eq!(received.unwrap_err().kind(), io::ErrorKind::InvalidData);
    let mut alert = [0; 5];
    client.read_exact(&mut alert).unwrap();
    assert_eq!(alert[0], 21); // the content type of alerts: RFC 8446 section 5.1
}

#[test]
fn an_end_is_told_however_far_the_handshake_has_come() {
    let folder = Folder::new("cut-short");
    let settings = load(&folder.files()).unwrap();
    let mut handshakes = Handshakes::new().unwrap();
    let mut hello = Vec::new();
    Browser::new(&folder, &[&TLS13]).connect().write_tls(&mut hello).unwrap();
    for length in [1, 5, 100, hello.len()] {
        for together in [true, false] {
            let (socket, mut client) = connection();
            let (fd, stream) = secured(&settings, socket);
            handshakes.add(fd, &stream).unwrap();
            client.write_all(&hello[..length]).unwrap();
            if !together {
                assert!(is_silent(&mut handshakes));
            }
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(wait(&mut handshakes), fd, "{length} bytes");
            assert_eq!(receive(&stream).unwrap(), Received::End);
        }
    }
}

#[test]
fn a_stream_may_be_forgotten_and_closed_at_any_moment() {
    let folder = Folder::new("forgotten");
    let settings = load(&folder.files()).unwrap();
    let browser = Browser::new(&folder, &[&TLS13]);
    let mut handshakes = Handshakes::new().unwrap();
    let mut streams = Vec::new();
    for number in 0..60 {
        let (socket, client) = connection();
        let (fd, stream) = secured(&settings, socket);
        handshakes.add(fd, &stream).unwrap();
        let mut client = StreamOwned::new(browser.connect(), client);
        // Nothing, a part of the handshake, or all of it.
        match number % 3 {
            0 => {}
            1 => drop(client.conn.write_tls(&mut client.sock)),
            _ => drop(beside(&mut handshakes, || client.conn.complete_io(&mut client.sock))),
        }
        streams.push((fd, stream, client));
    }
    for (fd, stream, mut client) in streams {
        handshakes.forget(fd);
        drop(stream.lock().unwrap().take());
        assert!(client.read(&mut [0; 10]).is_err()); // in the middle of it, or of the session
    }
    assert!(is_silent(&mut handshakes));
}

#[test]
fn what_the_socket_does_not_take_goes_out_later() {
    let folder = Folder::new("slow-reader");
    let settings = load(&folder.files()).unwrap();
    let browser = Browser::new(&folder, &[&TLS13]);
    let mut handshakes = Handshakes::new().unwrap();
    let (mut socket, mut client) = connection();
    let filling = fill(&mut socket);
    let (fd, stream) = secured(&settings, socket);
    handshakes.add(fd, &stream).unwrap();
    let mut session = browser.connect();
    session.write_tls(&mut client).unwrap();
    assert!(is_silent(&mut handshakes));
    io::copy(&mut (&client).take(filling), &mut io::sink()).unwrap();
    beside(&mut handshakes, || session.complete_io(&mut client).unwrap());
    rustls::Stream::new(&mut session, &mut client).write_all(b"hello").unwrap();
    assert_eq!(wait(&mut handshakes), fd);
    assert_eq!(receive(&stream).unwrap(), Received::Plaintext(b"hello".to_vec()));
}

#[test]
fn the_descriptor_is_readable_while_there_is_something_to_do() {
    let folder = Folder::new("readable");
    let settings = load(&folder.files()).unwrap();
    let mut handshakes = Handshakes::new().unwrap();
    let descriptor = handshakes.descriptor();
    let is_readable = || {
        let mut poll = Poll::new().unwrap();
        poll.registry().register(&mut SourceFd(&descriptor), Token(0), Interest::READABLE).unwrap();
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    };
    assert!(!is_readable());
    let mut clients = Vec::new();
    for _ in 0..=MAX_STEPS {
        let (socket, mut client) = connection();
        let (fd, stream) = secured(&settings, socket);
        handshakes.add(fd, &stream).unwrap();
        client.write_all(b"GET").unwrap();
        clients.push((stream, client));
    }
    assert!(is_readable());
    assert_eq!(handshakes.turn().unwrap().len(), MAX_STEPS);
    assert!(is_readable(), "one is left");
    assert_eq!(handshakes.turn().unwrap().len(), 1);
    assert!(!is_readable());
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
