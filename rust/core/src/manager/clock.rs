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
    /// When the wait should be over at the latest; `None` if only an event ends it.
    planned: Option<Instant>,
    /// The end of the last gap, and the time after it in which nobody is blamed.
    resumed_at: Instant,
    grace: Duration,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Self { now, planned: None, resumed_at: now, grace: Duration::ZERO }
    }

    /// The end of the last wait.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Notes until when a wait may last. Without a wait that is now.
    pub(super) fn plan(&mut self, end: Option<Instant>) {
        self.planned = end.map(|end| end.max(self.now));
    }

    /// Notes that the wait is over.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = now;
        let Some(planned) = self.planned else { return };
        let lost = now.saturating_duration_since(planned);
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

    /// When what the last wait has brought may have come: in the time that the process has lost.
    pub(super) fn came_at(&self) -> Instant {
        let lost = if self.resumed_at == self.now { self.grace } else { Duration::ZERO };
        self.now.checked_sub(lost).unwrap_or(self.now)
    }

    /// Whether the process has run on since that moment.
    pub(super) fn ran_since(&self, moment: Instant) -> bool {
        moment >= self.resumed_at
    }
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
        clock.plan(Some(start + seconds(10)));
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
        clock.plan(Some(start + seconds(20)));
        clock.advance(start + seconds(20));
        assert_eq!(clock.came_at(), start + seconds(20));
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
        clock.plan(Some(start)); // there was something to do: no wait
        clock.advance(start + seconds(4));
        assert_eq!(clock.fair(start, seconds(20)), start + seconds(7));
    }

    #[test]
    fn a_second_gap_does_not_shorten_what_the_first_one_gave() {
        let start = Instant::now();
        let mut clock = late(start, seconds(15));
        clock.plan(Some(start + seconds(16)));
        clock.advance(start + seconds(17));
        assert_eq!(clock.fair(start, seconds(20)), start + seconds(20));
    }

    #[test]
    fn a_wait_without_end_loses_nothing() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        clock.plan(None);
        clock.advance(start + seconds(1000));
        assert_eq!(clock.fair(start, seconds(20)), start);
    }
}
