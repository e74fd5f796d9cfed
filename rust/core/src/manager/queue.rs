//! The command queue: how any thread reaches the loop.
//!
//! One mutex guards it all, and it is held for a push or a swap only. Small frames are encoded
//! straight into the queue's arena, and a run of frames with the same receivers becomes one
//! command: sixteen replies to one client are one copy later on, and consecutive broadcasts leave
//! as one buffer. The loop takes everything at once by swapping the whole queue with an empty one.
//!
//! Waking a sleeping thread costs a hundred times what a push costs, so it happens only if the
//! loop has said, under the same mutex, that it is about to sleep.

mod command;
mod sending;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::proto::{CloseCode, CloseFrame};

use super::connection::{CloseCause, Link};
use super::counters::Counters;
use super::fork::PerProcess;
use super::output::Dropped;
use super::peer::Stage;
use super::sync::{MutexGuard, Waker};
use super::{Config, SlowConsumer};

pub use command::Adoption;
pub(super) use command::{Address, Audience, Command, Commands, Frames, Target};
pub(super) use sending::Body;

/// Frames up to this size are copied into the arena, under the lock; larger ones are encoded into
/// a buffer of their own before the lock is taken. A frame around a lent payload is neither.
const ARENA_FRAME_SIZE: usize = 64 * 1024;

/// The manager's loop does not run: it has not been started, or it has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the WebSocket manager is not running")]
pub struct NotRunning;

/// By default that of a queue without a loop.
#[derive(Debug)]
struct State<C> {
    commands: Commands<C>,
    /// The loop is in its wait, or about to enter it, and wants to be woken.
    asleep: bool,
    /// There while a loop runs.
    waker: Option<Arc<Waker>>,
    /// Adoptions do not wake the loop, since more of them follow.
    holds_adoptions: bool,
    /// How often the loop has taken the commands.
    takings: u64,
    /// What was dropped here, ever, and has never been a command.
    losses: Losses,
}

#[derive(Debug, Default)]
struct Losses {
    messages: Dropped,
    broadcasts: u64,
}

impl<C> Default for State<C> {
    fn default() -> Self {
        Self {
            commands: Commands::default(),
            asleep: false,
            waker: None,
            holds_adoptions: false,
            takings: 0,
            losses: Losses::default(),
        }
    }
}

impl<C> State<C> {
    /// Whether that is the loop which the commands are for; it may have been left behind.
    fn is_for(&self, waker: &Arc<Waker>) -> bool {
        self.waker.as_ref().is_some_and(|current| Arc::ptr_eq(current, waker))
    }
}

/// The queue between all threads and the loop.
#[derive(Debug)]
pub(super) struct Queue<C> {
    state: PerProcess<State<C>>,
    policy: SlowConsumer,
    send_limit: usize,
    broadcast_limit: usize,
    /// How many bytes of frames may be one command: a run is sent whole or not at all, and so it
    /// must not be longer than what may wait.
    run_limit: usize,
}

impl<C> Queue<C> {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            state: PerProcess::new(State::default()),
            policy: config.slow_consumer,
            send_limit: config.send_queue_limit,
            broadcast_limit: config.broadcast_queue_limit,
            run_limit: config.send_queue_limit.min(ARENA_FRAME_SIZE),
        }
    }

    // What any thread calls.

    pub(super) fn close(&self, link: &Link, frame: CloseFrame, cause: CloseCause) {
        let state = self.lock();
        if link.open.load(Ordering::Relaxed) {
            push(state, close_command(link, frame, cause));
        }
    }

    /// Moves a deferred peer on in its life.
    pub(super) fn advance(&self, target: Target, stage: Stage) {
        self.push_to_loop(Command::Advance { target, stage });
    }

    /// Has a deferred peer be answered: nothing is accepted for it behind that.
    pub(super) fn answer(&self, link: &Link) {
        let state = self.lock();
        link.shut();
        if state.waker.is_some() {
            push(state, Command::Answer(link.target()));
        }
    }

    /// Has a peer be read again, if that was stopped.
    pub(super) fn resume(&self, target: Target) {
        self.push_to_loop(Command::Resume(target));
    }

    /// For what may come when the loop, and the connection with it, is long gone.
    fn push_to_loop(&self, command: Command<C>) {
        let state = self.lock();
        if state.waker.is_some() {
            push(state, command);
        }
    }

    pub(super) fn adopt(&self, adoption: Adoption<C>) -> Result<(), NotRunning> {
        let mut state = self.lock();
        if state.waker.is_none() {
            return Err(NotRunning);
        }
        state.commands.list.push(Command::Adopt(Box::new(adoption)));
        if !state.holds_adoptions {
            wake(state);
        }
        Ok(())
    }

    /// From `true` on adoptions do not wake the loop; `false` makes up for that.
    pub(super) fn hold_adoptions(&self, holds: bool) {
        let mut state = self.lock();
        state.holds_adoptions = holds;
        if !holds && !state.commands.is_empty() {
            wake(state);
        }
    }

    /// Starts to close everything.
    pub(super) fn shut_down(&self, timeout: Duration) {
        let mut state = self.lock();
        if state.waker.is_some() {
            let set = &mut state.commands.shuts_down;
            *set = Some(set.map_or(timeout, |set| set.min(timeout)));
            wake(state);
        }
    }

    /// Says that no adoption will come any more.
    pub(super) fn finish(&self) {
        self.push_to_loop(Command::Finish);
    }

    /// Leaves the loop behind: it gets no commands any more, and another one may run. It is woken,
    /// to find that out. What it has not taken is lost.
    pub(super) fn leave_behind(&self) {
        let mut state = self.lock();
        let rest = std::mem::take(&mut state.commands);
        let waker = state.waker.take();
        state.losses.messages += rest.messages();
        drop(state);
        drop(rest); // this may close sockets
        if let Some(waker) = waker {
            interrupt(&waker);
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.lock().waker.is_some()
    }

    /// Adds what was dropped before it came to the loop.
    pub(super) fn add_losses(&self, counters: &mut Counters) {
        let state = self.lock();
        counters.drop_messages(state.losses.messages);
        counters.broadcasts_dropped += state.losses.broadcasts;
    }

    // What the loop calls.

    /// Says that a loop runs now. False if another one does already.
    pub(super) fn open(&self, waker: &Arc<Waker>) -> bool {
        let mut state = self.lock();
        if state.waker.is_some() {
            return false;
        }
        state.waker = Some(Arc::clone(waker));
        true
    }

    /// Says that the loop is over, unless commands are left that it should still take.
    pub(super) fn close_if_empty(&self, waker: &Arc<Waker>) -> bool {
        let mut state = self.lock();
        if !state.is_for(waker) {
            return true;
        }
        let empty = state.commands.is_empty();
        if empty {
            state.waker = None;
        }
        empty
    }

    /// Says that the loop is over, whatever is left.
    pub(super) fn abandon(&self, waker: &Arc<Waker>) -> Commands<C> {
        let mut state = self.lock();
        if !state.is_for(waker) {
            return Commands::default(); // it is another loop's by now
        }
        state.waker = None;
        std::mem::take(&mut state.commands)
    }

    /// Whether the loop may sleep. From a true on, every push wakes it.
    pub(super) fn prepare_to_sleep(&self, waker: &Arc<Waker>) -> bool {
        let mut state = self.lock();
        if !state.is_for(waker) {
            return true;
        }
        state.asleep = state.commands.is_empty();
        state.asleep
    }

    /// Swaps the commands with `into`, which is empty, and says that the loop is awake; false if it
    /// was left behind. For the `closing` links, and for `all` if everything is to be closed, no
    /// message is accepted any more once this has returned.
    pub(super) fn take<'a>(
        &self,
        into: &mut Commands<C>,
        waker: &Arc<Waker>,
        closing: impl Iterator<Item = &'a Link>,
        all: impl Iterator<Item = &'a Link>,
    ) -> bool {
        let mut state = self.lock();
        let is_ours = state.is_for(waker);
        if is_ours {
            state.asleep = false;
            state.takings += 1;
            std::mem::swap(&mut state.commands, into);
        }
        for link in closing {
            link.shut();
        }
        if into.shuts_down.is_some() {
            for link in all {
                link.close();
            }
        }
        is_ours
    }

    /// Takes the mark away that says that a `Drained` is owed, unless something waits again.
    pub(super) fn relieve(&self, link: &Link) -> bool {
        let _no_sender_comes_between = self.lock();
        link.relieve()
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // Nothing panics between two states that belong together.
        self.state.lock()
    }
}

/// What closes a slow consumer, whether a send or a broadcast found it full.
pub(super) fn slow_consumer_frame() -> CloseFrame {
    CloseFrame::new(CloseCode::POLICY_VIOLATION, "slow consumer").unwrap_or_default()
}

/// Closes the door and tells the loop; the caller holds the lock.
fn close_command<C>(link: &Link, frame: CloseFrame, cause: CloseCause) -> Command<C> {
    link.close();
    Command::Close { target: link.target(), frame, cause }
}

fn push<C>(mut state: MutexGuard<'_, State<C>>, command: Command<C>) {
    state.commands.list.push(command);
    wake(state);
}

/// Wakes the loop if it sleeps; the lock is released first, so that it does not run into it.
#[inline]
fn wake<C>(state: MutexGuard<'_, State<C>>) {
    if state.asleep {
        wake_up(state);
    }
}

#[cold]
fn wake_up<C>(mut state: MutexGuard<'_, State<C>>) {
    state.asleep = false;
    let waker = state.waker.clone();
    drop(state);
    if let Some(waker) = waker {
        interrupt(&waker);
    }
}

fn interrupt(waker: &Waker) {
    if let Err(error) = waker.wake() {
        log::error!("cannot wake the WebSocket manager: {error}");
    }
}
