//! Compression through the manager: real sockets, and zlib-rs on the other end.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use handy_ws_core::manager::{
    Adoption, Batch, Compress, Config, Event, Handle, Handler, Manager, Sent, SlowConsumer, bytes,
};
use handy_ws_core::proto::Opcode;
use handy_ws_core::proto::deflate::{Agreement, DeflateParameters};
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush};

use support::{Client, Seen, Server, masked, masked_with};

const RSV1: u8 = 0x40;
const TEXT: u8 = 0x81;
const MIB: usize = 1 << 20;

fn agreement(window_bits: u8, takeover: bool) -> Agreement {
    let parameters = DeflateParameters {
        server_no_context_takeover: !takeover,
        client_no_context_takeover: !takeover,
        server_max_window_bits: Some(window_bits),
        client_max_window_bits: None,
    };
    Agreement { parameters, level: 6, threshold: 100 }
}

/// What a client knows of the server's compression. zlib-rs looks back 32 KiB whatever it is told,
/// so whether a smaller window is kept to is for other tests, with zlib.
struct Inflater {
    stream: Inflate,
    takeover: bool,
}

impl Inflater {
    fn new(takeover: bool) -> Self {
        Self { stream: Inflate::new(false, 15), takeover }
    }

    /// The next text, and whether it came compressed.
    fn read_text(&mut self, client: &mut Client) -> (String, bool) {
        let (first, mut payload) = client.read_frame();
        let compressed = first & RSV1 != 0;
        assert_eq!(first & !RSV1, TEXT);
        if compressed {
            payload = self.inflate(&payload);
        }
        (String::from_utf8(payload).unwrap(), compressed)
    }

    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let input = [payload, &[0x00, 0x00, 0xFF, 0xFF]].concat();
        let mut out = vec![0; 2 * MIB];
        let before = self.stream.total_out();
        self.stream.decompress(&input, &mut out, InflateFlush::SyncFlush).unwrap();
        out.truncate(usize::try_from(self.stream.total_out() - before).unwrap());
        if !self.takeover {
            self.stream.reset(false);
        }
        out
    }
}

/// A compressed message of a client.
fn compressed(opcode: Opcode, message: &[u8]) -> Vec<u8> {
    let mut out = vec![0; message.len() / 2 + 1000];
    let mut stream = Deflate::new(9, false, 15);
    stream.compress(message, &mut out, DeflateFlush::SyncFlush).unwrap();
    let length = usize::try_from(stream.total_out()).unwrap() - 4;
    masked_with(0x80 | RSV1 | opcode as u8, &out[..length])
}

fn story(number: usize) -> String {
    format!("{number}: what happens again and again, happens again and again. ").repeat(5)
}

#[test]
fn a_broadcast_has_one_form_for_each_set_of_parameters() {
    let server = Server::new(Config::default());
    let (mut plain, _) = server.established(0);
    let mut clients: Vec<(Client, Inflater)> = [(15, false), (15, false), (15, true), (9, false)]
        .into_iter()
        .zip(1..)
        .map(|((window_bits, takeover), number)| {
            let (client, _) = server.compressing(number, agreement(window_bits, takeover));
            (client, Inflater::new(takeover))
        })
        .collect();
    for number in 0..10 {
        server.handle.broadcast_text(&story(number), None, Compress::Allow);
        plain.expect_text(&story(number));
        let frames: Vec<_> = clients.iter_mut().map(|(client, _)| client.read_frame()).collect();
        assert_eq!(frames[0], frames[1]);
        assert_eq!(frames[0], frames[2], "a connection with takeover shares the frame");
        for ((_, inflater), (first, payload)) in clients.iter_mut().zip(&frames) {
            assert_eq!(*first, TEXT | RSV1);
            assert_eq!(inflater.inflate(payload), story(number).as_bytes());
        }
    }
    server.handle.broadcast_text(&story(99), None, Compress::Never);
    for (client, inflater) in &mut clients {
        assert_eq!(inflater.read_text(client), (story(99), false));
    }
}

#[test]
fn what_is_sent_in_any_way_comes_in_order() {
    let server = Server::new(Config::default());
    for (takeover, number) in [(false, 1), (true, 2)] {
        let (mut client, connection) = server.compressing(number, agreement(10, takeover));
        let mut inflater = Inflater::new(takeover);
        for number in 0..100 {
            let text = story(number);
            match number % 5 {
                0 => {
                    server.handle.broadcast_text(&text, None, Compress::Allow);
                }
                1 => {
                    connection.send_text(&text, Compress::Never).unwrap();
                }
                2 => {
                    connection.send_text("short", Compress::Allow).unwrap();
                    connection.send_text(&text, Compress::Allow).unwrap();
                }
                _ => {
                    connection.send_text(&text, Compress::Allow).unwrap();
                }
            }
        }
        for number in 0..100 {
            if number % 5 == 2 {
                assert_eq!(inflater.read_text(&mut client), ("short".to_owned(), false));
            }
            let expected = (story(number), number % 5 != 1);
            assert_eq!(inflater.read_text(&mut client), expected);
        }
        // What was saved is not waited for.
        support::wait_until(|| connection.buffered_bytes() == 0);
        client.close(1000);
        server.closed(number);
    }
}

#[test]
fn what_comes_after_messages_that_were_dropped_refers_to_none_of_them() {
    let limit = 64 * 1024;
    let slow_consumer = SlowConsumer::DropOldest;
    let config = Config { send_queue_limit: limit, slow_consumer, ..Config::default() };
    let mut noise = 1_u64;
    for takeover in [false, true] {
        let server = Server::new(config);
        let (mut reader, _) = server.established(0);
        let (mut client, connection) = server.narrow(1, Some(agreement(15, takeover)));
        let mut inflater = Inflater::new(takeover);
        // Each has something in common with the one before, and much that does not compress.
        let texts: Vec<String> = (0..300)
            .map(|number| {
                let mut text = story(number);
                for _ in 0..200 {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    write!(text, "{noise:016x}").unwrap();
                }
                text
            })
            .collect();
        let mut read: Vec<(String, bool)> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let sent = match index % 20 {
                9 => connection.send_text(text, Compress::Never),
                19 => Ok(server.handle.broadcast_text(text, None, Compress::Allow)),
                _ => connection.send_text(text, Compress::Allow),
            };
            assert_ne!(sent, Ok(Sent::Dropped));
            // The loop has taken it when a second PING is answered.
            for ping in [b"1", b"2"] {
                reader.send(Opcode::Ping, ping);
                while reader.read_frame() != (0x8A, ping.to_vec()) {}
            }
            if index % 30 == 29 {
                for _ in 0..5 {
                    read.push(inflater.read_text(&mut client));
                }
            }
        }
        assert!(connection.buffered_bytes() <= limit);
        let thread = std::thread::spawn(move || {
            while read.last().is_none_or(|(text, _)| text != "the last") {
                read.push(inflater.read_text(&mut client));
            }
            read
        });
        assert_eq!(connection.wait_drained(Some(support::PATIENCE)), Ok(true));
        connection.send_text("the last", Compress::Allow).unwrap();
        let read = thread.join().unwrap();
        // What has come is some of the texts, in order, and the newest of them.
        let mut all = texts.iter();
        for (text, _) in &read[..read.len() - 1] {
            assert!(all.any(|sent| sent == text), "takeover {takeover}: what is read was sent");
        }
        assert_eq!(all.next(), None);
        assert!(read.len() < 200, "{} messages: something was dropped", read.len());
        assert!(read.iter().filter(|(_, compressed)| *compressed).count() > 5);
    }
}

#[test]
fn messages_that_come_compressed_are_echoed() {
    let server = Server::echo(Config::default());
    let (mut client, _) = server.compressing(1, agreement(15, false));
    let mut inflater = Inflater::new(false);
    for number in 0..10 {
        client.write(&compressed(Opcode::Text, story(number).as_bytes()));
        assert_eq!(inflater.read_text(&mut client), (story(number), true));
    }
    client.write(&masked_with(0x80 | RSV1 | Opcode::Text as u8, &[0x07]));
    assert_eq!(client.expect_close(1007), "message is not valid DEFLATE data");
}

/// Notes how many bytes of payload each batch holds, and echoes what is short.
struct Weigher {
    heaviest: Arc<AtomicUsize>,
    order: Arc<Mutex<Vec<u8>>>,
    connections: Vec<Option<handy_ws_core::manager::Connection<u32>>>,
}

impl Handler for Weigher {
    type Context = u32;

    fn dispatch(&mut self, batch: &mut Batch<u32>) {
        let mut weight = 0;
        let (events, arena) = batch.drain();
        for event in events {
            match event {
                Event::Established { connection, .. } => {
                    let slot = connection.slot();
                    self.connections.resize_with(slot.max(self.connections.len()) + 1, || None);
                    self.connections[slot] = Some(connection);
                }
                Event::Binary { payload, .. } => {
                    let payload = bytes(&payload, arena);
                    weight += payload.len();
                    self.order.lock().unwrap().push(payload[0]);
                }
                Event::Text { slot, payload } => {
                    let text = std::str::from_utf8(bytes(&payload, arena)).unwrap();
                    let connection = self.connections[slot].as_ref().unwrap();
                    connection.send_text(text, Compress::Never).unwrap();
                }
                Event::CloseMessage { .. }
                | Event::Answer { .. }
                | Event::Drained { .. }
                | Event::Closed { .. } => {}
            }
        }
        self.heaviest.fetch_max(weight, Ordering::Relaxed);
    }
}

#[test]
fn a_turn_inflates_a_bounded_number_of_bytes_and_loses_nothing() {
    let heaviest = Arc::new(AtomicUsize::new(0));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut weigher = Weigher {
        heaviest: Arc::clone(&heaviest),
        order: Arc::clone(&order),
        connections: Vec::new(),
    };
    let handle = Handle::new(Config::default());
    let mut manager = Manager::new(&handle).unwrap();
    let thread = std::thread::spawn(move || manager.run(&mut weigher).unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = |received: Vec<u8>| {
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(support::PATIENCE)).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let deflate = Some(agreement(15, false));
        let adoption = Adoption { received, deflate, ..Adoption::new(stream, 0) };
        handle.adopt(adoption).unwrap();
        Client { stream: client }
    };
    // A MiB each, in a KiB each: a hundred in one read, and behind them a word and a CLOSE.
    let bombs = |from: u8| -> Vec<u8> {
        let bomb = |number| compressed(Opcode::Binary, &vec![number; MIB]);
        (from..from + 50).flat_map(bomb).collect()
    };
    let rest = [bombs(50), masked(Opcode::Text, b"last"), masked(Opcode::Close, &[])].concat();
    let everything = [bombs(0), rest.clone()].concat();
    for (received, written, fin) in [
        (everything.clone(), vec![], false),
        (bombs(0), rest, false),
        (vec![], everything, true), // a FIN waits behind it all
    ] {
        let mut client = connect(received);
        client.write(&written);
        if fin {
            client.shutdown();
        }
        client.expect_text("last");
        assert_eq!(client.read_frame(), (0x88, Vec::new()));
        client.expect_end();
        assert_eq!(std::mem::take(&mut *order.lock().unwrap()), (0..100).collect::<Vec<u8>>());
    }
    let most = heaviest.load(Ordering::Relaxed);
    assert!(most <= MIB + MIB / 2, "{most} bytes in one turn");
    handle.shut_down(support::PATIENCE);
    handle.finish();
    thread.join().unwrap();
}

#[test]
fn others_are_served_while_a_client_sends_bombs() {
    let server = Server::echo(Config::default());
    let (mut attacker, _) = server.compressing(1, agreement(15, false));
    let (mut client, _) = server.established(2);
    let bombs = compressed(Opcode::Binary, &vec![7; MIB]).repeat(100);
    attacker.write(&bombs);
    client.send(Opcode::Text, b"still there?");
    client.expect_text("still there?");
    let mut before = 0;
    loop {
        match server.next() {
            Seen::Binary(1, _) => before += 1,
            Seen::Drained(1) => {}
            Seen::Text(2, text) => break assert_eq!(text, "still there?"),
            other => panic!("{other:?}"),
        }
    }
    assert!(before < 100, "the other client had to wait for all of them");
}
