//! Clients on real sockets, against a thread that does their handshakes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, StreamOwned};

use crate::tls::testing::{Browser, Folder, load};
use crate::tls::{Received, Secured, Settings};

use super::{Handshakes, SharedStream};

const PATIENCE: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(50);

/// A thread that does handshakes, and what it tells.
struct Thread<'a> {
    handshakes: &'a Handshakes,
    told: Receiver<()>,
}

impl Thread<'_> {
    /// The one stream that is done next.
    fn wait(&self) -> RawFd {
        self.told.recv_timeout(PATIENCE).expect("a handshake is done");
        let done = self.handshakes.take_done();
        assert_eq!(done.len(), 1);
        done[0]
    }

    fn is_silent(&self) -> bool {
        self.told.recv_timeout(MOMENT).is_err() && self.handshakes.take_done().is_empty()
    }
}

/// Runs a test beside the thread.
fn beside_thread(test: impl FnOnce(&Thread<'_>)) {
    let handshakes = Handshakes::new().unwrap();
    let (teller, told) = channel();
    thread::scope(|scope| {
        scope.spawn(|| handshakes.run(move || teller.send(()).unwrap()).unwrap());
        let _ends = OnDrop(|| handshakes.end().unwrap());
        test(&Thread { handshakes: &handshakes, told });
    });
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
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
    beside_thread(|thread| {
        for version in [&TLS12, &TLS13] {
            let (socket, client) = connection();
            let (fd, stream) = secured(&settings, socket);
            thread.handshakes.add(fd, &stream).unwrap();
            let session = Browser::new(&folder, &[version]).connect();
            let mut client = StreamOwned::new(session, client);
            client.conn.complete_io(&mut client.sock).unwrap();
            assert!(!client.conn.is_handshaking());
            assert!(thread.is_silent());
            client.write_all(b"hello").unwrap();
            assert_eq!(thread.wait(), fd);
            assert_eq!(receive(&stream).unwrap(), Received::Plaintext(b"hello".to_vec()));
            assert_eq!(receive(&stream).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            client.write_all(b"and more").unwrap();
            assert!(thread.is_silent());
            assert_eq!(receive(&stream).unwrap(), Received::Plaintext(b"and more".to_vec()));
            stream.lock().unwrap().as_mut().unwrap().send(b"me too").unwrap();
            let mut answer = [0; 6];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"me too");
        }
    });
}

#[test]
fn what_comes_in_its_place_is_told_as_well() {
    let folder = Folder::new("no-handshake");
    let settings = load(&folder.files()).unwrap();
    beside_thread(|thread| {
        let speak = |bytes: &[u8]| {
            let (socket, mut client) = connection();
            let (fd, stream) = secured(&settings, socket);
            thread.handshakes.add(fd, &stream).unwrap();
            client.write_all(bytes).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(thread.wait(), fd);
            let received = receive(&stream);
            (received, stream, client)
        };
        assert_eq!(speak(b"").0.unwrap(), Received::End);
        assert_eq!(speak(b"\x16\x03").0.unwrap(), Received::End);
        let (received, stream, _client) = speak(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(received.unwrap(), Received::NotTls);
        let (mut socket, _) = stream.lock().unwrap().take().unwrap().into_parts();
        let mut plain = [0; 18];
        socket.read_exact(&mut plain).unwrap(); // it is all there
        let (received, _, mut client) = speak(b"\x16\x03\x01\x00\x02\x01\x00garbage");
        assert_eq!(received.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut alert = [0; 5];
        client.read_exact(&mut alert).unwrap();
        assert_eq!(alert[0], 21); // the content type of alerts: RFC 8446 section 5.1
    });
}

#[test]
fn a_stream_may_be_forgotten_and_closed_at_any_moment() {
    let folder = Folder::new("forgotten");
    let settings = load(&folder.files()).unwrap();
    let browser = Browser::new(&folder, &[&TLS13]);
    beside_thread(|thread| {
        let mut streams = Vec::new();
        for number in 0..60 {
            let (socket, client) = connection();
            let (fd, stream) = secured(&settings, socket);
            thread.handshakes.add(fd, &stream).unwrap();
            let mut client = StreamOwned::new(browser.connect(), client);
            // Nothing, a part of the handshake, or all of it and a message.
            match number % 3 {
                0 => {}
                1 => drop(client.conn.write_tls(&mut client.sock)),
                _ => client.write_all(b"hello").unwrap(),
            }
            streams.push((fd, stream, client));
        }
        for (fd, stream, mut client) in streams {
            thread.handshakes.forget(fd);
            drop(stream.lock().unwrap().take());
            assert!(client.read(&mut [0; 10]).is_err()); // in the middle of it, or of the session
        }
        // What was told of some of them was taken back.
        while thread.told.try_recv().is_ok() {}
        assert!(thread.is_silent());
    });
}

#[test]
fn what_the_socket_does_not_take_goes_out_later() {
    let folder = Folder::new("slow-reader");
    let settings = load(&folder.files()).unwrap();
    let browser = Browser::new(&folder, &[&TLS13]);
    beside_thread(|thread| {
        let (mut socket, mut client) = connection();
        let filling = fill(&mut socket);
        let (fd, stream) = secured(&settings, socket);
        thread.handshakes.add(fd, &stream).unwrap();
        let mut session = browser.connect();
        session.write_tls(&mut client).unwrap();
        assert!(thread.is_silent());
        io::copy(&mut (&client).take(filling), &mut io::sink()).unwrap();
        speak(&mut session, &mut client, b"hello");
        assert_eq!(thread.wait(), fd);
        assert_eq!(receive(&stream).unwrap(), Received::Plaintext(b"hello".to_vec()));
    });
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

fn speak(session: &mut ClientConnection, socket: &mut TcpStream, bytes: &[u8]) {
    rustls::Stream::new(session, socket).write_all(bytes).unwrap();
}
