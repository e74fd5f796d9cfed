//! What a client has seen: how many messages, in how much time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What has come, how long it took, and how late the client itself was.
#[derive(Debug)]
pub struct Tally {
    begun: Instant,
    last: Instant,
    messages: u64,
    times: Vec<Duration>,
    late: Vec<Duration>,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        Self { begun: now, last: now, messages: 0, times: Vec::new(), late: Vec::new() }
    }

    /// How many messages have come.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Some more have come just now.
    pub fn came(&mut self, count: u64) {
        self.last = Instant::now();
        self.messages += count;
    }

    /// The oldest `count` of those that were on their way have come back.
    pub fn took(&mut self, sent_at: &mut VecDeque<Instant>, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(sent_at.len());
        self.times.extend(sent_at.drain(..count).map(|sent| self.last - sent));
    }

    /// One was sent that much later than it was due.
    pub fn sent_late(&mut self, late: Duration) {
        self.late.push(late);
    }

    /// All of it as a line of JSON; times are in seconds, and 0 if there are none.
    #[must_use]
    pub fn json(mut self) -> String {
        self.times.sort_unstable();
        self.late.sort_unstable();
        let [p50, p99, p999] = [500, 990, 999].map(|part| of_1000(&self.times, part));
        let [late_p99, late_p999] = [990, 999].map(|part| of_1000(&self.late, part));
        let (messages, seconds) = (self.messages, (self.last - self.begun).as_secs_f64());
        format!(
            "{{\"messages\": {messages}, \"seconds\": {seconds}, \"p50\": {p50}, \"p99\": {p99}, \
             \"p999\": {p999}, \"late_p99\": {late_p99}, \"late_p999\": {late_p999}}}"
        )
    }
}

/// Which of the sorted times so many of 1,000 do not exceed.
fn of_1000(sorted: &[Duration], part: usize) -> f64 {
    let place = (sorted.len() * part).div_ceil(1000).saturating_sub(1);
    sorted.get(place).map_or(0.0, Duration::as_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_what_so_many_do_not_exceed() {
        let times: Vec<_> = (1..=1000).map(Duration::from_secs).collect();
        for (part, seconds) in [(500, 500.0), (990, 990.0), (999, 999.0), (1000, 1000.0)] {
            assert!((of_1000(&times, part) - seconds).abs() < f64::EPSILON);
        }
        let few: Vec<_> = (1..=3).map(Duration::from_secs).collect();
        assert!((of_1000(&few, 500) - 2.0).abs() < f64::EPSILON);
        assert!((of_1000(&few, 990) - 3.0).abs() < f64::EPSILON);
        assert!(of_1000(&[], 990).abs() < f64::EPSILON);
    }

    #[test]
    fn what_was_sent_first_comes_back_first() {
        let mut tally = Tally::new();
        let mut sent_at = VecDeque::from([tally.begun, tally.begun, tally.begun]);
        tally.came(2);
        tally.took(&mut sent_at, 2);
        assert_eq!((tally.messages(), tally.times.len(), sent_at.len()), (2, 2, 1));
        tally.came(9);
        tally.took(&mut sent_at, 9); // those of others, for which nobody has a time
        assert_eq!((tally.messages(), tally.times.len(), sent_at.len()), (11, 3, 0));
    }
}
