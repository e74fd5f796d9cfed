//! What the loop counts, readable from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

use super::output::Dropped;

/// Defines the counters once: a struct of numbers, and its twin of atomics.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A snapshot of what a manager has counted since it was made.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// The counters as other threads see them: stored by the loop once a turn.
        #[derive(Debug, Default)]
        pub(super) struct SharedCounters {
            $($name: AtomicU64,)+
        }

        impl SharedCounters {
            pub(super) fn store(&self, counters: &Counters) {
                $(self.$name.store(counters.$name, Ordering::Relaxed);)+
            }

            pub(super) fn load(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Connections that are open or closing now.
    connections,
    /// Connections that were ever established.
    connections_total,
    /// Whole text and binary messages that came.
    messages_received,
    /// Text and binary messages that were put into a connection's output, and not dropped since.
    messages_sent,
    /// Bytes read from sockets, frame headers included.
    bytes_received,
    /// Bytes written to sockets, frame headers and the responses to handshakes included.
    bytes_sent,
    /// Text and binary messages to one connection that it was too slow for or that it has left
    /// behind, once for each receiver. One that had begun to go out is among them.
    messages_dropped,
    /// The bytes of their frames, headers included.
    bytes_dropped,
    /// Broadcasts that nobody gets, because too many waited for the loop.
    broadcasts_dropped,
    /// Times that the loop has looked for something to do.
    turns,
    /// Times that the stand-in took the loop over because a dispatch lasted.
    takeovers,
}

impl Counters {
    /// Notes messages that have not come into an output.
    pub(super) fn drop_messages(&mut self, dropped: Dropped) {
        self.messages_dropped += dropped.messages;
        self.bytes_dropped += dropped.bytes as u64;
    }

    /// Notes messages that were counted as sent.
    pub(super) fn take_back(&mut self, dropped: Dropped) {
        self.messages_sent -= dropped.messages;
        self.drop_messages(dropped);
    }
}
