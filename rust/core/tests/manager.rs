//! The loop over real sockets, without Python.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use handy_ws_core::manager::{
    Adoption, Batch, CloseCause, Closed, Compress, Config, Handle, Handler, Manager, NotRunning,
    Sent,
};
use handy_ws_core::proto::{CloseCode, CloseFrame, Limits, Opcode};

use support::{Client, PATIENCE, Seen, Server, end, masked, poll, wait_until};

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame::new(CloseCode::new(code).unwrap(), reason).unwrap()
}

/// Limits that a test about something else does not run into.
fn roomy() -> Config {
    let limits = Limits { max_message_size: 64 << 20, ..Limits::default() };
    let (send_queue_limit, broadcast_queue_limit) = (256 << 20, 256 << 20);
    Config { limits, send_queue_limit, broadcast_queue_limit, ..Config::default() }
}

// Messages.

#[test]
fn established_is_first_and_closed_is_last() {
    let server = Server::echo(Config::default());
    let mut client = server.connect(1);
    client.send(Opcode::Text, "héllo".as_bytes());
    client.expect_text("héllo");
    client.send(Opcode::Binary, &[0, 255]);
    assert_eq!(client.read_frame(), (0x82, vec![0, 255]));
    client.close(4001);
    assert_eq!(server.next(), Seen::Established(1));
    assert_eq!(server.next(), Seen::Text(1, "héllo".into()));
    assert_eq!(server.next(), Seen::Binary(1, vec![0, 255]));
    assert_eq!(server.next(), Seen::CloseMessage(1, 4001, String::new()));
    let code = CloseCode::new(4001).unwrap();
    assert_eq!(server.next(), Seen::Closed(1, end(code, "", CloseCause::Peer)));
    assert_eq!(server.stop(PATIENCE), []);
}

#[test]
fn a_message_arrives_however_it_is_split() {
    let server = Server::echo(Config::default());
    let mut client = server.connect(1);
    for byte in masked(Opcode::Text, b"one byte at a time") {
        client.write(&[byte]);
    }
    client.expect_text("one byte at a time");
    client.write(&[masked(Opcode::Text, b"two"), masked(Opcode::Text, b"at once")].concat());
    client.expect_text("two");
    client.expect_text("at once");
}

#[test]
fn bytes_behind_the_handshake_are_not_lost() {
    let server = Server::echo(Config::default());
    let whole = masked(Opcode::Text, b"early");
    let next = masked(Opcode::Text, b"split by the handshake");
    let (begun, rest) = next.split_at(9);
    let mut client = server.connect_with(1, &[&whole, begun].concat());
    client.expect_text("early");
    client.write(rest);
    client.expect_text("split by the handshake");
    // A conversation that was over before it was adopted.
    let mut client =
        server.connect_with(2, &[&whole[..], &masked(Opcode::Close, &[0x03, 0xE8])].concat());
    client.expect_text("early");
    client.expect_close(1000);
    client.expect_end();
}

#[test]
fn response_and_welcome_come_first_and_whoever_has_seen_them_misses_no_broadcast() {
    let server = Server::reacting(Config::default(), |seen, connection, _| {
        if let Seen::Established(_) = seen {
            connection.send_text("welcome", Compress::Allow).unwrap();
        }
    });
    for number in 0..100 {
        let mut client = server.connect_answering(number, b"HTTP/1.1 101 ok\r\n\r\n");
        let mut response = [0; 19];
        std::io::Read::read_exact(&mut client.stream, &mut response).unwrap();
        assert_eq!(&response, b"HTTP/1.1 101 ok\r\n\r\n");
        server.handle.broadcast_text("news", None, Compress::Allow);
        client.expect_text("welcome");
        client.expect_text("news");
        client.close(1000);
    }
}

#[test]
fn large_messages_pass_both_ways() {
    let server = Server::echo(roomy());
    let mut client = server.connect(1);
    for size in [125, 126, 65_535, 65_536, 600_000, 8 << 20] {
        let payload: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let frame = masked(Opcode::Binary, &payload);
        let mut writer = Client { stream: client.stream.try_clone().unwrap() };
        let sender = std::thread::spawn(move || writer.write(&frame));
        assert!(client.read_frame() == (0x82, payload), "{size} bytes come back");
        sender.join().unwrap();
    }
}

#[test]
fn pings_are_answered_between_fragments_and_do_not_reach_the_handler() {
    let server = Server::echo(Config::default());
    let mut client = server.connect(1);
    let mut stream = masked(Opcode::Text, b"frag");
    stream[0] = 0x01; // not final
    stream.extend(masked(Opcode::Ping, b"alive?"));
    let mut last = masked(Opcode::Continuation, b"ments");
    last[0] = 0x80;
    stream.extend(last);
    stream.extend(masked(Opcode::Pong, b"unasked"));
    client.write(&stream);
    assert_eq!(client.read_frame(), (0x8A, b"alive?".to_vec()));
    client.expect_text("fragments");
    assert_eq!(server.next(), Seen::Established(1));
    assert_eq!(server.next(), Seen::Text(1, "fragments".into()));
}

#[test]
fn a_flood_from_one_client_does_not_starve_another() {
    let server = Server::echo(roomy());
    let mut flood = server.connect(1);
    let frames = masked(Opcode::Text, &[b'x'; 1000]).repeat(20_000);
    let mut writer = Client { stream: flood.stream.try_clone().unwrap() };
    let sender = std::thread::spawn(move || writer.write(&frames));
    let mut other = server.connect(2);
    for _ in 0..100 {
        other.send(Opcode::Text, b"me too");
        other.expect_text("me too");
    }
    for _ in 0..20_000 {
        assert_eq!(flood.read_frame().1.len(), 1000);
    }
    sender.join().unwrap();
}

// Sending.

#[test]
fn each_senders_messages_arrive_in_its_order_and_whole() {
    let server = Server::new(roomy());
    let (mut client, connection) = server.established(1);
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let connection = connection.clone();
            let handle = server.handle.clone();
            std::thread::spawn(move || {
                for number in 0..5000 {
                    // Some small, some too large for the queue's arena, some to everyone.
                    let text = format!("{sender} {number} {}", "x".repeat(number % 7 * 1000));
                    if number % 3 == 0 {
                        handle.broadcast_text(&text, None, Compress::Allow);
                    } else {
                        connection.send_text(&text, Compress::Allow).unwrap();
                    }
                }
            })
        })
        .collect();
    let mut next = [0; 8];
    for _ in 0..8 * 5000 {
        let text = String::from_utf8(client.read_frame().1).unwrap();
        let mut words = text.split(' ');
        let sender: usize = words.next().unwrap().parse().unwrap();
        assert_eq!(words.next().unwrap(), next[sender].to_string());
        assert_eq!(words.next().unwrap().len(), next[sender] % 7 * 1000);
        next[sender] += 1;
    }
    for sender in senders {
        sender.join().unwrap();
    }
}

#[test]
fn a_broadcast_reaches_everyone_but_the_excluded() {
    let server = Server::reacting(Config::default(), |seen, connection, handle| {
        if let Seen::Text(_, text) = seen {
            handle.broadcast_text(text, Some(connection), Compress::Allow);
            handle.broadcast_binary(text.as_bytes(), None, Compress::Allow);
            handle.broadcast_text("last", None, Compress::Allow);
        }
    });
    let mut clients: Vec<Client> = (0..20).map(|number| server.established(number).0).collect();
    clients[7].send(Opcode::Text, b"news");
    for (number, client) in clients.iter_mut().enumerate() {
        if number != 7 {
            client.expect_text("news");
        }
        assert_eq!(client.read_frame(), (0x82, b"news".to_vec()));
        client.expect_text("last");
    }
}

#[test]
fn large_broadcasts_are_whole() {
    let server = Server::new(roomy());
    let clients: Vec<Client> = (0..3).map(|number| server.established(number).0).collect();
    let text = "0123456789".repeat(300_000);
    server.handle.broadcast_text(&text, None, Compress::Allow);
    server.handle.broadcast_text("small", None, Compress::Allow);
    for mut client in clients {
        assert!(client.read_frame().1 == text.as_bytes());
        client.expect_text("small");
    }
}

#[test]
fn buffered_bytes_count_what_the_kernel_has_not_taken() {
    let server = Server::new(roomy());
    let (mut client, connection) = server.established(1);
    assert_eq!(connection.buffered_bytes(), 0);
    let payload = vec![b'x'; 1 << 20];
    for _ in 0..32 {
        assert_eq!(connection.send_binary(&payload, Compress::Allow), Ok(Sent::Queued));
    }
    wait_until(|| connection.buffered_bytes() < 32 << 20);
    assert!(connection.buffered_bytes() > 8 << 20, "the client has not read");
    for _ in 0..32 {
        assert_eq!(client.read_frame().1.len(), 1 << 20);
    }
    wait_until(|| connection.buffered_bytes() == 0);
}

#[test]
fn a_ping_goes_out_and_its_pong_is_taken() {
    let server = Server::new(Config::default());
    let (mut client, connection) = server.established(1);
    assert_eq!(connection.ping(b"42"), Ok(Sent::Queued));
    assert_eq!(client.read_frame(), (0x89, b"42".to_vec()));
    client.send(Opcode::Pong, b"42");
    client.close(1000);
    assert_eq!(server.next(), Seen::CloseMessage(1, 1000, String::new()));
}

// The closing handshake.

#[test]
fn replies_go_out_before_the_close_that_answers_a_bad_frame() {
    let server = Server::echo(Config::default());
    let mut client = server.connect(1);
    let mut bad = masked(Opcode::Text, b"bad");
    bad[0] |= 0x40; // RSV1
    let stream = [masked(Opcode::Text, b"good"), bad, masked(Opcode::Text, b"after")].concat();
    client.write(&stream);
    client.expect_text("good");
    let reason = client.expect_close(1002);
    assert!(!reason.is_empty());
    client.expect_end();
    let ended = server.closed(1);
    assert_eq!(ended, end(CloseCode::PROTOCOL_ERROR, &reason, CloseCause::ProtocolError));
}

#[test]
fn limits_have_their_own_close_codes() {
    let limits = Limits { max_message_size: 1000, max_fragments: 3 };
    let server = Server::new(Config { limits, ..Config::default() });
    let mut client = server.connect(1);
    // The header of 2^36 bytes is enough.
    client.write(&[0x82, 0xFF, 0, 0, 0, 0x10, 0, 0, 0, 0]);
    client.expect_close(1009);
    client.expect_end();
    let mut client = server.connect(2);
    for first in [0x02, 0x00, 0x00, 0x00] {
        client.write(&[first, 0x80, 1, 2, 3, 4]);
    }
    client.expect_close(1008);
    let mut client = server.connect(3);
    client.send(Opcode::Text, &[0xFF]);
    client.expect_close(1007);
}

#[test]
fn a_last_message_goes_out_in_answer_to_a_close_message() {
    let server = Server::reacting(Config::default(), |seen, connection, _| match seen {
        Seen::CloseMessage(..) => {
            assert_eq!(connection.send_text("bye", Compress::Allow), Ok(Sent::Queued));
        }
        Seen::Closed(..) => {
            assert_eq!(connection.send_text("too late", Compress::Allow), Err(Closed));
        }
        Seen::Established(_)
        | Seen::Text(..)
        | Seen::Binary(..)
        | Seen::Answer(_)
        | Seen::Drained(_) => {}
    });
    let mut client = server.connect(1);
    client.send(Opcode::Close, b"\x0f\xa1bye");
    client.expect_text("bye");
    client.expect_close(4001);
    client.expect_end();
    let code = CloseCode::new(4001).unwrap();
    assert_eq!(server.closed(1), end(code, "bye", CloseCause::Peer));
}

#[test]
fn an_empty_close_is_answered_with_an_empty_one() {
    let server = Server::new(Config::default());
    let mut client = server.connect(1);
    client.send(Opcode::Close, b"");
    assert_eq!(client.read_frame(), (0x88, Vec::new()));
    client.expect_end();
    assert_eq!(server.closed(1), end(CloseCode::NO_STATUS, "", CloseCause::Peer));
}

#[test]
fn a_local_close_stands_behind_what_was_sent_and_waits_for_the_answer() {
    let server = Server::new(Config::default());
    let (mut client, connection) = server.established(1);
    connection.send_text("last words", Compress::Allow).unwrap();
    connection.close(close_frame(4002, "enough"), CloseCause::Local);
    connection.close(close_frame(4003, "only the first counts"), CloseCause::Local);
    assert!(!connection.is_open());
    assert_eq!(connection.send_text("too late", Compress::Allow), Err(Closed));
    client.expect_text("last words");
    assert_eq!(client.expect_close(4002), "enough");
    client.send(Opcode::Text, b"not delivered any more");
    client.send(Opcode::Close, &4002_u16.to_be_bytes());
    client.expect_end();
    assert_eq!(server.next(), Seen::CloseMessage(1, 4002, String::new()));
    let code = CloseCode::new(4002).unwrap();
    assert_eq!(server.next(), Seen::Closed(1, end(code, "enough", CloseCause::Local)));
    assert!(connection.end().is_some());
    assert_eq!(connection.buffered_bytes(), 0);
}

#[test]
fn a_peer_that_never_answers_our_close_is_cut_off_in_time() {
    let close_timeout = Duration::from_millis(200);
    let server = Server::new(Config { close_timeout, ..Config::default() });
    let (mut client, connection) = server.established(1);
    let start = Instant::now();
    connection.close(close_frame(1000, ""), CloseCause::Local);
    client.expect_close(1000);
    assert_eq!(server.closed(1), end(CloseCode::NORMAL, "", CloseCause::Local));
    assert!(start.elapsed() >= close_timeout);
    client.expect_end();
}

#[test]
fn a_peer_that_keeps_its_side_open_is_cut_off_in_time() {
    let close_timeout = Duration::from_millis(200);
    let server = Server::new(Config { close_timeout, ..Config::default() });
    let mut client = server.connect(1);
    client.send(Opcode::Close, &1000_u16.to_be_bytes());
    client.expect_close(1000);
    client.expect_end();
    // `Closed` does not wait for the client's FIN, the descriptor does, for a while.
    assert_eq!(server.closed(1), end(CloseCode::NORMAL, "", CloseCause::Peer));
    wait_until(|| server.handle.counters().connections == 0);
}

#[test]
fn an_end_without_close_frame_is_a_network_error() {
    let server = Server::echo(Config::default());
    let mut client = server.connect(1);
    client.send(Opcode::Text, b"and then nothing");
    client.shutdown();
    client.expect_text("and then nothing");
    client.expect_end();
    assert_eq!(server.closed(1), end(CloseCode::ABNORMAL, "", CloseCause::NetworkError));
    let mut client = server.connect(2);
    client.send(Opcode::Text, b"unread");
    drop(client);
    assert_eq!(server.closed(2), end(CloseCode::ABNORMAL, "", CloseCause::NetworkError));
}

#[test]
fn a_half_closed_client_gets_its_replies() {
    let server = Server::echo(roomy());
    let mut client = server.connect(1);
    let payload = vec![1; 16 << 20];
    client.send(Opcode::Binary, &payload);
    client.send(Opcode::Close, &1000_u16.to_be_bytes());
    client.shutdown();
    assert_eq!(client.read_frame().1.len(), payload.len());
    client.expect_close(1000);
    client.expect_end();
    assert_eq!(server.closed(1).cause, CloseCause::Peer);
}

#[test]
fn a_close_timeout_without_end_is_possible() {
    let server = Server::new(Config { close_timeout: Duration::MAX, ..Config::default() });
    let mut client = server.connect(1);
    client.send(Opcode::Close, &1000_u16.to_be_bytes());
    client.expect_close(1000);
}

// Slow consumers.

#[test]
fn a_slow_consumer_is_closed_and_nobody_else_notices() {
    let close_timeout = Duration::from_millis(300);
    let limit = 1 << 20;
    let config = Config { close_timeout, send_queue_limit: limit, ..roomy() };
    let server = Server::new(config);
    let (_stalled, stalled) = server.established(1);
    let (mut reader, _) = server.established(2);
    let payload = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    let mut highest = 0;
    while stalled.is_open() {
        server.handle.broadcast_binary(&payload, None, Compress::Allow);
        sent += 1;
        assert!(sent < 1000, "the limit is reached");
        assert_eq!(reader.read_frame().1.len(), payload.len());
        highest = highest.max(stalled.buffered_bytes());
    }
    assert!(highest <= limit, "{highest} bytes waited");
    server.handle.broadcast_text("still here", None, Compress::Allow);
    reader.expect_text("still here");
    let ended = server.closed(1);
    assert_eq!((ended.code, ended.cause), (CloseCode::POLICY_VIOLATION, CloseCause::SlowConsumer));
}

#[test]
fn what_a_slow_consumer_has_got_is_whole_frames_and_a_close() {
    let server = Server::new(Config { send_queue_limit: 256 * 1024, ..roomy() });
    let (mut client, connection) = server.established(1);
    let payload = vec![b'x'; 10_000];
    let mut last = Sent::Queued;
    let mut results = Vec::new();
    while last != Sent::Dropped {
        last = connection.send_binary(&payload, Compress::Allow).unwrap();
        results.push(last);
        // The loop has to keep up, else the queue is full before the socket is.
        let before = connection.buffered_bytes();
        wait_for_a_while(|| connection.buffered_bytes() < before || before > 100_000);
    }
    assert!(results.contains(&Sent::Backpressure), "half full comes before full");
    assert_eq!(connection.send_binary(&payload, Compress::Allow), Err(Closed));
    let mut frames = 0;
    loop {
        let (first, got) = client.read_frame();
        if first == 0x88 {
            assert_eq!(got[..2], 1008_u16.to_be_bytes());
            break;
        }
        assert_eq!((first, got.len()), (0x82, payload.len()));
        frames += 1;
    }
    assert!(frames > 0 && frames < results.len(), "{frames} of {} frames", results.len());
    client.send(Opcode::Close, &1008_u16.to_be_bytes());
    client.expect_end();
}

#[test]
fn a_message_above_the_queue_limit_goes_out_alone() {
    let server = Server::new(Config { send_queue_limit: 1000, ..roomy() });
    let (mut client, connection) = server.established(1);
    assert_eq!(connection.send_binary(&vec![7; 100_000], Compress::Allow), Ok(Sent::Backpressure));
    assert_eq!(client.read_frame().1.len(), 100_000);
    wait_until(|| connection.buffered_bytes() == 0);
    server.handle.broadcast_binary(&vec![8; 100_000], None, Compress::Allow);
    assert_eq!(client.read_frame().1.len(), 100_000);
    assert!(connection.is_open());
}

#[test]
fn a_peer_that_pings_and_does_not_read_is_closed() {
    let close_timeout = Duration::from_millis(200);
    let config = Config { close_timeout, send_queue_limit: 64 * 1024, ..Config::default() };
    let server = Server::new(config);
    let (client, _) = server.established(1);
    let pings = masked(Opcode::Ping, &[b'p'; 125]).repeat(1000);
    let mut writer = Client { stream: client.stream.try_clone().unwrap() };
    std::thread::spawn(
        move || while std::io::Write::write_all(&mut writer.stream, &pings).is_ok() {},
    );
    let ended = server.closed(1);
    assert_eq!(ended.cause, CloseCause::SlowConsumer);
}

#[test]
fn pings_of_a_peer_that_reads_are_no_backlog() {
    let limit = 16 << 20;
    let server = Server::new(Config { send_queue_limit: limit, ..Config::default() });
    let (mut client, connection) = server.established(1);
    // So much waits that the output is never empty while the client reads on.
    while connection.buffered_bytes() < 6 << 20 {
        connection.send_binary(&[1; 10_000], Compress::Allow).unwrap();
    }
    let pings = masked(Opcode::Ping, &[7; 125]).repeat(8000);
    let mut sent = 0;
    for _ in 0..20 {
        client.write(&pings);
        sent += pings.len() as u64;
        wait_until(|| server.handle.counters().bytes_received >= sent);
        assert!(connection.is_open(), "at most {} bytes wait", connection.buffered_bytes());
        let mut read = vec![0; 8000 * 127];
        std::io::Read::read_exact(&mut client.stream, &mut read).unwrap();
    }
}

#[test]
fn a_burst_of_small_broadcasts_respects_the_limit() {
    let limit = 10_000;
    let config = Config { send_queue_limit: limit, ..Config::default() };
    let server = Server::reacting(config, |seen, _, handle| {
        if let Seen::Text(..) = seen {
            for _ in 0..300_000 {
                handle.broadcast_text(
                    "forty bytes that are sent again and again",
                    None,
                    Compress::Allow,
                );
            }
        }
    });
    let (mut client, _) = server.established(1);
    let (_stalled, stalled) = server.established(2);
    client.send(Opcode::Text, b"go");
    let mut highest = 0;
    while stalled.is_open() {
        highest = highest.max(stalled.buffered_bytes());
    }
    assert!(highest <= limit, "{highest} bytes waited");
}

// Life and death.

#[test]
fn stop_closes_everyone_with_1001_and_ends_the_loop() {
    let server = Server::new(Config::default());
    let clients: Vec<Client> = (0..50).map(|number| server.established(number).0).collect();
    server.handle.broadcast_text("soon", None, Compress::Allow);
    let threads: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                client.expect_text("soon");
                client.expect_close(1001);
                client.send(Opcode::Close, &1001_u16.to_be_bytes());
                client.expect_end();
            })
        })
        .collect();
    let handle = server.handle.clone();
    let seen = server.stop(PATIENCE);
    for thread in threads {
        thread.join().unwrap();
    }
    let ends = seen.iter().filter(|seen| {
        matches!(seen, Seen::Closed(_, end)
        if end.cause == CloseCause::ServerStop && end.code == CloseCode::GOING_AWAY)
    });
    assert_eq!(ends.count(), 50);
    assert!(!handle.is_running());
}

#[test]
fn stop_is_bounded_when_peers_do_not_answer() {
    let server = Server::new(Config::default());
    let (_silent, connection) = server.established(1);
    let start = Instant::now();
    let seen = server.stop(Duration::from_millis(200));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(seen.len(), 1);
    assert_eq!(connection.end().unwrap().cause, CloseCause::ServerStop);
    assert_eq!(connection.send_text("late", Compress::Allow), Err(Closed));
}

#[test]
fn a_socket_that_comes_while_the_manager_shuts_down_is_closed_with_1001() {
    let server = Server::new(Config::default());
    server.handle.shut_down(PATIENCE);
    let mut client = server.connect(1);
    client.expect_close(1001);
    client.send(Opcode::Close, &1001_u16.to_be_bytes());
    client.expect_end();
    assert_eq!(server.closed(1).cause, CloseCause::ServerStop);
    assert!(server.handle.is_running(), "until it is told that no more will come");
    server.stop(PATIENCE);
}

#[test]
fn what_was_accepted_before_the_end_of_a_callback_goes_out_before_the_stop() {
    let server = Server::reacting(Config::default(), |seen, connection, handle| {
        if let Seen::Text(..) = seen {
            handle.shut_down(PATIENCE);
            assert_eq!(connection.send_text("accepted", Compress::Allow), Ok(Sent::Queued));
        }
    });
    let (mut client, _) = server.established(1);
    client.send(Opcode::Text, b"go");
    client.expect_text("accepted");
    client.expect_close(1001);
}

#[test]
fn a_shutdown_without_end_is_possible() {
    let server = Server::new(Config::default());
    server.handle.shut_down(Duration::MAX);
    server.connect(1).expect_close(1001);
}

#[test]
fn a_peer_that_lingers_is_not_counted_after_a_stop() {
    let server = Server::new(Config::default());
    let mut client = server.connect(1);
    client.send(Opcode::Close, &1000_u16.to_be_bytes());
    client.expect_close(1000);
    client.expect_end();
    server.closed(1);
    let handle = server.handle.clone();
    server.stop(PATIENCE);
    assert_eq!(handle.counters().connections, 0);
}

#[test]
fn a_loop_that_is_over_leaves_the_next_one_alone() {
    struct Ignore;
    impl Handler for Ignore {
        type Context = u32;
        fn dispatch(&mut self, batch: &mut Batch<u32>) {
            batch.drain();
        }
    }
    let handle = Handle::new(Config::default());
    let mut first = Manager::new(&handle).unwrap();
    handle.shut_down(Duration::ZERO);
    handle.finish();
    while first.turn(&mut Ignore).unwrap() {}
    let second = Manager::new(&handle).unwrap();
    drop(first);
    assert!(handle.is_running());
    drop(second);
    assert!(!handle.is_running());
}

#[test]
fn a_manager_can_run_again_after_a_stop() {
    let handle: Handle<u32> = Handle::new(Config::default());
    for _ in 0..3 {
        let manager = Manager::new(&handle).unwrap();
        assert!(handle.is_running());
        let second = Manager::new(&handle);
        assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        drop(manager);
        assert!(!handle.is_running());
    }
}

#[test]
fn without_a_loop_a_socket_is_refused_and_a_broadcast_reaches_nobody() {
    let handle: Handle<u32> = Handle::new(Config::default());
    handle.broadcast_text("nobody", None, Compress::Allow);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut client = Client { stream };
    let stream = listener.accept().unwrap().0;
    let adoption = Adoption { response: b"101".to_vec(), ..Adoption::new(stream, 1) };
    assert_eq!(handle.adopt(adoption), Err(NotRunning));
    client.expect_end();
}

#[test]
fn closing_in_every_callback_is_harmless() {
    let server = Server::reacting(Config::default(), |seen, connection, handle| {
        connection.close(close_frame(4004, "at once"), CloseCause::Local);
        handle.broadcast_text("noise", None, Compress::Allow);
        assert!(!connection.is_open(), "after {seen:?}");
    });
    for number in 0..20 {
        let mut client = server.connect_with(number, &masked(Opcode::Text, b"hello"));
        client.expect_close(4004);
        client.send(Opcode::Close, &4004_u16.to_be_bytes());
        client.expect_end();
        server.closed(number);
    }
}

#[test]
fn sixteen_threads_that_connect_and_reset_leave_nothing_behind() {
    let server = std::sync::Arc::new(Server::echo(Config::default()));
    let threads: Vec<_> = (0..16)
        .map(|thread| {
            let server = std::sync::Arc::clone(&server);
            std::thread::spawn(move || {
                for _ in 0..60 {
                    let mut client = server.connect(thread);
                    client.send(Opcode::Text, b"hello");
                    client.reset();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    wait_until(|| {
        let counters = server.handle.counters();
        counters.connections == 0 && counters.connections_total == 16 * 60
    });
}

#[test]
fn an_idle_loop_takes_no_turns() {
    let server = Server::echo(Config::default());
    let mut clients: Vec<Client> = (0..100).map(|number| server.established(number).0).collect();
    for client in &mut clients {
        client.send(Opcode::Text, b"hello");
        client.expect_text("hello");
    }
    let before = server.turns.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(200)); // nothing is waited for: nothing may happen
    assert!(server.turns.load(Ordering::Relaxed) <= before + 1);
}

#[test]
fn counters_are_exact() {
    let server = Server::echo(Config::default());
    let (mut client, _) = server.established(1);
    for _ in 0..10 {
        client.send(Opcode::Text, b"12345");
        client.expect_text("12345");
    }
    client.close(1000);
    wait_until(|| server.handle.counters().connections == 0);
    let counters = server.handle.counters();
    assert_eq!(counters.connections_total, 1);
    assert_eq!(counters.messages_received, 10);
    assert_eq!(counters.messages_sent, 10);
    assert_eq!(counters.bytes_received, 10 * 11 + 8);
    assert_eq!(counters.bytes_sent, 10 * 7 + 4);
}

/// Gives a condition a little time to come true.
fn wait_for_a_while(condition: impl Fn() -> bool) {
    poll(Duration::from_millis(20), condition);
}
