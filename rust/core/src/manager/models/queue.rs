//! The command queue and its wake flag.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use loom::thread;

use crate::manager::Config;
use crate::manager::connection::{CloseCause, Closed, Sent};
use crate::manager::queue::{Adoption, Queue};
use crate::manager::sync::Waker;
use crate::manager::sync::model::Bell;
use crate::proto::CloseFrame;

use super::{FRAME_SIZE, Taker, explore, join};

const ROOMY: usize = 1 << 10;

#[test]
fn every_push_reaches_a_loop_that_goes_to_sleep_and_those_of_a_thread_come_in_order() {
    explore(3, || {
        let (mut taker, sender) = Taker::new(ROOMY);
        let senders = [0, 1].map(|number| {
            let sender = sender.clone();
            thread::spawn(move || sender.send_all(number, 2))
        });
        while taker.messages.len() < 4 {
            taker.turn();
        }
        assert_eq!(senders.map(join), [2, 2]);
        assert_eq!([taker.numbers(0), taker.numbers(1)], [[0, 1], [0, 1]]);
        assert!(taker.has_taken_all());
    });
}

#[test]
fn what_was_accepted_before_a_door_shut_is_taken_and_nothing_is_accepted_after() {
    explore(3, || {
        let (mut taker, sender) = Taker::new(ROOMY);
        let senders = [0, 1].map(|number| {
            let sender = sender.clone();
            thread::spawn(move || sender.send_all(number, 2))
        });
        taker.turn();
        taker.take(true);
        assert_eq!(sender.send(2, 0), Err(Closed));
        let accepted = senders.map(join);
        assert_eq!([taker.numbers(0).len(), taker.numbers(1).len()], accepted);
        assert!(taker.has_taken_all(), "nothing was accepted behind the door");
    });
}

#[test]
fn a_close_comes_once_and_behind_all_that_was_accepted() {
    explore(3, || {
        let (mut taker, sender) = Taker::new(ROOMY);
        let closers = [0, 1].map(|number| {
            let sender = sender.clone();
            thread::spawn(move || {
                let accepted = sender.send_all(number, 1);
                sender.queue.close(&sender.link, CloseFrame::default(), CloseCause::Local);
                assert_eq!(sender.send(number, 1), Err(Closed));
                accepted
            })
        });
        while taker.closes == 0 {
            taker.turn();
        }
        let accepted = closers.map(join);
        assert!(taker.has_taken_all());
        assert_eq!([taker.numbers(0).len(), taker.numbers(1).len()], accepted);
        assert_eq!(taker.closes, 1);
    });
}

#[test]
fn a_queue_that_is_full_closes_the_connection_and_loses_nothing_else() {
    explore(3, || {
        let (mut taker, sender) = Taker::new(2 * FRAME_SIZE);
        let senders = [0, 1].map(|number| {
            let sender = sender.clone();
            thread::spawn(move || {
                let sent = [sender.send(number, 0), sender.send(number, 1)];
                sent.into_iter().filter(|sent| *sent == Ok(Sent::Dropped)).count()
            })
        });
        taker.turn();
        // As `Peer::publish_buffered` does when the socket has taken it all.
        let flushed = taker.messages.len() * FRAME_SIZE;
        sender.link.buffered.fetch_sub(flushed, Ordering::Relaxed);
        let dropped: usize = senders.map(join).into_iter().sum();
        taker.take(false);
        assert_eq!(taker.closes, dropped);
        assert_eq!(sender.link.open.load(Ordering::Relaxed), dropped == 0);
        match dropped {
            0 => assert_eq!(taker.messages.len(), 4),
            _ => assert_eq!(dropped, 1),
        }
    });
}

#[test]
fn a_shutdown_wakes_the_loop_and_shuts_every_door() {
    explore(3, || {
        let (mut taker, sender) = Taker::new(ROOMY);
        let other = thread::spawn({
            let sender = sender.clone();
            move || sender.send_all(0, 2)
        });
        let stopper = thread::spawn({
            let queue = Arc::clone(&sender.queue);
            move || queue.shut_down(Duration::ZERO)
        });
        while !taker.shut_down {
            taker.turn();
        }
        assert_eq!(sender.send(1, 0), Err(Closed));
        assert_eq!(join(other), taker.messages.len());
        join(stopper);
        assert!(taker.has_taken_all(), "nothing was accepted behind the doors");
    });
}

#[test]
fn a_socket_that_is_adopted_while_the_loop_ends_is_taken_or_refused() {
    explore(3, || {
        let (mut taker, sender) = Taker::new(ROOMY);
        let adopters = [0, 1].map(|_| {
            let queue = Arc::clone(&sender.queue);
            thread::spawn(move || queue.adopt(adoption()).is_ok())
        });
        taker.turn();
        while !taker.queue.close_if_empty(&taker.waker) {
            taker.take(false);
        }
        let accepted = adopters.map(join).into_iter().filter(|accepted| *accepted).count();
        assert_eq!(taker.adoptions, accepted);
        assert!(!taker.queue.is_running());
    });
}

#[test]
fn a_loop_that_was_abandoned_leaves_its_successor_alone() {
    explore(3, || {
        let queue = Arc::new(Queue::<()>::new(&Config::default()));
        let loops = [0, 1].map(|_| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let waker = Arc::new(Waker::of(&Arc::new(Bell::new())));
                if queue.open(&waker) {
                    assert!(queue.adopt(adoption()).is_ok(), "only its own loop ends it");
                    assert_eq!(queue.abandon(&waker).list.len(), 1);
                }
                assert!(queue.abandon(&waker).list.is_empty());
            })
        });
        let _: [(); 2] = loops.map(join);
        assert!(!queue.is_running());
    });
}

/// A socket of no use, to adopt.
fn adoption() -> Adoption<()> {
    let (stream, _) = UnixStream::pair().expect("there are descriptors left");
    Adoption::new(OwnedFd::from(stream).into(), ())
}
