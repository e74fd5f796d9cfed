//! When to look at which connection again: a timing wheel that traffic does not touch.
//!
//! A hashed wheel (Varghese and Lauck, 1987): time goes round in ticks, and each spoke holds a list
//! of the connections that are to be looked at in its tick. Every connection has at most one
//! entry, for the nearest of its deadlines as it was when somebody last asked. Whatever moves a
//! deadline away, and that is all traffic, does nothing here; when the tick comes, the owner works
//! out the true deadline and arms again. A deadline beyond the last spoke waits on one of the last, and
//! is armed again likewise; many wait there together, so that they wake an idle loop a few times a
//! round, and not each by itself.
//!
//! Deadlines are rounded up to the next tick, so that none comes early. The lists run through one
//! vector that is indexed by the connections' slots: arming and disarming take constant time, and
//! allocate only when there are more connections than ever before.

use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(20);
const TICKS_PER_SECOND: u64 = 50;

/// A round takes 20.48 s: one more than the default time between two PINGs.
const SPOKES: usize = 1024;

/// What is farther away than a round waits for a tick that is a multiple of it: 1.28 s.
const FAR: u64 = 64;

/// The list of what is due, behind those of the spokes.
const DUE: usize = SPOKES;

/// No slot, or no list.
const NONE: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct Wheel {
    epoch: Instant,
    /// The first tick that has not passed. The ticks from here to the end of the round are the
    /// ones that a spoke can stand for.
    first: u64,
    /// The first slot on each list.
    heads: Vec<usize>,
    /// A bit for each spoke: whether its list has any slot.
    occupied: [u64; SPOKES / 64],
    /// Indexed by slot.
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The list that the slot is on.
    list: usize,
    previous: usize,
    next: usize,
}

impl Entry {
    const OUT: Self = Self { list: NONE, previous: NONE, next: NONE };
}

impl Wheel {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            first: 1,
            heads: vec![NONE; SPOKES + 1],
            occupied: [0; SPOKES / 64],
            entries: Vec::new(),
        }
    }

    /// Sees to it that a slot comes up at a deadline, or soon after it. What is armed for an
    /// earlier moment stays as it is.
    pub(super) fn arm(&mut self, slot: usize, deadline: Instant) {
        if slot >= self.entries.len() {
            self.entries.resize(slot + 1, Entry::OUT);
        }
        let round_up = TICK.saturating_sub(Duration::from_nanos(1));
        let time = deadline.saturating_duration_since(self.epoch).saturating_add(round_up);
        let (exact, last) = (whole_ticks(time), self.first + SPOKES as u64 - 1);
        let tick = if exact > last { last - last % FAR } else { exact.max(self.first) };
        match self.entries[slot].list {
            NONE => {}
            DUE => return,
            spoke if self.tick(spoke) <= tick => return,
            _ => self.unlink(slot),
        }
        self.link(slot, spoke(tick));
    }

    /// Forgets a slot.
    pub(super) fn disarm(&mut self, slot: usize) {
        if self.entries.get(slot).is_some_and(|entry| entry.list != NONE) {
            self.unlink(slot);
        }
    }

    /// Lets time pass: what is due by now can be popped, and what is armed from now on is not due
    /// before the next tick.
    pub(super) fn advance(&mut self, now: Instant) {
        let passed = whole_ticks(now.saturating_duration_since(self.epoch));
        if passed < self.first {
            return;
        }
        while let Some(tick) = self.nearest()
            && tick <= passed
        {
            while let slot @ 0..NONE = self.heads[spoke(tick)] {
                self.unlink(slot);
                self.link(slot, DUE);
            }
        }
        self.first = passed + 1;
    }

    /// Takes out a slot that is due.
    pub(super) fn pop(&mut self) -> Option<usize> {
        let slot = self.heads[DUE];
        (slot != NONE).then(|| {
            self.unlink(slot);
            slot
        })
    }

    /// When there is something to pop; `None` if nothing is armed.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = (self.heads[DUE] != NONE).then_some(self.first - 1);
        let tick = due.or_else(|| self.nearest())?;
        Some(
            self.epoch
                + Duration::from_secs(tick / TICKS_PER_SECOND)
                + TICK * u32::try_from(tick % TICKS_PER_SECOND).unwrap_or_default(),
        )
    }

    /// The first tick whose spoke has any slot.
    fn nearest(&self) -> Option<u64> {
        let start = spoke(self.first);
        let words = self.occupied.len();
        let mut bits = self.occupied[start / 64] & (!0 << (start % 64));
        // Once round, and then what stands before the start in the word where it began.
        for word in start / 64..=start / 64 + words {
            if bits != 0 {
                return Some(self.tick(word % words * 64 + bits.trailing_zeros() as usize));
            }
            bits = self.occupied[(word + 1) % words];
        }
        None
    }

    /// The tick that a spoke stands for in this round.
    fn tick(&self, spoke: usize) -> u64 {
        self.first + (spoke as u64).wrapping_sub(self.first) % SPOKES as u64
    }

    fn link(&mut self, slot: usize, list: usize) {
        let next = std::mem::replace(&mut self.heads[list], slot);
        self.entries[slot] = Entry { list, previous: NONE, next };
        if next != NONE {
            self.entries[next].previous = slot;
        }
        if list < SPOKES {
            self.occupied[list / 64] |= 1 << (list % 64);
        }
    }

    fn unlink(&mut self, slot: usize) {
        let Entry { list, previous, next } = std::mem::replace(&mut self.entries[slot], Entry::OUT);
        if next != NONE {
            self.entries[next].previous = previous;
        }
        if previous != NONE {
            self.entries[previous].next = next;
            return;
        }
        self.heads[list] = next;
        if next == NONE && list < SPOKES {
            self.occupied[list / 64] &= !(1 << (list % 64));
        }
    }
}

fn whole_ticks(time: Duration) -> u64 {
    let ticks = u64::from(time.subsec_millis()) / (1000 / TICKS_PER_SECOND);
    time.as_secs().saturating_mul(TICKS_PER_SECOND).saturating_add(ticks)
}

#[expect(clippy::cast_possible_truncation, reason = "what is cut off is below the remainder")]
const fn spoke(tick: u64) -> usize {
    (tick % SPOKES as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const fn millis(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    fn pop_all(wheel: &mut Wheel, now: Instant) -> Vec<usize> {
        wheel.advance(now);
        std::iter::from_fn(|| wheel.pop()).collect()
    }

    #[test]
    fn a_deadline_comes_up_at_the_end_of_its_tick_and_once() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        assert_eq!(wheel.next(), None);
        wheel.arm(3, start + Duration::from_nanos(100_000_001));
        assert_eq!(wheel.next(), Some(start + millis(120)));
        assert_eq!(pop_all(&mut wheel, start + Duration::from_nanos(119_999_999)), []);
        assert_eq!(pop_all(&mut wheel, start + millis(120)), [3]);
        assert_eq!(pop_all(&mut wheel, start + millis(140)), []);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn the_nearest_deadline_counts() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.arm(0, start + millis(5000));
        wheel.arm(0, start + millis(9000));
        assert_eq!(wheel.next(), Some(start + millis(5000)));
        wheel.arm(0, start + millis(1000));
        assert_eq!(wheel.next(), Some(start + millis(1000)));
        assert_eq!(pop_all(&mut wheel, start + millis(9000)), [0]);
    }

    #[test]
    fn what_is_far_away_is_looked_at_together() {
        let start = Instant::now();
        let hour = start + Duration::from_secs(3600);
        let mut wheel = Wheel::new(start);
        let slots: Vec<usize> = (0..64).collect();
        for slot in &slots {
            wheel.advance(start + TICK * u32::try_from(*slot).unwrap());
            wheel.arm(*slot, hour);
        }
        for _round in 0..3 {
            let next = wheel.next().unwrap();
            let mut popped = pop_all(&mut wheel, next);
            popped.sort_unstable();
            assert_eq!(popped, slots);
            for slot in popped {
                wheel.arm(slot, hour);
            }
        }
    }

    #[test]
    fn what_is_past_already_is_due_in_the_next_tick() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.advance(start + millis(1010));
        wheel.arm(0, start);
        assert_eq!(wheel.pop(), None);
        assert_eq!(wheel.next(), Some(start + millis(1020)));
        assert_eq!(pop_all(&mut wheel, start + millis(1020)), [0]);
    }

    #[test]
    fn what_is_due_stays_due_until_it_is_popped_or_disarmed() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for slot in 0..3 {
            wheel.arm(slot, start + millis(20));
        }
        wheel.advance(start + millis(60));
        assert_eq!(wheel.next(), Some(start + millis(60)));
        wheel.disarm(1);
        wheel.arm(2, start + millis(500));
        let rest: BTreeSet<usize> = pop_all(&mut wheel, start + millis(5000)).into_iter().collect();
        assert_eq!(rest, BTreeSet::from([0, 2]));
    }

    #[test]
    fn a_deadline_beyond_the_last_spoke_waits_there() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let far = start + Duration::from_secs(1 << 32);
        wheel.arm(0, far);
        let end = start + TICK * 1024;
        assert_eq!(wheel.next(), Some(end));
        assert_eq!(pop_all(&mut wheel, end), [0]);
        wheel.arm(0, far);
        assert_eq!(wheel.next(), Some(end + TICK * 1024));
    }

    #[test]
    fn memory_is_taken_for_slots_and_not_for_deadlines() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for round in 0..10_000 {
            let now = start + millis(7 * round);
            for slot in 0..10 {
                wheel.arm(slot, now + millis(round * (slot as u64 + 1) % 3000));
            }
            pop_all(&mut wheel, now);
        }
        assert!(wheel.entries.capacity() < 20);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Arm { slot: usize, ahead: u64 },
        Disarm { slot: usize },
        Pass { micros: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let slot = || 0_usize..40;
        let step = prop_oneof![
            4 => (slot(), 0_u64..5_000_000).prop_map(|(slot, ahead)| Step::Arm { slot, ahead }),
            1 => (slot(), 0_u64..90_000_000).prop_map(|(slot, ahead)| Step::Arm { slot, ahead }),
            1 => slot().prop_map(|slot| Step::Disarm { slot }),
            3 => (0_u64..400_000).prop_map(|micros| Step::Pass { micros }),
            1 => (0_u64..70_000_000).prop_map(|micros| Step::Pass { micros }),
        ];
        prop::collection::vec(step, 1..120)
    }

    /// The end of the tick that a moment is in.
    fn round_up(start: Instant, moment: Instant) -> Instant {
        let nanos = (moment - start).as_nanos().div_ceil(TICK.as_nanos());
        start + TICK * u32::try_from(nanos).unwrap()
    }

    proptest! {
        /// Beside a map of the true deadlines, whose owner arms again what comes up too early.
        #[test]
        fn every_deadline_comes_up_when_it_should(steps in steps()) {
            let start = Instant::now();
            let mut now = start;
            let mut wheel = Wheel::new(start);
            let mut model: BTreeMap<usize, Instant> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Arm { slot, ahead } => {
                        // Not before the next tick: that is a rule of its own.
                        let deadline = now + TICK + Duration::from_micros(ahead);
                        let nearest = model.entry(slot).or_insert(deadline);
                        *nearest = deadline.min(*nearest);
                        wheel.arm(slot, deadline);
                    }
                    Step::Disarm { slot } => {
                        model.remove(&slot);
                        wheel.disarm(slot);
                    }
                    Step::Pass { micros } => {
                        now += Duration::from_micros(micros);
                        wheel.advance(now);
                        while let Some(slot) = wheel.pop() {
                            match model[&slot] {
                                deadline if deadline <= now => model.remove(&slot),
                                deadline => {
                                    wheel.arm(slot, deadline);
                                    None
                                }
                            };
                        }
                        let late = model.values().find(|d| round_up(start, **d) <= now);
                        prop_assert_eq!(late, None);
                    }
                }
                let passed = u32::try_from(whole_ticks(now - start)).unwrap();
                let horizon = start + TICK * (1024 + passed);
                let next = model.values().map(|deadline| round_up(start, *deadline)).min();
                let bounded = next.map(|next| next.min(horizon));
                // What waits at the end of an older round comes up earlier, never later.
                match (wheel.next(), bounded) {
                    (None, None) => {}
                    (Some(wheels), Some(models)) => {
                        prop_assert!(wheels <= models && wheels > now);
                        prop_assert!(wheels == models || model.values().any(|d| *d > wheels));
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}
