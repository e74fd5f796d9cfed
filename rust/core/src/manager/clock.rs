//! The loop's time, and what of it the process has lost.
//!
//! The loop reads the clock once a turn, when its wait ends. If that is much later than it had
//! planned, the process did not run: it was stopped, or the machine had no time for it. Its peers
//! may have done all that they should, and it has not had the time to see that. So they are given
//! as much time again, though never more than they get anyway.

use std::time::{Duration, Instant};

/// What a busy machine does to every thread now and then is no loss.
const TOLERANCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Clock {
    now: Instant,
    /// When the wait has begun.
    began: Instant,
    /// When it should be over at the latest; `None` if only an event ends it.
    planned: Option<Instant>,
    /// When what it has brought may have come.
    came_at: Instant,
    /// The end of the last gap, and the time after it in which nobody is blamed.
    resumed_at: Instant,
    grace: Duration,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        let grace = Duration::ZERO;
        Self { now, began: now, planned: None, came_at: now, resumed_at: now, grace }
    }

    /// The end of the last wait.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Notes that there is no wait: it is only looked at what has happened.
    pub(super) fn plan_no_wait(&mut self) {
        self.plan(self.now, Some(self.now));
    }

    /// Notes that a wait begins, and until when it may last.
    pub(super) fn plan(&mut self, began: Instant, end: Option<Instant>) {
        self.began = began;
        self.planned = end.map(|end| end.max(self.now));
    }

    /// Notes that the wait is over.
    pub(super) fn advance(&mut self, now: Instant) {
        let looked = std::mem::replace(&mut self.now, now);
        let lost = self.planned.map_or(Duration::ZERO, |end| now.saturating_duration_since(end));
        let has_slept = now.saturating_duration_since(self.began) > TOLERANCE;
        self.came_at = if has_slept { before(now, lost.max(TOLERANCE)) } else { looked };
        if lost > TOLERANCE {
            let left = (self.resumed_at + self.grace).saturating_duration_since(now);
            self.resumed_at = now;
            self.grace = lost.max(left);
        }
    }

    /// The deadline of somebody who had `timeout` and may not have been seen in time.
    pub(super) fn fair(&self, deadline: Instant, timeout: Duration) -> Instant {
        deadline.max(self.resumed_at + self.grace.min(timeout))
    }

    /// When what the wait has brought may have come at the earliest: in the time the process has lost;
    /// when nobody looked, before the wait; or when this thread, woken, was kept from running.
    pub(super) fn came_at(&self) -> Instant {
        self.came_at
    }

    /// Whether the process has run on since that moment.
    pub(super) fn ran_since(&self, moment: Instant) -> bool {
        moment >= self.resumed_at
    }
}

fn before(now: Instant, time: Duration) -> Instant {
    now.checked_sub(time).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(time: u64) -> Duration {
        Duration::from_secs(time)
    }

    /// A clock whose wait should have ended at 10 s and has ended later.
    fn late(start: Instant, end: Duration) -> Clock {
        let mut clock = Clock::new(start);
        clock.plan(start, Some(start + seconds(10)));
        clock.advance(start + end);
        clock
    }

    #[test]
    fn a_wait_that_ends_in_time_changes_no_deadline() {
        let start = Instant::now();
        for end in [seconds(1), seconds(10), seconds(10) + TOLERANCE] {
            let clock = late(start, end);
            assert_eq!(clock.now(), start + end);
            assert_eq!(clock.fair(start + seconds(9), seconds(20)), start + seconds(9));
            assert!(clock.ran_since(start));
        }
    }

    #[test]
    fn what_the_end_of_a_gap_brings_may_have_come_in_it() {
        let start = Instant::now();
        let mut clock = late(start, seconds(15));
        assert_eq!(clock.came_at(), start + seconds(10));
        clock.plan(start + seconds(15), Some(start + seconds(20)));
        clock.advance(start + seconds(20));
        assert_eq!(clock.came_at(), before(start + seconds(20), TOLERANCE));
    }

    #[test]
    fn what_a_wait_brings_at_once_may_have_come_since_the_last_one() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        clock.plan_no_wait();
        clock.advance(start + seconds(1));
        assert_eq!(clock.came_at(), start);
        clock.plan(start + seconds(4), None);
        clock.advance(start + seconds(4) + TOLERANCE);
        assert_eq!(clock.came_at(), start + seconds(1));
    }

    #[test]
    fn what_ends_a_sleep_has_come_about_then() {
        let start = Instant::now();
        for end in [None, Some(start + seconds(9))] {
            let mut clock = Clock::new(start);
            clock.plan(start + seconds(3), end);
            clock.advance(start + seconds(9));
            assert_eq!(clock.came_at(), before(start + seconds(9), TOLERANCE));
        }
    }

    #[test]
    fn lost_time_is_given_again() {
        let start = Instant::now();
        let clock = late(start, seconds(13));
        assert_eq!(clock.fair(start + seconds(9), seconds(20)), start + seconds(16));
        assert_eq!(clock.fair(start + seconds(17), seconds(20)), start + seconds(17));
        assert!(!clock.ran_since(start + seconds(12)));
        assert!(clock.ran_since(start + seconds(13)));
    }

    #[test]
    fn nobody_gets_more_than_the_whole_timeout() {
        let start = Instant::now();
        let clock = late(start, seconds(3610));
        assert_eq!(clock.fair(start + seconds(9), seconds(20)), start + seconds(3630));
    }

    #[test]
    fn a_turn_that_lasts_is_lost_time_as_well() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        clock.advance(start + seconds(1));
        clock.plan_no_wait();
        clock.advance(start + seconds(4));
        assert_eq!(clock.fair(start, seconds(20)), start + seconds(7));
    }

    #[test]
    fn a_second_gap_does_not_shorten_what_the_first_one_gave() {
        let start = Instant::now();
        let mut clock = late(start, seconds(15));
        clock.plan(start + seconds(15), Some(start + seconds(16)));
        clock.advance(start + seconds(17));
        assert_eq!(clock.fair(start, seconds(20)), start + seconds(20));
    }

    #[test]
    fn a_wait_without_end_loses_nothing() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        clock.plan(start, None);
        clock.advance(start + seconds(1000));
        assert_eq!(clock.fair(start, seconds(20)), start);
    }
}
