//! The closing handshake, with everything in any order.

use handy_ws_core::proto::{
    CloseCode, CloseFrame, Connection, Decoder, Inflation, Input, Limits, MAX_CLOSE_REASON,
    ProtocolError, Received, SharedInflater,
};

use crate::hearing::{Ear, Heard, ready};
use crate::script::Script;

/// What a connection may own once our CLOSE is out: a control frame and two small boxes.
const CLOSING_HEAP: isize = 512;

/// Whatever a client says, and whenever we close or answer: the [`Connection`] goes through the
/// states of its diagram, sends at most one CLOSE frame, keeps to the first one, and hears after
/// our own what a [`Decoder`] hears, but for the messages.
///
/// # Panics
///
/// If it does not.
pub fn closing(data: &[u8]) {
    let mut script = Script::new(data);
    let inflation = script.inflation();
    let limits = script.limits(inflation);
    let count = usize::from(script.byte() % 32);
    let steps = script.take(count);
    let stream = script.stream();
    let (mut inflater, mut other) = (ready(inflation), ready(inflation));
    let mut handshake = Handshake {
        ear: Ear::new(Connection::new(inflation), limits, inflation, &mut inflater),
        decoder: Some(Ear::new(Decoder::new(inflation), limits, inflation, &mut other)),
        state: State::Open,
        first: None,
        out: Vec::with_capacity(256), // so that closing is not charged for it
        limits,
        compresses: inflation != Inflation::Off,
    };
    let mut rest = stream.as_slice();
    for step in steps {
        match step {
            0..0xC0 => {
                let length = usize::from(*step) + 1;
                let (piece, after) = rest.split_at(length.min(rest.len()));
                handshake.receive(piece);
                rest = after;
            }
            0xC0..0xE0 => handshake.close(close_frame(step % 32)),
            0xE0.. => handshake.answer(),
        }
        handshake.check();
    }
    handshake.receive(rest);
    handshake.check();
    handshake.answer();
    handshake.check();
}

/// One of the frames that we may send.
fn close_frame(number: u8) -> CloseFrame {
    let reason = "because".repeat(20);
    let length = [0, 1, 3, MAX_CLOSE_REASON][usize::from(number / 8)];
    let codes = [1000, 1001, 1003, 1007, 1014, 3000, 4999];
    let code = codes.get(usize::from(number % 8)).and_then(|code| CloseCode::new(*code));
    code.and_then(|code| CloseFrame::new(code, &reason[..length])).unwrap_or_default()
}

/// The states of a [`Connection`], as its documentation has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    /// Our CLOSE is due.
    Due,
    Closed,
}

struct Handshake<'a> {
    ear: Ear<'a, Connection>,
    /// Hears the same, until it finds something wrong in what a closing connection skips.
    decoder: Option<Ear<'a, Decoder>>,
    state: State,
    /// The first CLOSE frame, sent or received.
    first: Option<CloseFrame>,
    /// What is sent.
    out: Vec<u8>,
    limits: Limits,
    compresses: bool,
}

impl Handshake<'_> {
    fn receive(&mut self, piece: &[u8]) {
        match self.state {
            State::Open | State::Closing => {}
            State::Due | State::Closed => return self.receive_nothing(piece),
        }
        let mut heard = Heard { events: Vec::new(), failed: None };
        self.ear.hear_piece(piece, &mut heard);
        self.compare(piece, &heard);
        let first = match (heard.said().last(), &heard.failed) {
            (_, Some((error, _))) => CloseFrame::from(*error),
            (Some(Received::Close(frame)), None) => frame.clone(),
            _goes_on => return,
        };
        self.state = match self.state {
            State::Open => State::Due,
            State::Closing | State::Due | State::Closed => State::Closed,
        };
        self.first.get_or_insert(first);
    }

    /// After the last word of the peer everything is given up.
    fn receive_nothing(&mut self, piece: &[u8]) {
        let mut bytes = piece.to_vec();
        let mut input = Input::new(&mut bytes);
        let mut inflater = SharedInflater::new();
        let received = self.ear.listener.receive(&self.limits, &mut inflater, &mut input);
        assert_eq!((received, input.remaining()), (None, 0));
    }

    /// Whether a decoder hears the same.
    fn compare(&mut self, piece: &[u8], heard: &Heard) {
        let mut expected = Heard { events: Vec::new(), failed: None };
        let Some(decoder) = &mut self.decoder else { return };
        decoder.hear_piece(piece, &mut expected);
        if self.state == State::Closing {
            expected.events.retain(|(event, _)| matches!(event, Received::Close(_)));
            let has_failed = |(error, _): &(ProtocolError, _)| may_be_skipped(*error);
            if self.compresses
                && *heard != expected
                && expected.failed.as_ref().is_some_and(has_failed)
            {
                self.decoder = None;
                return;
            }
        }
        assert_eq!(*heard, expected);
    }

    fn close(&mut self, frame: CloseFrame) {
        let was_open = self.state == State::Open;
        let closed = self.ear.with(|connection| connection.close(frame.clone(), &mut self.out));
        assert_eq!(closed, was_open);
        if was_open {
            self.first = Some(frame);
            self.state = State::Closing;
        }
    }

    fn answer(&mut self) {
        let was_due = self.state == State::Due;
        assert_eq!(self.ear.listener.answer(&mut self.out), was_due);
        if was_due {
            self.state = State::Closed;
        }
    }

    /// Whether the connection says what is expected of it.
    fn check(&self) {
        let connection = &self.ear.listener;
        assert_eq!(connection.is_open(), self.state == State::Open);
        assert_eq!(connection.needs_answer(), self.state == State::Due);
        assert_eq!(connection.is_closed(), self.state == State::Closed);
        assert_eq!(connection.close_frame(), self.first);
        match self.state {
            State::Open | State::Due => assert_eq!(self.out, []),
            State::Closing | State::Closed => {
                let mut expected = Vec::new();
                self.first.iter().for_each(|frame| frame.encode(&mut expected));
                assert_eq!(self.out, expected);
            }
        }
        if self.state == State::Closing {
            let owned = self.ear.owned();
            assert!(owned <= CLOSING_HEAP, "{owned} bytes of heap for what is forgotten");
        }
    }
}

/// Whether a connection that is closing does not look for this: compressed messages are skipped.
fn may_be_skipped(error: ProtocolError) -> bool {
    matches!(
        error,
        ProtocolError::BadDeflate
            | ProtocolError::InvalidUtf8
            | ProtocolError::MessageTooBig { .. }
    )
}
