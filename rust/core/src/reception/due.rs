//! Until when each client may take.
//!
//! All have the same time, so who came first is late first: a queue. Who leaves stays in it until
//! its place is looked at.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Due {
    places: VecDeque<Place>,
}

#[derive(Debug)]
struct Place {
    time: Duration,
    fd: RawFd,
    /// Whose descriptor that is.
    id: u64,
}

impl Due {
    pub(super) fn add(&mut self, time: Duration, fd: RawFd, id: u64) {
        self.places.push_back(Place { time, fd, id });
    }

    /// The time of the first that is still here.
    pub(super) fn next(&mut self, is_here: impl Fn(RawFd, u64) -> bool) -> Option<Duration> {
        while let Some(first) = self.places.front() {
            if is_here(first.fd, first.id) {
                return Some(first.time);
            }
            self.places.pop_front();
        }
        self.places.shrink_to(64);
        None
    }

    /// Takes out the first that is still here, if its time is over.
    pub(super) fn pop(
        &mut self,
        now: Duration,
        is_here: impl Fn(RawFd, u64) -> bool,
    ) -> Option<RawFd> {
        if self.next(is_here)? > now {
            return None;
        }
        self.places.pop_front().map(|place| place.fd)
    }
}
