//! Which connections there are, for everybody and for the manager's thread.
//!
//! Any thread may ask for the connections, so they stand behind a lock. The manager's thread looks
//! one up for each message, and has a table of its own for that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::connection::WebSocketConnection;

/// The connections by slot: from `Established` to `Closed`.
#[derive(Clone, Default)]
pub(crate) struct Roster {
    slots: Arc<Mutex<Slots>>,
}

/// As one thread at a time sees them.
#[derive(Default)]
pub(crate) struct Slots {
    connections: Vec<Option<Py<WebSocketConnection>>>,
    count: usize,
}

impl Slots {
    pub(crate) fn insert(&mut self, slot: usize, connection: Py<WebSocketConnection>) {
        if self.connections.len() <= slot {
            self.connections.resize_with(slot + 1, || None);
        }
        self.connections[slot] = Some(connection);
        self.count += 1;
    }

    pub(crate) fn get<'py>(
        &self,
        py: Python<'py>,
        slot: usize,
    ) -> Option<Bound<'py, WebSocketConnection>> {
        self.connections.get(slot)?.as_ref().map(|connection| connection.bind(py).clone())
    }

    pub(crate) fn remove(&mut self, slot: usize) -> Option<Py<WebSocketConnection>> {
        let connection = self.connections.get_mut(slot)?.take()?;
        self.count -= 1;
        Some(connection)
    }
}

impl Roster {
    pub(crate) fn len(&self) -> usize {
        self.lock().count
    }

    pub(crate) fn snapshot(&self, py: Python<'_>) -> Vec<Py<WebSocketConnection>> {
        let slots = self.lock();
        slots.connections.iter().flatten().map(|connection| connection.clone_ref(py)).collect()
    }

    /// Bytes of frames that wait to be taken by the kernel, for all connections.
    pub(crate) fn queue_bytes(&self) -> usize {
        let slots = self.lock();
        slots.connections.iter().flatten().map(|one| one.get().core().buffered_bytes()).sum()
    }

    /// In a forked child: knows no connections any more, and nothing can be sent to them.
    pub(crate) fn forget(&self) {
        let slots = std::mem::take(&mut *self.lock());
        for connection in slots.connections.iter().flatten() {
            connection.get().core().sever();
        }
        std::mem::forget(slots);
    }

    pub(crate) fn clear(&self) {
        let slots = std::mem::take(&mut *self.lock());
        drop(slots); // the lock is free: dropping an object may run any code
    }

    pub(crate) fn insert(&self, slot: usize, connection: Py<WebSocketConnection>) {
        self.lock().insert(slot, connection);
    }

    pub(crate) fn remove(&self, slot: usize) {
        let connection = self.lock().remove(slot);
        drop(connection); // the lock is free
    }

    /// The lock is held for a look-up only, never over anything that runs Python code.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
