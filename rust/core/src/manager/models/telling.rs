//! What threads are told: that all is sent, that they may go on, that a peer is read again; and what
//! they tell the loop, when they deal with events in place of the handler.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use loom::thread;

use crate::manager::connection::Link;
use crate::manager::hold::Hold;
use crate::manager::sync::model::Bell;
use crate::manager::{Compress, Config, Event, Sent, WaitError};

use super::running::{CLOSE, NEVER, Running, config, message, send};
use super::{explore, join};

/// One waits while another thread writes all that waits, in two parts.
#[test]
fn whoever_waits_until_all_is_sent_is_told() {
    explore(3, || {
        let link = Arc::new(Link::new(0, false));
        link.buffered.store(2, Relaxed);
        let waiters = [0, 1].map(|_| {
            let link = Arc::clone(&link);
            thread::spawn(move || assert_eq!(link.wait_drained(None), Ok(true)))
        });
        for _ in 0..2 {
            // As `Peer::publish_buffered` does.
            if link.buffered.fetch_sub(1, SeqCst) == 1 {
                link.tell_waiting();
            }
        }
        let _: [(); 2] = waiters.map(join);
    });
}

#[test]
fn whoever_waits_until_all_is_sent_is_told_of_the_end() {
    explore(3, || {
        let link = Arc::new(Link::new(0, false));
        link.buffered.store(1, Relaxed);
        let waiters = [0, 1].map(|_| {
            let link = Arc::clone(&link);
            thread::spawn(move || assert_eq!(link.wait_drained(None), Err(WaitError::Closed)))
        });
        link.shut();
        let _: [(); 2] = waiters.map(join);
    });
}

/// Whoever is told to slow down waits for `Drained`, as a program would, and sends on.
#[test]
fn whoever_was_told_to_slow_down_is_told_to_go_on() {
    explore(2, || {
        let config = Config { send_queue_limit: 8, ..config() };
        let mut running = Running::with(config, false, |exchange, connection| {
            exchange.establish(&connection);
        });
        running.host.event = Box::new(|exchange, event| {
            if let Event::Drained { .. } = event {
                exchange.bell.ring();
            }
        });
        let sender = thread::spawn({
            let exchange = running.exchange();
            let stop = running.stop();
            move || {
                let connection = exchange.connection();
                for byte in *b"abc" {
                    match connection.send_binary(&[byte], Compress::Never) {
                        Ok(Sent::Queued) => {}
                        Ok(Sent::Backpressure) => exchange.bell.wait(),
                        refused => panic!("{refused:?}"),
                    }
                }
                stop();
            }
        });
        assert_eq!(running.run().1, b"abc");
        join(sender);
    });
}

/// The loop stops when too much is held, and another thread takes it off.
#[test]
fn a_stop_is_ended_by_exactly_one_side() {
    explore(4, || {
        let (hold, told) = (Arc::new(Hold::new()), Arc::new(Bell::new()));
        hold.add(10);
        hold.add(10);
        let worker = thread::spawn({
            let (hold, told) = (Arc::clone(&hold), Arc::clone(&told));
            move || {
                let resumes = [hold.take(10), hold.take(10)];
                if resumes.contains(&true) {
                    told.ring();
                }
                resumes.into_iter().filter(|resumes| *resumes).count()
            }
        });
        let stopped = hold.stop(20);
        if stopped {
            told.wait();
        }
        assert_eq!(join(worker), usize::from(stopped));
        assert!(!hold.take(0), "nobody is told for nothing");
    });
}

/// Two messages are held, which is too much, while a third one comes.
#[test]
fn a_peer_that_was_not_read_is_read_again() {
    explore(2, || {
        let config = Config { receive_queue_limit: 64, ..config() };
        let mut running = Running::with(config, false, |exchange, connection| {
            exchange.establish(&connection);
        });
        let exchange = running.exchange();
        let mut held = 0;
        running.host.event = Box::new(move |exchange, event| {
            if let Event::Binary { .. } = event {
                exchange.known().hold(1);
                held += 1;
                match held {
                    2 => exchange.bell.ring(),
                    3 => exchange.other_bell.ring(),
                    _ => {}
                }
            }
        });
        running.client.write_all(&[message(b'x'), message(b'y')].concat()).unwrap();
        let worker = thread::spawn({
            let mut client = running.client.try_clone().unwrap();
            let stop = running.stop();
            move || {
                let connection = exchange.connection();
                exchange.bell.wait();
                client.write_all(&message(b'z')).unwrap();
                connection.wake();
                connection.release(1);
                connection.release(1);
                exchange.other_bell.wait();
                connection.release(1);
                stop();
            }
        });
        let (host, received) = running.run();
        assert_eq!((host.received.as_slice(), received.as_slice()), (&b"xyz"[..], &b""[..]));
        join(worker);
    });
}

/// Another thread greets the client, sends, and answers its CLOSE.
#[test]
fn a_connection_can_be_dealt_with_elsewhere() {
    explore(2, || {
        let mut running = Running::with(config(), true, |exchange, connection| {
            exchange.establish(&connection);
        });
        running.host.event = Box::new(|exchange, event| {
            if let Event::Answer { .. } = event {
                exchange.bell.ring();
            }
        });
        let worker = thread::spawn({
            let exchange = running.exchange();
            let mut client = running.client.try_clone().unwrap();
            let handle = running.handle.clone();
            move || {
                let connection = exchange.connection();
                connection.greet();
                assert_eq!(send(&connection, b'a'), 1);
                connection.greeted();
                client.write_all(CLOSE).unwrap();
                connection.wake();
                exchange.bell.wait();
                assert_eq!(send(&connection, b'b'), 1);
                connection.answer();
                assert_eq!(send(&connection, b'c'), 0);
                handle.shut_down(NEVER);
                handle.finish();
            }
        });
        running.end = b"\x88\x02\x03\xe8";
        assert_eq!(running.run().1, b"ab");
        join(worker);
    });
}
