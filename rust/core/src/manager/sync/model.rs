//! What loom has no model of: time, a poll with its waker, and sequential consistency.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use loom::sync::atomic::{self, Ordering, fence};
use loom::sync::{Condvar, Mutex, MutexGuard};
use loom::thread::JoinHandle;
use mio::{Events, Token};

/// Any time may pass between two steps of a thread, and all that this does here is to take none.
/// (loom's `yield_now` would rule out that the thread is the next to go on.)
pub(in crate::manager) fn pause(_: Duration) {}

/// loom's `unpark` would end any wait of the thread, also one for a lock, and so hide that it was
/// never woken.
pub(in crate::manager) fn unpause<T>(_: &JoinHandle<T>) {}

/// As the standard library has it; loom's does not know the form with `const`.
macro_rules! thread_local_of_loom {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const { $value:expr };) => {
        loom::thread_local! { $(#[$attribute])* static $name: $type = $value; }
    };
}

pub(in crate::manager) use thread_local_of_loom as thread_local;

/// Defines an atomic that is sequentially consistent where that is asked for. For loom such an access
/// is an acquire or a release one and no more, but its fences are right: a fence before each such
/// access puts them all into one order, which is how compilers do it for some processors.
macro_rules! atomic {
    ($name:ident: $value:ty, $($method:ident($($operand:ident: $type:ty)?) -> $result:ty,)+) => {
        #[derive(Debug, Default)]
        pub(in crate::manager) struct $name(atomic::$name);

        impl $name {
            pub(in crate::manager) fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            $(pub(in crate::manager) fn $method(
                &self,
                $($operand: $type,)?
                ordering: Ordering,
            ) -> $result {
                if ordering == Ordering::SeqCst {
                    fence(ordering);
                }
                self.0.$method($($operand,)? ordering)
            })+
        }
    };
}

atomic! { AtomicBool: bool, load() -> bool, store(value: bool) -> (), }

atomic! {
    AtomicUsize: usize,
    load() -> usize,
    store(value: usize) -> (),
    swap(value: usize) -> usize,
    fetch_add(value: usize) -> usize,
    fetch_sub(value: usize) -> usize,
}

/// Keeps one ring until somebody listens, as a waker does for its poll.
#[derive(Debug)]
pub(in crate::manager) struct Bell {
    rung: Mutex<bool>,
    waiting: Condvar,
}

impl Bell {
    pub(in crate::manager) fn new() -> Self {
        Self { rung: Mutex::new(false), waiting: Condvar::new() }
    }

    pub(in crate::manager) fn ring(&self) {
        *self.lock() = true;
        self.waiting.notify_one();
    }

    /// Waits for a ring, however long, and uses it up.
    pub(in crate::manager) fn wait(&self) {
        let mut rung = self.lock();
        while !std::mem::take(&mut *rung) {
            rung = self.waiting.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Uses up a ring, if there was one.
    pub(in crate::manager) fn silence(&self) {
        *self.lock() = false;
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(in crate::manager) struct Waker(Arc<Bell>);

#[expect(clippy::unnecessary_wraps, reason = "the real one may fail")]
impl Waker {
    pub(in crate::manager) fn new(registry: &Registry, _: Token) -> io::Result<Self> {
        Ok(Self(Arc::clone(&registry.bell)))
    }

    /// A waker without a poll.
    #[cfg(test)]
    pub(in crate::manager) fn of(bell: &Arc<Bell>) -> Self {
        Self(Arc::clone(bell))
    }

    pub(in crate::manager) fn wake(&self) -> io::Result<()> {
        self.0.ring();
        Ok(())
    }
}

/// A poll that asks the system what is ready, but does its waiting in the model, where deadlines
/// never come: whoever relies on one to be woken is found out. All threads of a model are one thread
/// of the system, so no socket gets ready while it waits.
#[derive(Debug)]
pub(in crate::manager) struct Poll {
    poll: mio::Poll,
    registry: Registry,
}

#[derive(Debug)]
pub(in crate::manager) struct Registry {
    registry: mio::Registry,
    bell: Arc<Bell>,
}

impl Deref for Registry {
    type Target = mio::Registry;

    fn deref(&self) -> &mio::Registry {
        &self.registry
    }
}

impl AsRawFd for Poll {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

impl Poll {
    pub(in crate::manager) fn new() -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        Ok(Self { poll, registry: Registry { registry, bell: Arc::new(Bell::new()) } })
    }

    pub(in crate::manager) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(in crate::manager) fn poll(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.poll.poll(events, Some(Duration::ZERO))?;
        if timeout == Some(Duration::ZERO) || !events.is_empty() {
            self.registry.bell.silence();
            return Ok(());
        }
        self.registry.bell.wait();
        self.poll.poll(events, Some(Duration::ZERO))
    }
}
