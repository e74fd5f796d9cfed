//! Peers that read slowly or not at all: what is dropped, what is counted, and who hears of it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use handy_ws_core::manager::{
    CloseCause, Compress, Config, Connection, Counters, Handle, Sent, SlowConsumer, WaitError,
};
use handy_ws_core::proto::{CloseCode, CloseFrame, Opcode};

use support::{Client, PATIENCE, Seen, Server, settle, wait_until};

const LIMIT: usize = 64 * 1024;
const NEVER: Compress = Compress::Never;

/// The size of each numbered message's frame.
const SIZE: usize = 1004;

fn config(slow_consumer: SlowConsumer) -> Config {
    Config { send_queue_limit: LIMIT, slow_consumer, ..Config::default() }
}

fn numbered(number: usize) -> String {
    format!("{number:0width$}", width = SIZE - 4)
}

fn send(connection: &Connection<u32>, number: usize) -> Sent {
    connection.send_text(&numbered(number), NEVER).unwrap()
}

/// Reads numbered messages until one comes that is not: the numbers.
fn read_numbers(client: &mut Client, last: &str) -> Vec<usize> {
    let mut numbers = Vec::new();
    loop {
        let (first, payload) = client.read_frame();
        let text = String::from_utf8(payload).unwrap();
        match first {
            0x81 if text == last => return numbers,
            0x81 => {
                assert_eq!(text.len(), SIZE - 4, "a whole message");
                numbers.push(text.parse().unwrap());
            }
            0x89 | 0x8A => {}
            other => panic!("a frame that begins with {other:#x}"),
        }
    }
}

/// Sends a last message when there is room for it.
fn send_last(connection: &Connection<u32>) {
    assert_eq!(connection.wait_drained(Some(PATIENCE)), Ok(true));
    assert_eq!(connection.send_text("last", NEVER), Ok(Sent::Queued));
}

fn counters_of(server: &Server) -> Counters {
    server.handle.counters()
}

// What is dropped.

#[test]
fn the_newest_are_dropped_and_the_sender_is_told() {
    let server = Server::new(config(SlowConsumer::DropNewest));
    let (mut client, connection) = server.narrow(1, None);
    let (mut accepted, mut dropped) = (Vec::new(), 0);
    for number in 0..2000 {
        match send(&connection, number) {
            Sent::Queued | Sent::Backpressure => accepted.push(number),
            Sent::Dropped => dropped += 1,
        }
        assert!(connection.buffered_bytes() <= LIMIT);
    }
    assert!(connection.is_open());
    assert!(dropped > 1000, "{dropped}");
    let reader = std::thread::spawn(move || (read_numbers(&mut client, "last"), client));
    send_last(&connection);
    let (numbers, client) = reader.join().unwrap();
    assert_eq!(numbers, accepted, "no more and no less than was accepted");
    assert_eq!(server.next(), Seen::Drained(1));
    client.close(1000);
    assert!(matches!(server.next(), Seen::CloseMessage(1, ..)), "one drain, exactly");
    server.closed(1);
    wait_until(|| counters_of(&server).connections == 0);
    let counters = counters_of(&server);
    assert_eq!(counters.messages_sent, accepted.len() as u64 + 1);
    assert_eq!(counters.messages_dropped, dropped);
    assert_eq!(counters.bytes_dropped, dropped * SIZE as u64);
}

#[test]
fn the_oldest_are_dropped_and_control_frames_are_not() {
    let server = Server::new(config(SlowConsumer::DropOldest));
    let (mut client, connection) = server.narrow(1, None);
    let (mut reader, _) = server.established(2);
    connection.ping(b"first").unwrap();
    let mut refused = 0;
    for number in 0..2000 {
        refused += u64::from(send(&connection, number) == Sent::Dropped);
        if number % 30 == 0 {
            settle(&mut reader);
        }
    }
    assert_eq!(refused, 0, "the loop has taken them in time");
    assert!(connection.is_open());
    assert_eq!(send(&connection, 2000), Sent::Backpressure);
    let pings: Vec<_> = (0..20).map(|_| connection.ping(&[0; 125]).unwrap()).collect();
    assert!(pings.contains(&Sent::Dropped), "a PING has to fit");
    settle(&mut reader);
    assert!(connection.buffered_bytes() <= LIMIT, "{} bytes", connection.buffered_bytes());
    assert!(connection.buffered_bytes() > LIMIT - 2 * SIZE, "no more than necessary is dropped");

    assert_eq!(client.read_frame(), (0x89, b"first".to_vec()));
    let thread = std::thread::spawn(move || read_numbers(&mut client, "last"));
    send_last(&connection);
    let numbers = thread.join().unwrap();
    let in_order = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(in_order && numbers[0] == 0, "{numbers:?}");
    let newest = LIMIT / SIZE - 3;
    assert!(numbers.ends_with(&(2001 - newest..=2000).collect::<Vec<_>>()), "{numbers:?}");
    assert_eq!(server.next(), Seen::Drained(1));
    let (sent, dropped) = (numbers.len() as u64 + 1, 2001 - numbers.len() as u64);
    wait_until(|| counters_of(&server).messages_sent == sent);
    assert_eq!(counters_of(&server).messages_dropped, dropped);
    assert_eq!(counters_of(&server).bytes_dropped, dropped * SIZE as u64);
}

#[test]
fn a_ping_between_messages_that_are_dropped_still_goes_out() {
    let server = Server::new(config(SlowConsumer::DropOldest));
    let (mut client, connection) = server.narrow(1, None);
    let (mut reader, _) = server.established(2);
    // The kernel is full, and something waits.
    while connection.buffered_bytes() < LIMIT / 2 {
        send(&connection, 0);
        settle(&mut reader);
    }
    assert_eq!(connection.ping(b"kept"), Ok(Sent::Backpressure));
    for number in 0..200 {
        send(&connection, number);
        settle(&mut reader);
    }
    let mut pings = 0;
    let thread = std::thread::spawn(move || {
        loop {
            match client.read_frame() {
                (0x81, text) if text == b"last" => return pings,
                (0x89, payload) => {
                    assert_eq!(payload, b"kept");
                    pings += 1;
                }
                (first, _) => assert_eq!(first, 0x81),
            }
        }
    });
    send_last(&connection);
    assert_eq!(thread.join().unwrap(), 1);
}

#[test]
fn broadcasts_reach_those_who_read_whatever_becomes_of_the_others() {
    const STALLED: u32 = 3;
    const READERS: u32 = 3;
    const COUNT: u64 = 1000;
    for policy in [SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let close_timeout = Duration::from_secs(60);
        let server = Server::new(Config { close_timeout, ..config(policy) });
        let stalled: Vec<_> = (0..STALLED).map(|number| server.narrow(number, None)).collect();
        let mut readers: Vec<_> =
            (0..READERS).map(|number| server.established(STALLED + number).0).collect();
        for number in 0..COUNT {
            let text = numbered(usize::try_from(number).unwrap());
            assert_eq!(server.handle.broadcast_text(&text, None, NEVER), Sent::Queued);
            for reader in &mut readers {
                reader.expect_text(&text);
            }
            for (_, connection) in &stalled {
                assert!(connection.buffered_bytes() <= LIMIT);
            }
        }
        let mut received = u64::from(READERS) * COUNT;
        for (mut client, connection) in stalled {
            assert_eq!(connection.is_open(), policy != SlowConsumer::Close);
            if connection.is_open() {
                let thread = std::thread::spawn(move || read_numbers(&mut client, "last"));
                send_last(&connection);
                let numbers = thread.join().unwrap();
                assert_eq!(numbers.contains(&999), policy == SlowConsumer::DropOldest);
                received += numbers.len() as u64 + 1;
            } else {
                while client.read_frame().0 == 0x81 {
                    received += 1;
                }
            }
        }
        wait_until(|| counters_of(&server).messages_sent == received);
        let counters = counters_of(&server);
        let last_ones = if policy == SlowConsumer::Close { 0 } else { u64::from(STALLED) };
        // One that is closed gets no more broadcasts, so nothing is lost then.
        if policy != SlowConsumer::Close {
            let all = u64::from(READERS + STALLED) * COUNT + last_ones;
            assert_eq!(counters.messages_sent + counters.messages_dropped, all);
        }
        assert_eq!(counters.bytes_dropped, counters.messages_dropped * SIZE as u64);
        assert!(counters.messages_dropped > 0 && counters.broadcasts_dropped == 0);
    }
}

#[test]
fn a_message_above_the_limit_goes_out_if_nothing_waits() {
    for policy in [SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let server = Server::new(config(policy));
        let (mut client, connection) = server.narrow(1, None);
        let large = vec![b'x'; 4 * LIMIT];
        assert_eq!(connection.send_binary(&large, NEVER), Ok(Sent::Backpressure));
        assert_eq!(connection.send_binary(&large, NEVER), Ok(Sent::Dropped));
        assert_eq!(client.read_frame(), (0x82, large.clone()));
        assert_eq!(connection.wait_drained(Some(PATIENCE)), Ok(true));
        server.handle.broadcast_binary(&large, None, NEVER);
        assert_eq!(client.read_frame(), (0x82, large));
        assert_eq!(counters_of(&server).messages_dropped, 1);
    }
}

// What is counted.

#[test]
fn what_a_connection_leaves_behind_is_dropped() {
    for (policy, resets) in [
        (SlowConsumer::Close, true),
        (SlowConsumer::DropNewest, true),
        (SlowConsumer::DropOldest, true),
        (SlowConsumer::DropNewest, false),
    ] {
        let close_timeout = Duration::from_millis(200);
        let server = Server::new(Config { close_timeout, ..config(policy) });
        let (client, connection) = server.narrow(1, None);
        let mut attempts = 0;
        for number in 0..300 {
            let Ok(_) = connection.send_text(&numbered(number), NEVER) else { break };
            attempts += 1;
        }
        if resets {
            client.reset();
        } else {
            let frame = CloseFrame::new(CloseCode::NORMAL, "").unwrap();
            connection.close(frame, CloseCause::Local);
        }
        server.closed(1);
        wait_until(|| counters_of(&server).connections == 0);
        let counters = counters_of(&server);
        assert_eq!(counters.messages_sent + counters.messages_dropped, attempts, "{policy:?}");
        assert!(counters.messages_dropped > 0);
        assert_eq!(counters.bytes_dropped, counters.messages_dropped * SIZE as u64);
        // Of what is counted as sent, all has gone out; of one more at most, a part.
        let beyond = counters.bytes_sent - counters.messages_sent * SIZE as u64;
        assert!(beyond < SIZE as u64, "{beyond} bytes");
    }
}

#[test]
fn what_is_sent_to_a_connection_that_is_just_ending_is_counted() {
    let server = Server::new(config(SlowConsumer::DropNewest));
    for number in 0..50 {
        let (client, connection) = server.established(number);
        let before = counters_of(&server);
        let sender = std::thread::spawn(move || {
            let mut accepted = 0;
            while connection.send_text("x", NEVER).is_ok() {
                accepted += 1;
                std::thread::yield_now();
            }
            accepted
        });
        client.reset();
        let attempts = sender.join().unwrap();
        server.closed(number);
        wait_until(|| {
            let now = counters_of(&server);
            let sent = now.messages_sent - before.messages_sent;
            sent + now.messages_dropped - before.messages_dropped == attempts
        });
    }
}

#[test]
fn nothing_is_lost_between_the_counters_when_many_send_to_many() {
    const CLIENTS: u32 = 12;
    const COUNT: usize = 4000;
    for policy in [SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let server = Server::new(config(policy));
        let pairs: Vec<_> = (0..CLIENTS).map(|number| server.narrow(number, None)).collect();
        let (clients, connections): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let readers: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(index, mut client)| {
                std::thread::spawn(move || {
                    // Some read at once, some begin late.
                    std::thread::sleep(Duration::from_millis(20 * index as u64));
                    read_numbers(&mut client, "last").len() as u64 + 1
                })
            })
            .collect();
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let (connections, handle) = (connections.clone(), server.handle.clone());
                std::thread::spawn(move || send_to_many(sender, &connections, &handle, COUNT))
            })
            .collect();
        let attempts: u64 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        for connection in &connections {
            send_last(connection);
        }
        let received: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        wait_until(|| counters_of(&server).messages_sent == received);
        let counters = counters_of(&server);
        let attempts = attempts + u64::from(CLIENTS);
        assert_eq!(counters.messages_sent + counters.messages_dropped, attempts);
        assert_eq!(counters.bytes_dropped, counters.messages_dropped * SIZE as u64);
    }
}

/// Sends and broadcasts: how many messages that were to reach somebody.
fn send_to_many(
    sender: usize,
    connections: &[Connection<u32>],
    handle: &Handle<u32>,
    count: usize,
) -> u64 {
    let mut attempts = 0;
    for number in 0..count {
        if number % 5 == 0 {
            match handle.broadcast_text(&numbered(number), None, NEVER) {
                Sent::Queued | Sent::Backpressure => attempts += connections.len() as u64,
                Sent::Dropped => {}
            }
        } else {
            send(&connections[(sender + number) % connections.len()], number);
            attempts += 1;
        }
    }
    attempts
}

// Broadcasts that wait for the loop.

#[test]
fn broadcasts_that_wait_for_the_loop_are_bounded() {
    let broadcast_queue_limit = 10 * SIZE;
    let config = Config { broadcast_queue_limit, ..Config::default() };
    // Nobody takes turns.
    let handle: Handle<u32> = Handle::new(config);
    assert_eq!(handle.broadcast_text("nobody", None, NEVER), Sent::Queued, "there is no loop");
    let manager = handy_ws_core::manager::Manager::new(&handle).unwrap();
    let results: Vec<_> =
        (0..12).map(|number| handle.broadcast_text(&numbered(number), None, NEVER)).collect();
    assert_eq!(results[..5], [Sent::Queued; 5]);
    assert_eq!(results[5..10], [Sent::Backpressure; 5]);
    assert_eq!(results[10..], [Sent::Dropped; 2]);
    assert_eq!(handle.counters().broadcasts_dropped, 2);
    assert_eq!(handle.counters().messages_dropped, 0);
    drop(manager);
    let _again = handy_ws_core::manager::Manager::new(&handle).unwrap();
    let large = vec![0; 20 * SIZE];
    assert_eq!(handle.broadcast_binary(&large, None, NEVER), Sent::Backpressure, "it is alone");
    assert_eq!(handle.broadcast_binary(b"", None, NEVER), Sent::Dropped);
    assert_eq!(handle.counters().broadcasts_dropped, 3);
}

// Who hears of it.

#[test]
fn a_drain_follows_each_pressure_once() {
    let server = Server::new(config(SlowConsumer::DropNewest));
    let (mut client, connection) = server.narrow(1, None);
    let (mut reader, _) = server.established(2);
    for round in 0..6 {
        // Nobody is told of little.
        assert_eq!(connection.send_text("little", NEVER), Ok(Sent::Queued));
        client.expect_text("little");
        assert_eq!(connection.wait_drained(Some(PATIENCE)), Ok(true));
        let mut count = 1;
        if round % 2 == 0 {
            while send(&connection, count) == Sent::Queued {
                count += 1;
            }
        } else {
            // Here no sender is told; so much waits that the queue is more than half full.
            while connection.buffered_bytes() <= LIMIT / 2 {
                server.handle.broadcast_text(&numbered(count), None, NEVER);
                count += 1;
                settle(&mut reader);
            }
            count -= 1;
        }
        for _ in 0..count {
            assert_eq!(client.read_frame().1.len(), SIZE - 4);
        }
        assert_eq!(server.next(), Seen::Drained(1));
    }
    client.close(1000);
    assert!(matches!(server.next(), Seen::CloseMessage(1, ..)));
}

#[test]
fn whoever_is_told_to_slow_down_hears_of_the_drain() {
    const COUNT: usize = 300;
    for policy in [SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        // Streams by `Drained` alone: if one were missed, this would stop.
        let (drained, drains) = mpsc::channel();
        let server = Server::reacting(config(policy), move |seen, _, _| {
            if let Seen::Drained(_) = seen {
                let _ = drained.send(());
            }
        });
        let (mut client, connection) = server.narrow(1, None);
        let thread = std::thread::spawn(move || {
            let mut numbers = read_numbers(&mut client, "last");
            numbers.dedup();
            numbers
        });
        let size = LIMIT / 2 / SIZE;
        for number in 0..COUNT {
            let mut told = false;
            for _ in 0..=size {
                told |= send(&connection, number) != Sent::Queued;
            }
            if told {
                drains.recv_timeout(PATIENCE).expect("a drain follows");
                assert_eq!(drains.try_recv(), Err(mpsc::TryRecvError::Empty));
            }
        }
        send_last(&connection);
        assert_eq!(thread.join().unwrap(), (0..COUNT).collect::<Vec<_>>());
    }
}

#[test]
fn a_drain_that_was_owed_waits_for_a_handler_that_blocks() {
    let (blocks, blocked) = mpsc::channel();
    let (go_on, released) = mpsc::channel();
    let server = Server::reacting(config(SlowConsumer::DropOldest), move |seen, _, _| {
        if matches!(seen, Seen::Text(..)) {
            blocks.send(()).unwrap();
            let _ = released.recv_timeout(2 * PATIENCE);
        }
    });
    let (mut other, _) = server.established(1);
    let (mut client, connection) = server.narrow(2, None);
    other.send(Opcode::Text, b"block");
    blocked.recv_timeout(PATIENCE).unwrap();
    // The stand-in drives the loop, and drops.
    for round in 0..3 {
        for number in 0..200 {
            // Before the stand-in has taken the loop over, nothing is dropped for a new one.
            wait_until(|| send(&connection, number) != Sent::Dropped);
        }
        let mut last = 0;
        while last != 199 {
            last = String::from_utf8(client.read_frame().1).unwrap().parse().unwrap();
        }
        assert_eq!(connection.wait_drained(Some(PATIENCE)), Ok(true), "round {round}");
    }
    assert!(counters_of(&server).messages_dropped > 0);
    go_on.send(()).unwrap();
    assert_eq!(server.next(), Seen::Text(1, "block".into()));
    assert_eq!(server.next(), Seen::Drained(2));
    client.close(1000);
    assert!(matches!(server.next(), Seen::CloseMessage(2, ..)), "once is enough");
}

// Waiting for it.

#[test]
fn a_thread_that_streams_waits_and_loses_nothing() {
    let server = Server::new(config(SlowConsumer::Close));
    let (mut client, connection) = server.narrow(1, None);
    let senders: Vec<_> = (0..2)
        .map(|_| {
            let connection = connection.clone();
            std::thread::spawn(move || {
                for number in 0..2000 {
                    let sent = send(&connection, number);
                    assert_ne!(sent, Sent::Dropped);
                    if sent == Sent::Backpressure || number % 7 == 0 {
                        assert_eq!(connection.wait_drained(None), Ok(true));
                    }
                }
            })
        })
        .collect();
    let mut next = [0, 0];
    for _ in 0..4000 {
        let number: usize = String::from_utf8(client.read_frame().1).unwrap().parse().unwrap();
        let sender = next.iter_mut().find(|next| **next == number).expect("in order");
        *sender += 1;
    }
    for sender in senders {
        sender.join().unwrap();
    }
}

#[test]
fn waiting_ends_with_the_time_or_with_the_connection() {
    let close_timeout = Duration::from_millis(200);
    let server = Server::new(Config { close_timeout, ..config(SlowConsumer::DropNewest) });
    let (client, connection) = server.narrow(1, None);
    assert_eq!(connection.wait_drained(Some(Duration::ZERO)), Ok(true));
    while send(&connection, 0) != Sent::Dropped {}
    let start = Instant::now();
    assert_eq!(connection.wait_drained(Some(Duration::from_millis(100))), Ok(false));
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(connection.wait_drained(Some(Duration::ZERO)), Ok(false));
    let waiting = connection.clone();
    let thread = std::thread::spawn(move || waiting.wait_drained(None));
    client.reset();
    assert_eq!(thread.join().unwrap(), Err(WaitError::Closed));
    assert_eq!(connection.wait_drained(None), Err(WaitError::Closed));
    server.closed(1);

    for (number, stops) in [(2, false), (3, true)] {
        let (_client, connection) = server.narrow(number, None);
        while send(&connection, 0) != Sent::Dropped {}
        let waiting = connection.clone();
        let thread = std::thread::spawn(move || waiting.wait_drained(Some(Duration::MAX)));
        if stops {
            server.handle.shut_down(Duration::ZERO);
        } else {
            let frame = CloseFrame::new(CloseCode::NORMAL, "").unwrap();
            connection.close(frame, CloseCause::Local);
        }
        assert_eq!(thread.join().unwrap(), Err(WaitError::Closed));
        server.closed(number);
    }
}

#[test]
fn a_callback_may_wait_for_another_manager_and_not_for_its_own() {
    let other = Server::new(config(SlowConsumer::Close));
    let (mut other_client, other_connection) = other.narrow(1, None);
    while send(&other_connection, 0) == Sent::Queued {}
    let (sender, results) = mpsc::channel();
    let server = Server::reacting(config(SlowConsumer::Close), move |seen, connection, _| {
        if let Seen::Text(..) = seen {
            connection.send_text("never waited for", NEVER).unwrap();
            sender.send(connection.wait_drained(None)).unwrap();
            sender.send(other_connection.wait_drained(Some(PATIENCE))).unwrap();
        }
    });
    let (mut client, connection) = server.established(1);
    client.send(Opcode::Text, b"go");
    assert_eq!(results.recv_timeout(PATIENCE), Ok(Err(WaitError::OnItsThread)));
    while results.try_recv() != Ok(Ok(true)) {
        let _ = other_client.stream.set_nonblocking(true);
        let _ = std::io::Read::read(&mut other_client.stream, &mut [0; 1000]);
    }
    client.expect_text("never waited for");
    assert_eq!(connection.wait_drained(Some(PATIENCE)), Ok(true), "this thread may");
}
