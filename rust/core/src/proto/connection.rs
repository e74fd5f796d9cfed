//! The closing handshake of one connection, seen from the server (RFC 6455, section 7).
//!
//! Each side sends one CLOSE frame and nothing after it; who sent the first one decides what is
//! still to be done. A peer that breaks the protocol gets our CLOSE frame and is not listened to
//! any more (section 7.1.7, _Fail the WebSocket Connection_). The TCP connection is the owner's:
//! once [`is_closed`](Connection::is_closed), a server is the first to close it (section 7.1.1).
//! So are all deadlines: a peer that never answers our CLOSE is not noticed here.

use std::ops::RangeInclusive;

use super::{
    CloseFrame, Decoder, Event, Inflation, Input, Limits, Payload, ProtocolError, SharedInflater,
};

/// The protocol state of one server-side connection, from the 101 answer on.
///
/// ```text
///                      close()                     receive(): the peer's CLOSE, or an error
///           +--------------------------> Closing --------------------------+
///           |                                                              v
///          Open --- receive(): CLOSE --> CloseReceived --- answer() ---> Closed
///           |                                                              ^
///           +------ receive(): error --> Failed ---------- answer() -------+
///                   or fail()
/// ```
#[derive(Debug)]
pub struct Connection {
    state: State,
}

/// What comes out of [`Connection::receive`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A whole text message, proven to be valid UTF-8.
    Text(Payload),
    /// A whole binary message.
    Binary(Payload),
    /// A ping, with at most 125 bytes. The owner answers it with a pong of the same payload.
    Ping(Payload),
    /// A pong, with at most 125 bytes.
    Pong(Payload),
    /// The peer's CLOSE frame: its first word, or its answer to ours.
    Close(CloseFrame),
    /// The peer broke the protocol.
    Failed(ProtocolError),
}

#[derive(Debug)]
enum State {
    /// Messages go both ways.
    Open(Decoder),
    /// Our CLOSE is out; what still comes is forgotten until the peer's CLOSE comes.
    Closing { decoder: Decoder, sent: CloseFrame },
    /// The peer's CLOSE came; ours is due. Nothing further is read.
    CloseReceived(CloseFrame),
    /// The peer broke the protocol; our CLOSE is due. Nothing further is read.
    Failed(ProtocolError),
    /// Nothing is to be read or sent any more; holds the first CLOSE of the handshake.
    Closed(CloseFrame),
}

impl Connection {
    /// An open connection on which nothing was received yet.
    #[must_use]
    pub fn new(inflation: Inflation) -> Self {
        Self { state: State::Open(Decoder::new(inflation)) }
    }

    /// Reads up to the next thing that matters in this state; `None` if the input is used up.
    ///
    /// While the connection is open that is every message and control frame. After our own CLOSE
    /// it is only the peer's answer, or an error in its place. After the peer's CLOSE or an error
    /// nothing further is read: the input is given up.
    #[inline]
    pub fn receive(
        &mut self,
        limits: &Limits,
        inflater: &mut SharedInflater,
        input: &mut Input<'_>,
    ) -> Option<Received> {
        match &mut self.state {
            State::Open(decoder) => {
                let result = decoder.next(limits, inflater, input);
                self.take(result)
            }
            State::Closing { decoder, sent } => {
                let received = match decoder.skip_to_close(limits, inflater, input) {
                    Ok(None) => return None,
                    Ok(Some(frame)) => Received::Close(frame),
                    // Our only CLOSE is out, so the error cannot be told any more.
                    Err(error) => Received::Failed(error),
                };
                self.state = State::Closed(std::mem::take(sent));
                Some(received)
            }
            State::CloseReceived(_) | State::Failed(_) | State::Closed(_) => {
                input.discard();
                None
            }
        }
    }

    /// Whether the next bytes are of the payload of a message: [`fill`](Self::fill) may take them.
    #[inline]
    #[must_use]
    pub const fn is_in_payload(&self) -> bool {
        matches!(&self.state, State::Open(decoder) if decoder.is_in_payload())
    }

    /// Has `read` put what comes next of a long frame into the place where its message is put together:
    /// see [`Decoder::fill`]. The answer is that of [`receive`](Self::receive).
    ///
    /// `None`, and `read` is not called, if there is no such frame or the connection is not open.
    pub fn fill(
        &mut self,
        room: RangeInclusive<usize>,
        read: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<Option<Received>> {
        let State::Open(decoder) = &mut self.state else { return None };
        let result = decoder.fill(room, read)?;
        Some(self.take(result))
    }

    /// What an open connection makes of what was decoded.
    #[inline]
    fn take(&mut self, result: Result<Option<Event>, ProtocolError>) -> Option<Received> {
        match result {
            Ok(None) => None,
            Ok(Some(Event::Text(payload))) => Some(Received::Text(payload)),
            Ok(Some(Event::Binary(payload))) => Some(Received::Binary(payload)),
            Ok(Some(Event::Ping(payload))) => Some(Received::Ping(payload)),
            Ok(Some(Event::Pong(payload))) => Some(Received::Pong(payload)),
            Ok(Some(Event::Close(frame))) => {
                self.state = State::CloseReceived(frame.clone());
                Some(Received::Close(frame))
            }
            Err(error) => {
                self.state = State::Failed(error);
                Some(Received::Failed(error))
            }
        }
    }

    /// Begins the closing handshake: appends our CLOSE frame to `out`.
    ///
    /// `false`, with nothing done, unless the connection is open. What the peer still sends is
    /// forgotten from now on, a message that has begun included.
    pub fn close(&mut self, frame: CloseFrame, out: &mut Vec<u8>) -> bool {
        match &mut self.state {
            State::Open(decoder) => {
                frame.encode(out);
                let mut decoder = std::mem::take(decoder);
                decoder.discard_message();
                self.state = State::Closing { decoder, sent: frame };
                true
            }
            State::Closing { .. }
            | State::CloseReceived(_)
            | State::Failed(_)
            | State::Closed(_) => false,
        }
    }

    /// Fails the connection for a reason that the owner knows: as if `receive` had found that.
    ///
    /// `false`, with nothing done, unless the connection is open.
    pub fn fail(&mut self, error: ProtocolError) -> bool {
        let is_open = self.is_open();
        if is_open {
            self.state = State::Failed(error);
        }
        is_open
    }

    /// Sends the CLOSE frame that is due: appends it to `out`.
    ///
    /// A CLOSE of the peer is answered with the same (RFC 6455, section 5.5.1), so that both sides
    /// end with one code and reason; an error with its close code and its text. `false`, with nothing done, if none is due.
    pub fn answer(&mut self, out: &mut Vec<u8>) -> bool {
        let first = match &mut self.state {
            State::CloseReceived(frame) => {
                frame.encode(out);
                std::mem::take(frame)
            }
            State::Failed(error) => {
                let frame = CloseFrame::from(*error);
                frame.encode(out);
                frame
            }
            State::Open(_) | State::Closing { .. } | State::Closed(_) => return false,
        };
        self.state = State::Closed(first);
        true
    }

    /// Whether messages may be sent: no CLOSE went either way and nothing went wrong.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether our CLOSE is due: see [`answer`](Self::answer).
    #[must_use]
    pub const fn needs_answer(&self) -> bool {
        matches!(self.state, State::CloseReceived(_) | State::Failed(_))
    }

    /// Whether the TCP connection can be closed as soon as all is sent.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// The first CLOSE frame of the handshake, sent or received; after an error the one with which
    /// we answer it, sent or due. `None` while the connection is open.
    #[must_use]
    pub fn close_frame(&self) -> Option<CloseFrame> {
        match &self.state {
            State::Open(_) => None,
            State::Closing { sent: frame, .. }
            | State::CloseReceived(frame)
            | State::Closed(frame) => Some(frame.clone()),
            State::Failed(error) => Some(CloseFrame::from(*error)),
        }
    }
}

#[cfg(test)]
mod tests;
