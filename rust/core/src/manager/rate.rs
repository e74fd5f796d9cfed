//! How fast one peer may send messages.
//!
//! A bucket holds a second's worth of messages, one at least; each message takes one out, and as
//! many flow in a second as may come in a second. A peer that finds it empty is too fast.
//!
//! It is the peer's clock that counts, not ours. What has waited in the socket while we were busy
//! elsewhere came in its own time, so from the moment that there may have been something to read, to
//! the one when all is read, the bucket does not overflow.
//!
//! Whole text and binary messages count. PINGs do not: the loop answers them by itself, for a
//! fraction of what a callback costs, and their answers are bounded like all output.

use std::time::Instant;

/// What computing with fractions may lose: no client is to be closed for that.
const ROUNDING: f64 = 1e-6;

/// The limit for one peer, if there is one: without, it costs nothing.
#[derive(Debug)]
pub(super) struct MessageRate {
    bucket: Option<Box<Bucket>>,
}

impl MessageRate {
    pub(super) fn new(per_second: Option<f64>, now: Instant) -> Self {
        let bucket = |per_second| Box::new(Bucket::new(per_second, now));
        Self { bucket: per_second.map(bucket) }
    }

    /// Notes that there is something to read, which may have come at that time.
    pub(super) fn readable(&mut self, since: Instant) {
        if let Some(bucket) = &mut self.bucket {
            bucket.readable(since);
        }
    }

    /// Notes that all is read.
    pub(super) fn drained(&mut self) {
        if let Some(bucket) = &mut self.bucket {
            bucket.drained();
        }
    }

    /// Counts a message of a turn that has begun at that time. False if the peer is too fast: even if
    /// the message has come since then.
    pub(super) fn allows_message(&mut self, turn: Instant) -> bool {
        let allows = |bucket: &mut Box<Bucket>| bucket.take(turn) || bucket.take(Instant::now());
        self.bucket.as_mut().is_none_or(allows)
    }
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// Messages that might have come at once at the time of `refilled`.
    tokens: f64,
    refilled: Instant,
    /// When the socket had something to read, if it has not been read empty since.
    unread_since: Option<Instant>,
}

impl Bucket {
    fn new(per_second: f64, now: Instant) -> Self {
        let tokens = burst(per_second);
        Self { per_second, tokens, refilled: now, unread_since: None }
    }

    fn readable(&mut self, since: Instant) {
        self.unread_since.get_or_insert(since);
    }

    fn drained(&mut self) {
        self.unread_since = None;
        self.tokens = self.tokens.min(burst(self.per_second));
    }

    /// Takes one message out. False if there is none.
    fn take(&mut self, now: Instant) -> bool {
        let came = self.unread_since.map_or(now, |since| since.min(now));
        if came > self.refilled {
            self.flow(came);
            self.tokens = self.tokens.min(burst(self.per_second));
        }
        self.flow(now);
        let any = self.tokens >= 1.0 - ROUNDING;
        if any {
            self.tokens -= 1.0;
        }
        any
    }

    fn flow(&mut self, until: Instant) {
        let time = until.saturating_duration_since(self.refilled);
        self.tokens += time.as_secs_f64() * self.per_second;
        self.refilled = self.refilled.max(until);
    }
}

/// How many messages may come at once.
fn burst(per_second: f64) -> f64 {
    per_second.max(1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// How many of `count` messages that are read at once are accepted.
    fn accepted(bucket: &mut Bucket, now: Instant, count: u32) -> u32 {
        (0..count).map(|_| u32::from(bucket.take(now))).sum()
    }

    #[test]
    fn a_seconds_worth_may_come_at_once_and_then_only_what_flows_in() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        assert_eq!(accepted(&mut bucket, start, 20), 10);
        assert_eq!(accepted(&mut bucket, start + 99 * MILLISECOND, 5), 0);
        assert_eq!(accepted(&mut bucket, start + 100 * MILLISECOND, 5), 1);
        assert_eq!(accepted(&mut bucket, start + 400 * MILLISECOND, 5), 3);
        assert_eq!(accepted(&mut bucket, start + Duration::from_secs(3600), 50), 10);
    }

    #[test]
    fn one_message_may_always_come_if_time_enough_has_passed() {
        let start = Instant::now();
        let mut bucket = Bucket::new(0.25, start);
        assert_eq!(accepted(&mut bucket, start, 2), 1);
        assert_eq!(accepted(&mut bucket, start + 3999 * MILLISECOND, 1), 0);
        assert_eq!(accepted(&mut bucket, start + 4000 * MILLISECOND, 2), 1);
    }

    #[test]
    fn what_waited_for_us_came_in_the_peers_own_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        // It has been quiet for a minute, which is worth nothing, and then has sent for five
        // seconds while nobody read.
        let minute = start + Duration::from_secs(60);
        bucket.readable(minute);
        assert_eq!(accepted(&mut bucket, minute + Duration::from_secs(5), 100), 10 + 50);
        bucket.drained();
        assert_eq!(accepted(&mut bucket, minute + Duration::from_secs(7), 100), 10);
    }

    #[test]
    fn what_was_saved_while_unread_is_lost_when_all_is_read() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        bucket.readable(start);
        let later = start + Duration::from_secs(60);
        assert_eq!(accepted(&mut bucket, later, 1), 1);
        bucket.drained();
        assert_eq!(accepted(&mut bucket, later, 100), 10);
    }

    #[test]
    fn what_comes_in_the_midst_of_a_turn_is_judged_by_then() {
        let now = Instant::now();
        let turn = now.checked_sub(Duration::from_secs(2)).unwrap();
        let mut rate = MessageRate::new(Some(0.9), turn);
        rate.readable(turn);
        // The one that the bucket holds, and one for the two seconds since then, not two.
        assert_eq!([(); 3].map(|()| rate.allows_message(turn)), [true, true, false]);
    }

    proptest! {
        /// However late we read, nobody is refused who sends no faster than allowed.
        #[test]
        fn a_peer_that_keeps_to_the_rate_is_never_refused(
            per_second in 1..1000_u32,
            delays in prop::collection::vec(0..20_u32, 1..50),
        ) {
            let start = Instant::now();
            let interval = Duration::from_secs(1) / per_second + Duration::from_nanos(1);
            let mut bucket = Bucket::new(per_second.into(), start);
            // A whole second's worth at once, first, so that the bucket is as empty as can be.
            let mut sent = start;
            prop_assert!((0..per_second).all(|_| bucket.take(start)));
            for delay in delays {
                // `delay` messages come before the first of them is read.
                let times: Vec<Instant> = (1..=delay + 1).map(|count| sent + interval * count).collect();
                bucket.readable(times[0]);
                sent = *times.last().unwrap();
                prop_assert!(times.iter().all(|_| bucket.take(sent)));
                bucket.drained();
            }
        }

        /// In any time, no more come in than a burst and what flows in.
        #[test]
        fn a_peer_that_is_read_at_once_gets_no_more_than_the_rate(
            per_second in 0.1..100.0_f64,
            bursts in prop::collection::vec((0..3000_u64, 0..50_u32), 1..50),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(per_second, start);
            let mut now = start;
            let mut total = 0;
            for (pause, count) in bursts {
                now += Duration::from_millis(pause);
                bucket.readable(now);
                total += accepted(&mut bucket, now, count);
                bucket.drained();
                let most = burst(per_second) + (now - start).as_secs_f64() * per_second;
                prop_assert!(f64::from(total) <= most + 0.01, "{total} > {most}");
            }
        }
    }
}
