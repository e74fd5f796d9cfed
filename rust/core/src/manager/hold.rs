//! What a handler keeps of one peer's messages for later, and how that peer is read again.
//!
//! The loop does not read a peer of which too much is kept, and whoever brings the sum below half
//! of the limit tells the loop to go on. The two sides meet without a lock:
//!
//! ```text
//!   the loop, stop():              any thread, take():
//!     1. resume_at = limit / 2       3. bytes -= what is dealt with
//!     2. look at bytes               4. look at resume_at, and take it
//! ```
//!
//! All four are sequentially consistent, so they have one order that both threads see. If 3 is
//! before 2, the loop sees itself that there is room. If 3 is behind 2, then 4 is behind 1, and the
//! other thread sees that it is waited for. So one of them always goes on, and since only one can
//! take `resume_at` away, not both. A stop is only made, and `add` only called, while something is
//! left that will be taken.

use std::sync::atomic::Ordering::SeqCst;

use super::sync::AtomicUsize;

/// The value of `resume_at` for a peer that nobody has stopped.
const READING: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct Hold {
    bytes: AtomicUsize,
    /// The sum at which the peer is to be read again.
    resume_at: AtomicUsize,
}

impl Hold {
    pub(super) fn new() -> Self {
        Self { bytes: AtomicUsize::new(0), resume_at: AtomicUsize::new(READING) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(SeqCst)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, SeqCst);
    }

    /// Takes bytes off that were added. Returns whether the loop is to be told that it can read
    /// the peer again.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let left = self.bytes.fetch_sub(bytes, SeqCst).saturating_sub(bytes);
        let resume_at = self.resume_at.load(SeqCst);
        resume_at != READING && left <= resume_at && self.end_stop()
    }

    /// Notes that the peer is not read until no more than half of the limit is kept. Returns false
    /// if that is so already.
    pub(super) fn stop(&self, limit: usize) -> bool {
        let resume_at = limit / 2;
        self.resume_at.store(resume_at, SeqCst);
        // If another thread has ended the stop by now, it also tells the loop.
        self.bytes() > resume_at || !self.end_stop()
    }

    /// Whether it was this call that ended the stop.
    fn end_stop(&self) -> bool {
        self.resume_at.swap(READING, SeqCst) != READING
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn whoever_brings_it_to_half_of_the_limit_resumes_once() {
        let hold = Hold::new();
        hold.add(60);
        hold.add(60);
        assert!(hold.stop(100));
        assert!(!hold.take(60), "60 is still more than half");
        hold.add(10);
        assert!(!hold.take(10));
        assert!(hold.take(60));
        assert_eq!(hold.bytes(), 0);
        hold.add(1);
        assert!(!hold.take(1), "it was told already");
    }

    #[test]
    fn a_stop_that_comes_too_late_is_none() {
        let hold = Hold::new();
        hold.add(50);
        assert!(!hold.stop(100));
        assert!(!hold.take(50), "nobody waits");
    }

    /// The loop stops whenever it finds too much, and goes on when it is told to: it must always
    /// be told, and never twice.
    #[test]
    fn no_wake_up_is_missed() {
        const MESSAGES: usize = 200_000;
        let hold = Hold::new();
        let (messages, received) = mpsc::channel();
        let (resume, resumed) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                for () in received {
                    if hold.take(10) {
                        resume.send(()).unwrap();
                    }
                }
                drop(resume);
            });
            for _ in 0..MESSAGES {
                while hold.bytes() > 20 && hold.stop(20) {
                    let time = std::time::Duration::from_secs(20);
                    resumed.recv_timeout(time).expect("somebody resumes");
                }
                hold.add(10);
                messages.send(()).unwrap();
            }
            drop(messages);
        });
        assert_eq!(resumed.try_iter().count(), 0, "nobody was told twice");
        assert_eq!(hold.bytes(), 0);
    }
}
