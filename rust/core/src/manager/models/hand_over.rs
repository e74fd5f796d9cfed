//! The hand-over of the loop to the stand-in and back.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};

use crate::manager::hand_over::HandOver;
use crate::manager::sync::model::Bell;

use super::{Taker, explore, join};

/// What is lent. loom complains if two threads use it at a time, or if one uses it that need not
/// have seen what the one before it did.
struct Item {
    content: UnsafeCell<()>,
    /// Where it sleeps whoever has it, and what wakes him.
    bell: Arc<Bell>,
    /// Rings when the stand-in has taken it.
    taken: Arc<Bell>,
}

impl Item {
    fn new() -> Self {
        let content = UnsafeCell::new(());
        Self { content, bell: Arc::new(Bell::new()), taken: Arc::new(Bell::new()) }
    }

    fn use_it(&self) {
        self.content.with_mut(|_| ());
    }
}

type Shared = Arc<HandOver<Item>>;

/// A stand-in whose turns end only when it is interrupted. Returns how many loans it took over.
fn spawn_stand_in(hand_over: &Shared) -> JoinHandle<usize> {
    let hand_over = Arc::clone(hand_over);
    thread::spawn(move || {
        let mut takeovers = 0;
        while let Some(item) = hand_over.take_over() {
            takeovers += 1;
            item.taken.ring();
            while !hand_over.is_wanted() {
                item.use_it();
                item.bell.wait();
            }
            item.use_it();
            hand_over.give_back(item);
        }
        takeovers
    })
}

#[test]
fn the_item_comes_back_from_every_loan_and_is_with_one_at_a_time() {
    explore(3, || {
        let hand_over = Shared::new(HandOver::new());
        let stand_in = spawn_stand_in(&hand_over);
        let mut item = Item::new();
        let bell = Arc::clone(&item.bell);
        for _ in 0..3 {
            item.use_it();
            hand_over.lend(item);
            item = hand_over.take_back(|| bell.ring());
        }
        item.use_it();
        hand_over.finish();
        assert!(join(stand_in) <= 3);
    });
}

#[test]
fn a_loan_that_lasts_is_taken_over_though_the_stand_in_slept() {
    explore(3, || {
        let hand_over = Shared::new(HandOver::new());
        let stand_in = spawn_stand_in(&hand_over);
        let mut item = Item::new();
        let (bell, taken) = (Arc::clone(&item.bell), Arc::clone(&item.taken));
        for _ in 0..2 {
            hand_over.lend(item);
            taken.wait();
            item = hand_over.take_back(|| bell.ring());
        }
        hand_over.finish();
        assert_eq!(join(stand_in), 2);
    });
}

#[test]
fn short_loans_do_not_hide_one_that_lasts() {
    explore(3, || {
        let hand_over = Shared::new(HandOver::new());
        let stand_in = spawn_stand_in(&hand_over);
        let mut item = Item::new();
        let (bell, taken) = (Arc::clone(&item.bell), Arc::clone(&item.taken));
        hand_over.lend(item);
        item = hand_over.take_back(|| bell.ring());
        taken.silence();
        hand_over.lend(item);
        taken.wait();
        drop(hand_over.take_back(|| bell.ring()));
        hand_over.finish();
        join(stand_in);
    });
}

#[test]
fn finish_ends_the_stand_in_whatever_it_does() {
    for loans in 0..3 {
        explore(3, move || {
            let hand_over = Shared::new(HandOver::new());
            let stand_in = spawn_stand_in(&hand_over);
            let mut item = Item::new();
            let bell = Arc::clone(&item.bell);
            for _ in 0..loans {
                hand_over.lend(item);
                item = hand_over.take_back(|| bell.ring());
            }
            hand_over.finish();
            join(stand_in);
        });
    }
}

/// As when the handler panics.
#[test]
fn finish_ends_the_stand_in_while_the_item_is_lent() {
    explore(3, || {
        let hand_over = Shared::new(HandOver::new());
        let stand_in = spawn_stand_in(&hand_over);
        let item = Item::new();
        let bell = Arc::clone(&item.bell);
        hand_over.lend(item);
        hand_over.finish();
        bell.ring();
        join(stand_in);
    });
}

/// A loop of which `done` rings when it has taken a number of messages.
struct Counting {
    taker: Taker,
    count: usize,
    done: Arc<Bell>,
}

impl Counting {
    fn turn(&mut self) {
        self.taker.turn();
        if self.taker.messages.len() == self.count {
            self.done.ring();
        }
    }
}

fn spawn_stand_in_of_queue(hand_over: &Arc<HandOver<Counting>>) -> JoinHandle<()> {
    let hand_over = Arc::clone(hand_over);
    thread::spawn(move || {
        while let Some(mut counting) = hand_over.take_over() {
            while !hand_over.is_wanted() {
                counting.turn();
            }
            hand_over.give_back(counting);
        }
    })
}

/// The dispatch returns when all has been taken: nobody but the stand-in can do that.
#[test]
fn a_push_wakes_the_stand_in_while_the_loop_is_lent() {
    explore(3, || {
        let (taker, sender) = Taker::new(1 << 10);
        let (hand_over, done) = (Arc::new(HandOver::new()), Arc::new(Bell::new()));
        let stand_in = spawn_stand_in_of_queue(&hand_over);
        let other = thread::spawn({
            let sender = sender.clone();
            move || sender.send_all(0, 2)
        });
        let bell = Arc::clone(&taker.bell);
        hand_over.lend(Counting { taker, count: 3, done: Arc::clone(&done) });
        assert_eq!(sender.send_all(1, 1), 1);
        done.wait();
        let counting = hand_over.take_back(|| bell.ring());
        hand_over.finish();
        assert_eq!(join(other), 2);
        join(stand_in);
        assert_eq!(counting.taker.numbers(0), [0, 1]);
        assert!(counting.taker.has_taken_all());
    });
}

/// The loop is lent and comes back at once while messages are pushed.
#[test]
fn no_push_is_missed_while_the_loop_changes_hands() {
    explore(3, || {
        let (taker, sender) = Taker::new(1 << 10);
        let hand_over = Arc::new(HandOver::new());
        let stand_in = spawn_stand_in_of_queue(&hand_over);
        let other = thread::spawn(move || sender.send_all(0, 3));
        let bell = Arc::clone(&taker.bell);
        let mut counting = Counting { taker, count: 3, done: Arc::new(Bell::new()) };
        while counting.taker.messages.len() < 3 {
            counting.turn();
            hand_over.lend(counting);
            counting = hand_over.take_back(|| bell.ring());
        }
        hand_over.finish();
        assert_eq!(join(other), 3);
        join(stand_in);
        assert_eq!(counting.taker.numbers(0), [0, 1, 2]);
        assert!(counting.taker.has_taken_all());
    });
}
