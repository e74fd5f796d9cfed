//! The closing handshake: who says what, and when it is over.

use super::*;
use crate::proto::testing::{binary, close, last, more, ping, pong, text, text_begin};
use crate::proto::{CloseCode, Opcode};

const LIMITS: Limits = Limits { max_message_size: 1000, max_fragments: 10 };

/// A connection with the limits and the output of a test.
struct Server {
    connection: Connection,
    out: Vec<u8>,
}

impl Server {
    fn new() -> Self {
        Self { connection: Connection::new(Inflation::Off), out: Vec::new() }
    }

    /// Everything that comes out of these bytes; they must be used up in the end.
    fn receive(&mut self, bytes: &[u8]) -> Vec<Received> {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        let mut inflater = SharedInflater::new();
        let next = || self.connection.receive(&LIMITS, &mut inflater, &mut input);
        let received = std::iter::from_fn(next).collect();
        assert_eq!(input.remaining(), 0);
        received
    }

    fn close(&mut self, code: u16, reason: &str) -> bool {
        self.connection.close(frame(code, reason), &mut self.out)
    }

    fn answer(&mut self) -> bool {
        self.connection.answer(&mut self.out)
    }

    /// Open, answer due, closed.
    fn state(&self) -> (bool, bool, bool) {
        let connection = &self.connection;
        (connection.is_open(), connection.needs_answer(), connection.is_closed())
    }

    /// Nothing that is read or asked changes anything any more.
    fn assert_closed(mut self, first: &CloseFrame) {
        assert_eq!(self.state(), (false, false, true));
        assert_eq!(self.connection.close_frame().as_ref(), Some(first));
        let out = self.out.clone();
        assert_eq!(self.receive(&[ping(b"late"), close(b""), vec![0xFF; 9]].concat()), []);
        assert!(!self.close(1000, ""));
        assert!(!self.answer());
        assert_eq!(self.out, out);
        assert_eq!(self.connection.close_frame().as_ref(), Some(first));
    }
}

fn frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame::new(CloseCode::new(code).unwrap(), reason).unwrap()
}

const OPEN: (bool, bool, bool) = (true, false, false);
const CLOSING: (bool, bool, bool) = (false, false, false);
const ANSWER_DUE: (bool, bool, bool) = (false, true, false);

#[test]
fn a_connection_is_small() {
    assert!(size_of::<Connection>() <= 96, "{} bytes", size_of::<Connection>());
    assert!(size_of::<Received>() <= 32, "{} bytes", size_of::<Received>());
}

#[test]
fn everything_is_delivered_while_open() {
    let mut server = Server::new();
    let stream = [text(b"a"), binary(b"b"), ping(b"c"), pong(b"d")].concat();
    let in_place = |start: usize| Payload::InPlace(start..start + 1);
    let received = [
        Received::Text(in_place(6)),
        Received::Binary(in_place(13)),
        Received::Ping(in_place(20)),
        Received::Pong(in_place(27)),
    ];
    assert_eq!(server.receive(&stream), received);
    assert_eq!(server.state(), OPEN);
    assert_eq!(server.connection.close_frame(), None);
    assert!(!server.answer(), "nothing is to be answered");
    assert_eq!(server.out, []);
}

#[test]
fn the_peer_closes() {
    let mut server = Server::new();
    let stream = [text(b"last"), close(b"\x0F\xA1bye"), text(b"too late")].concat();
    let bye = frame(4001, "bye");
    let received = server.receive(&stream);
    assert_eq!(received, [Received::Text(Payload::InPlace(6..10)), Received::Close(bye.clone())]);
    assert_eq!(server.state(), ANSWER_DUE);
    assert_eq!(server.connection.close_frame(), Some(bye.clone()));
    assert!(!server.close(1000, ""), "the peer was first");
    assert_eq!(server.receive(&text(b"too late")), []);
    assert_eq!(server.out, []);

    assert!(server.answer());
    assert_eq!(server.out, *b"\x88\x05\x0F\xA1bye");
    server.assert_closed(&bye);
}

#[test]
fn the_peer_closes_without_a_code() {
    let mut server = Server::new();
    assert_eq!(server.receive(&close(b"")), [Received::Close(CloseFrame::empty())]);
    assert!(server.answer());
    assert_eq!(server.out, [0x88, 0]);
    server.assert_closed(&CloseFrame::empty());
}

#[test]
fn the_peers_close_comes_byte_by_byte() {
    let mut server = Server::new();
    let stream = close(b"\x03\xE8done");
    let (last, beginning) = stream.split_last().unwrap();
    for byte in beginning {
        assert_eq!(server.receive(&[*byte]), []);
        assert_eq!(server.state(), OPEN);
    }
    assert_eq!(server.receive(&[*last]), [Received::Close(frame(1000, "done"))]);
    assert_eq!(server.state(), ANSWER_DUE);
}

#[test]
fn we_close() {
    let mut server = Server::new();
    assert!(server.close(1001, "stop"));
    assert_eq!(server.out, *b"\x88\x06\x03\xE9stop");
    assert_eq!(server.state(), CLOSING);
    assert_eq!(server.connection.close_frame(), Some(frame(1001, "stop")));
    assert!(!server.close(1000, ""), "only once");
    assert!(!server.answer(), "it is the peer's turn");

    let late = [text(b"a"), ping(b"b"), pong(b"c"), text_begin(b"d"), last(b"e")].concat();
    assert_eq!(server.receive(&late), [], "what comes late is not delivered");
    assert_eq!(server.state(), CLOSING);
    let answer = [text(b"f"), close(b"\x03\xE9"), vec![0xFF; 5]].concat();
    assert_eq!(server.receive(&answer), [Received::Close(frame(1001, ""))]);
    assert_eq!(server.out, *b"\x88\x06\x03\xE9stop", "one CLOSE is enough");
    server.assert_closed(&frame(1001, "stop"));
}

#[test]
fn we_close_without_a_code() {
    let mut server = Server::new();
    assert!(server.connection.close(CloseFrame::empty(), &mut server.out));
    assert_eq!(server.out, [0x88, 0]);
    assert_eq!(server.receive(&close(b"")), [Received::Close(CloseFrame::empty())]);
    server.assert_closed(&CloseFrame::empty());
}

#[test]
fn both_close_at_once() {
    // The peer had sent its own CLOSE before it saw ours: it counts as the answer.
    let mut server = Server::new();
    assert!(server.close(1000, "ours"));
    let theirs = frame(4000, "theirs");
    assert_eq!(server.receive(&close(b"\x0F\xA0theirs")), [Received::Close(theirs)]);
    assert_eq!(server.out, *b"\x88\x06\x03\xE8ours");
    server.assert_closed(&frame(1000, "ours"));
}

#[test]
fn we_close_while_a_message_is_coming() {
    for cut in 1..30 {
        let stream =
            [text_begin(b"Hello"), ping(b"!"), more(b" "), last(b"world"), close(b"")].concat();
        let mut server = Server::new();
        let (before, after) = stream.split_at(cut);
        let received = server.receive(before);
        assert!(received.len() <= 1, "at most the ping: {received:?}");
        assert!(server.close(1000, ""));
        let closed = [Received::Close(CloseFrame::empty())];
        assert_eq!(server.receive(after), closed, "cut at {cut}");
        server.assert_closed(&frame(1000, ""));
    }
}

#[test]
fn messages_that_come_late_take_no_memory() {
    let mut server = Server::new();
    server.receive(&text_begin(&[b'a'; 900]));
    assert!(server.close(1000, ""));
    for _ in 0..9 {
        let stream = more(&[b'a'; 10]);
        assert_eq!(server.receive(&stream[..11]), []);
        let State::Closing { decoder, .. } = &server.connection.state else {
            panic!("{:?}", server.connection)
        };
        assert_eq!(decoder.capacity(), 0);
        assert_eq!(server.receive(&stream[11..]), []);
    }
}

#[test]
fn an_error_fails_the_connection() {
    for (bytes, error) in [
        (text(b"\xFF"), ProtocolError::InvalidUtf8),
        (last(b""), ProtocolError::UnexpectedContinuation),
        (vec![0x81, 0x00], ProtocolError::NotMasked),
        (text(&[b'a'; 1001]), ProtocolError::MessageTooBig { limit: 1000 }),
        (close(b"\x03"), ProtocolError::BadCloseBody { length: 1 }),
        (
            [text_begin(b""), text(b"")].concat(),
            ProtocolError::ExpectedContinuation { opcode: Opcode::Text },
        ),
        (
            [text_begin(b""), more(b"").repeat(10)].concat(),
            ProtocolError::TooManyFragments { limit: 10 },
        ),
    ] {
        let mut server = Server::new();
        let stream = [pong(b""), bytes, text(b"never read")].concat();
        let received = [Received::Pong(Payload::InPlace(6..6)), Received::Failed(error)];
        assert_eq!(server.receive(&stream), received);
        assert_eq!(server.state(), ANSWER_DUE);
        let frame = CloseFrame::from(error);
        assert_eq!(server.connection.close_frame(), Some(frame.clone()));
        assert_eq!(server.receive(&close(b"")), [], "nothing further is read");
        assert!(!server.close(1000, ""), "the error is the reason");
        assert!(server.answer());
        let code = error.close_code().as_u16().to_be_bytes();
        let body = [&code, error.to_string().as_bytes()].concat();
        let length = u8::try_from(body.len()).unwrap();
        assert_eq!(server.out, [&[0x88, length], &body[..]].concat());
        server.assert_closed(&frame);
    }
}

#[test]
fn the_owner_can_fail_a_connection_that_is_open() {
    let error = ProtocolError::TooManyMessages;
    let mut server = Server::new();
    server.receive(&text_begin(b"unfinished"));
    assert!(server.connection.fail(error));
    assert_eq!(server.state(), ANSWER_DUE);
    assert!(!server.connection.fail(ProtocolError::NotMasked), "the first error stands");
    assert_eq!(server.receive(&last(b"late")), [], "nothing further is read");
    assert!(server.answer());
    assert_eq!(server.out, *b"\x88\x13\x03\xF0too many messages");
    server.assert_closed(&CloseFrame::from(error));

    let mut server = Server::new();
    assert!(server.close(1000, ""));
    assert!(!server.connection.fail(error), "our CLOSE is out");
    assert_eq!(server.state(), CLOSING);
}

#[test]
fn an_error_after_our_close_ends_the_connection() {
    let mut server = Server::new();
    assert!(server.close(1000, ""));
    let stream = [ping(b""), text(b"\xFF"), close(b"")].concat();
    assert_eq!(server.receive(&stream), [Received::Failed(ProtocolError::InvalidUtf8)]);
    assert_eq!(server.out, [0x88, 2, 0x03, 0xE8], "a second CLOSE must not follow");
    server.assert_closed(&frame(1000, ""));
}

#[test]
fn a_bad_answer_to_our_close_ends_the_connection() {
    let mut server = Server::new();
    assert!(server.close(1000, ""));
    let error = ProtocolError::BadCloseCode { code: 1006 };
    assert_eq!(server.receive(&close(b"\x03\xEE")), [Received::Failed(error)]);
    server.assert_closed(&frame(1000, ""));
}
