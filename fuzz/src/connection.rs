//! A whole connection: however its stream is cut, it hears the same.

use handy_ws_core::proto::{
    CloseFrame, Connection, Inflation, Input, Limits, Received, SharedInflater,
};

use crate::hearing::{Ear, Heard, ready};
use crate::script::{Script, cut};

/// A [`Connection`] that is fed whole and one that is fed in pieces hear the same, and fail with
/// the same error; the error is proven in the piece with which it came. Then they want nothing
/// further, and answer with one CLOSE frame.
///
/// # Panics
///
/// If they do not, or if one owns more heap than its limits allow.
pub fn connection(data: &[u8]) {
    let mut script = Script::new(data);
    let inflation = script.inflation();
    let world = World { inflation, limits: script.limits(inflation) };
    let lengths = script.lengths();
    let stream = script.stream();
    let mut inflater = ready(inflation);
    let whole = world.hear(&mut inflater, [stream.as_slice()].into_iter(), &stream);
    let pieces = world.hear(&mut inflater, cut(&stream, &lengths), &stream);
    assert_eq!(pieces.events, whole.events);
    let errors = (pieces.failed.as_ref(), whole.failed.as_ref());
    assert_eq!(errors.0.map(|(error, _)| error), errors.1.map(|(error, _)| error));
    let Some((error, piece)) = pieces.failed else { return };
    let fails_by = |end| {
        let beginning = &stream[..end];
        world.hear(&mut inflater, [beginning].into_iter(), beginning).failed
    };
    let mut fails_by = fails_by;
    assert_eq!(fails_by(piece.start), None, "{error} came in {piece:?}");
    assert_eq!(fails_by(piece.end).map(|(error, _)| error), Some(error));
}

/// What several connections have in common.
struct World {
    inflation: Inflation,
    limits: Limits,
}

impl World {
    /// What a new connection hears of pieces of a stream.
    fn hear<'a>(
        &self,
        inflater: &mut SharedInflater,
        pieces: impl Iterator<Item = &'a [u8]>,
        stream: &[u8],
    ) -> Heard {
        let connection = Connection::new(self.inflation);
        let mut ear = Ear::new(connection, self.limits, self.inflation, inflater);
        let heard = ear.hear(pieces);
        self.check_end(ear.listener, &heard, stream);
        heard
    }

    /// Whether a connection that has heard this is in the right state, and stays in it.
    fn check_end(&self, mut connection: Connection, heard: &Heard, stream: &[u8]) {
        let first = match (heard.said().last(), &heard.failed) {
            (_, Some((error, _))) => Some(CloseFrame::from(*error)),
            (Some(Received::Close(frame)), None) => Some(frame.clone()),
            _goes_on => None,
        };
        assert_eq!(connection.is_open(), first.is_none());
        assert_eq!(connection.needs_answer(), first.is_some());
        assert_eq!(connection.close_frame(), first);
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        assert_eq!(connection.answer(&mut out), first.is_some());
        if let Some(first) = first {
            first.encode(&mut expected);
            let mut more = stream.to_vec();
            let mut input = Input::new(&mut more);
            let mut inflater = SharedInflater::new();
            assert_eq!(connection.receive(&self.limits, &mut inflater, &mut input), None);
            assert_eq!(input.remaining(), 0);
            assert!(connection.is_closed());
        }
        assert_eq!(out, expected);
    }
}
