//! The manager: the loop, the thread that owns it, and the thread that stands in.
//!
//! Callbacks may take any time: they sleep, or wait for the interpreter's lock, or hold it in native
//! code. Meanwhile the loop must go on, since other connections have nothing to do with it. So while
//! the handler has a batch, the loop is lent (see [`HandOver`]), and when that has lasted for some
//! milliseconds a stand-in thread drives it: it reads, answers PINGs, sends what other threads have
//! queued, and keeps the deadlines. Only events wait, in order, until the handler returns. The
//! stand-in never calls the handler: no two callbacks overlap.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Handle;
use super::delivery::Delivery;
use super::drain::Dispatching;
use super::hand_over::HandOver;
use super::handler::Handler;
use super::sync::thread::{self, JoinHandle};
use super::sync::{Waker, unpause};
use super::turn::{Failure, Loop};

/// The owner of the loop. It lives on one thread, between [`Manager::new`] and a
/// [`Manager::turn`] that returns false.
#[derive(Debug)]
pub struct Manager<C: Send + 'static> {
    /// There except while it is lent.
    core: Option<Box<Loop<C>>>,
    hand_over: Arc<HandOver<Box<Loop<C>>>>,
    /// Gets the loop back from the stand-in that sleeps in it.
    waker: Arc<Waker>,
    descriptor: RawFd,
    /// What the handler has, and what follows when it returns.
    delivery: Delivery<C>,
    stand_in: Option<JoinHandle<()>>,
}

impl<C: Send + 'static> Manager<C> {
    /// The loop of this handle. There can be one at a time; else the error is
    /// [`io::ErrorKind::AlreadyExists`].
    pub fn new(handle: &Handle<C>) -> io::Result<Self> {
        let core = Box::new(Loop::new(handle)?);
        let hand_over = Arc::new(HandOver::new());
        let stand_in = thread::Builder::new().name("handy-ws-stand-in".into()).spawn({
            let hand_over = Arc::clone(&hand_over);
            move || stand_in(&hand_over)
        })?;
        Ok(Self {
            waker: Arc::clone(&core.waker),
            descriptor: core.poll.as_raw_fd(),
            core: Some(core),
            hand_over,
            delivery: Delivery::new(),
            stand_in: Some(stand_in),
        })
    }

    /// The descriptor that it waits on: epoll's, say. For those who have to know which there are.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.descriptor
    }

    /// Takes turns until the manager is stopped.
    pub fn run(&mut self, handler: &mut impl Handler<Context = C>) -> io::Result<()> {
        while self.turn(handler)? {}
        Ok(())
    }

    /// Waits until there is something to do, and does all of it once. Returns false when the
    /// manager was stopped and every connection has had its `Closed`, or after an error.
    pub fn turn(&mut self, handler: &mut impl Handler<Context = C>) -> io::Result<bool> {
        let Some(mut core) = self.core.take() else { return Ok(false) };
        core.wait(handler.is_owed())?;
        core.take_commands(&[]);
        core.read();
        core = self.dispatch(core, handler)?;
        core.take_commands(&self.delivery.answering); // what the callbacks have sent
        core.answer(&mut self.delivery); // a CLOSE stands behind the last replies
        core.flush();
        core.expire();
        core.reap();
        core.publish_counters();
        let goes_on = !core.is_over();
        self.core = Some(core);
        Ok(goes_on)
    }

    /// Calls the handler, and lends the loop meanwhile.
    fn dispatch(
        &mut self,
        mut core: Box<Loop<C>>,
        handler: &mut impl Handler<Context = C>,
    ) -> io::Result<Box<Loop<C>>> {
        core.begin_delivery(&mut self.delivery);
        if !self.delivery.batch.events.is_empty() || handler.is_owed() {
            let dispatching = Dispatching::begin(core.queue_address());
            self.hand_over.lend(core);
            handler.dispatch(&mut self.delivery.batch);
            drop(dispatching);
            core = self.take_back();
        }
        core.end_delivery(&mut self.delivery)?;
        Ok(core)
    }

    fn take_back(&self) -> Box<Loop<C>> {
        self.hand_over.take_back(|| {
            if let Err(error) = self.waker.wake() {
                log::error!("cannot wake the WebSocket manager: {error}");
            }
        })
    }
}

impl<C: Send + 'static> Drop for Manager<C> {
    fn drop(&mut self) {
        self.hand_over.finish();
        // It has the loop only if the handler panicked.
        let _ = self.waker.wake();
        if let Some(stand_in) = self.stand_in.take() {
            unpause(&stand_in);
            // What it panicked with has been passed on.
            let _ = stand_in.join();
        }
    }
}

/// The body of the stand-in's thread.
fn stand_in<C: Send>(hand_over: &HandOver<Box<Loop<C>>>) {
    while let Some(mut core) = hand_over.take_over() {
        core.note_takeover();
        while !hand_over.is_wanted() {
            let turn = catch_unwind(AssertUnwindSafe(|| core.turn_without_handler()));
            let failure = match turn {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => Failure::Io(error),
                Err(panic) => Failure::Panic(panic),
            };
            core.fail(failure);
            break;
        }
        hand_over.give_back(core);
    }
}
