//! Waiting for sockets: that of a listener, those of guests, and any others.

#[cfg(test)]
mod tests;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use mio::Interest;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::Listener;

/// The most that one wait tells, so that a turn is short whatever happens.
pub(super) const MAX_EVENTS: usize = 64;
/// The longest time to wait at once: epoll counts milliseconds in 31 bits.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Whose a descriptor is stands above it in what epoll keeps.
const GUEST: u64 = 0;
const LISTENER: u64 = 1 << 32;
const OTHER: u64 = 2 << 32;

/// What a thread waits for, by epoll. Other threads may take something out meanwhile.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    /// For nothing.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Tells of new clients, for as long as there are some.
    pub fn listen(&self, listener: &Listener) -> io::Result<()> {
        self.add(LISTENER, listener.as_fd(), EventFlags::IN)
    }

    /// Tells of somebody else's descriptor while one of the `events` of `epoll_ctl(2)` holds there.
    pub fn register(&self, other: BorrowedFd<'_>, events: u32) -> io::Result<()> {
        self.add(OTHER, other, EventFlags::from_bits_retain(events))
    }

    /// Tells of others of its events from now on.
    pub fn modify(&self, other: BorrowedFd<'_>, events: u32) -> io::Result<()> {
        self.change(OTHER, other, EventFlags::from_bits_retain(events))
    }

    /// Tells nothing more of a descriptor; before it is closed or given away.
    pub fn unregister(&self, known: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, known)?)
    }

    /// Waits until something happens, for as long at most; a signal, too, ends it.
    pub fn wait(&self, happened: &mut Happened, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.and_then(whole_milliseconds);
        let mut events = [MaybeUninit::<Event>::uninit(); MAX_EVENTS];
        happened.clear();
        match epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()) {
            Ok((events, _)) => {
                let events = events.iter().map(|event| (event.data.u64(), event.flags));
                happened.events.extend(events);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Tells of a guest when something happens there, once.
    pub(super) fn greet(&self, guest: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        self.add(GUEST, guest, edges(interest))
    }

    /// Tells of a guest again, also if nothing new happens.
    pub(super) fn greet_again(&self, guest: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        self.change(GUEST, guest, edges(interest))
    }

    fn add(&self, whose: u64, fd: BorrowedFd<'_>, events: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, data(whose, fd), events)?)
    }

    fn change(&self, whose: u64, fd: BorrowedFd<'_>, events: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, data(whose, fd), events)?)
    }
}

impl AsRawFd for Poll {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

/// What a wait has come to.
#[derive(Debug, Default)]
pub struct Happened {
    /// With whose descriptor it is.
    events: Vec<(u64, EventFlags)>,
}

impl Happened {
    /// Nothing, or all of it is seen to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// It is.
    pub fn clear(&mut self) {
        self.events.clear();
    }

    /// Something that [`Reception::turn`](super::Reception::turn) sees to.
    #[must_use]
    pub fn concerns_reception(&self) -> bool {
        self.can_accept() || self.guests().next().is_some()
    }

    /// Something that somebody else sees to.
    #[must_use]
    pub fn concerns_others(&self) -> bool {
        self.others().next().is_some()
    }

    /// Others that are ready.
    pub fn others(&self) -> impl Iterator<Item = RawFd> {
        self.of(OTHER).map(|(fd, _)| fd)
    }

    /// Whether there are, or may be, new clients: if very much happens, they do not wait for their
    /// turn.
    pub(super) fn can_accept(&self) -> bool {
        self.events.len() == MAX_EVENTS || self.of(LISTENER).next().is_some()
    }

    /// Guests to whom something has happened, and whether they have hung up.
    pub(super) fn guests(&self) -> impl Iterator<Item = (RawFd, bool)> {
        self.of(GUEST).map(|(fd, events)| {
            let has_hung_up = events.contains(EventFlags::HUP)
                || events.contains(EventFlags::IN | EventFlags::RDHUP);
            (fd, has_hung_up)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    fn of(&self, whose: u64) -> impl Iterator<Item = (RawFd, EventFlags)> {
        let events = self.events.iter();
        events.filter_map(move |(data, flags)| Some(((data ^ whose).try_into().ok()?, *flags)))
    }
}

fn data(whose: u64, fd: BorrowedFd<'_>) -> EventData {
    EventData::new_u64(whose | u64::from(fd.as_raw_fd().unsigned_abs()))
}

fn edges(interest: Interest) -> EventFlags {
    let room = if interest.is_writable() { EventFlags::OUT } else { EventFlags::empty() };
    EventFlags::ET | EventFlags::IN | EventFlags::RDHUP | room
}

/// Not less than that: who waits too short a time waits again.
fn whole_milliseconds(timeout: Duration) -> Option<Timespec> {
    let milliseconds = timeout.min(LONGEST).as_nanos().div_ceil(1_000_000);
    Timespec::try_from(Duration::from_millis(milliseconds.try_into().ok()?)).ok()
}
