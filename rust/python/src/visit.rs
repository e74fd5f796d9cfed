//! One wait of the acceptor.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use handy_ws_core::reception::{Happened, Poll};

/// How old an answer of the program may be that counts for those who come.
const FRESH: Duration = Duration::from_millis(50);

/// One call of `Reception.turn`.
pub(crate) struct Visit {
    /// The time that was told, and when.
    began: (Duration, Instant),
    /// When it has to be over.
    until: Option<Duration>,
    poll: Arc<Poll>,
    pub(crate) happened: Happened,
    /// When the reception has something to do by itself.
    pub(crate) due: Option<Duration>,
    /// Whether who comes may pass a gate, and when the program has said so.
    lets_in: Option<(bool, Duration)>,
}

impl Visit {
    pub(crate) fn new(now: Duration, timeout: Option<Duration>, poll: Arc<Poll>) -> Self {
        Self {
            began: (now, Instant::now()),
            until: timeout.and_then(|timeout| now.checked_add(timeout)),
            poll,
            happened: Happened::default(),
            due: None,
            lets_in: None,
        }
    }

    /// Tells the time, by the clock of whoever has told it.
    pub(crate) fn clock(&self) -> impl Fn() -> Duration + use<> {
        let (began, then) = self.began;
        move || began + then.elapsed()
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock()()
    }

    /// Waits until something has happened, unless there is something that is not seen to; or until it is
    /// time for something.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        if !self.happened.is_empty() {
            return Ok(());
        }
        let until = [self.due, self.until].into_iter().flatten().min();
        let timeout = until.map(|until| until.saturating_sub(self.now()));
        self.poll.wait(&mut self.happened, timeout)
    }

    /// Whether there is something for the reception.
    pub(crate) fn concerns_reception(&self, now: Duration) -> bool {
        self.happened.concerns_reception() || self.due.is_some_and(|due| due <= now)
    }

    /// Whether there is something for others, or no more time.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        self.happened.concerns_others() || self.until.is_some_and(|until| until <= now)
    }

    /// Whether those who come now may pass a gate. `None`: the program has to be asked.
    pub(crate) fn answer(&self, now: Duration) -> Option<bool> {
        self.lets_in.and_then(|(lets_in, asked)| (now < asked + FRESH).then_some(lets_in))
    }

    /// What the program says now.
    pub(crate) fn set_answer(&mut self, lets_in: bool) {
        self.lets_in = Some((lets_in, self.now()));
    }
}
