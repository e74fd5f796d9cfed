//! Compressed messages: hostile ones, and our own.

use handy_ws_core::proto::deflate::{DeflateSettings, OutboundDeflate, SharedDeflaters};
use handy_ws_core::proto::{
    Decoder, Inflation, Limits, Opcode, Payload, ProtocolError, Received, SharedInflater,
    encode_frame,
};

use crate::client::{self, FIN, RSV1};
use crate::deflate::{Inflated, Messages};
use crate::hearing::{Ear, Heard, ready};
use crate::script::{Script, cut};

/// What compressed messages are together, in bytes; more shows nothing new. That is more than any
/// step in which the core compresses, gathers or inflates.
const MAX_MESSAGES: usize = 72 * 1024;

/// The longest payload that is not asked for, in bytes.
const SHORT: usize = 2048;

/// Compressed messages come out as they do from a simple inflater; and come out the same, or fail
/// in the same way, whether each is one frame or many and whether those come whole or in pieces. No
/// message is over the limit. What our own compressors make comes out as it was, also with a window
/// that is just as large as was agreed on.
///
/// # Panics
///
/// If they do not.
pub fn inflate(data: &[u8]) {
    let mut script = Script::new(data);
    if script.flag() { sent(script) } else { received(script) }
}

/// A payload as the script has it. A long one takes long, so it has to be asked for.
fn payload(script: &mut Script<'_>, how: u8) -> Vec<u8> {
    let (mut payload, _) = script.payload();
    payload.truncate(if how & 0x40 == 0 { SHORT } else { MAX_MESSAGES });
    payload
}

/// One message that a client says.
struct Message {
    /// Opcode and reserved bits.
    first: u8,
    payload: Vec<u8>,
}

impl Message {
    /// What comes out of it, if it is not too much.
    fn inflate(&self, simple: &mut Messages, limit: usize) -> Inflated {
        if !self.may_be_announced(limit) {
            Inflated::TooBig
        } else if self.first & RSV1 == 0 {
            Inflated::Whole(self.payload.clone())
        } else {
            simple.inflate(&self.payload, limit)
        }
    }

    /// What is heard of it if it is good.
    fn event(&self, bytes: Vec<u8>) -> Received {
        let payload = Payload::Assembled(bytes);
        if self.is_text() { Received::Text(payload) } else { Received::Binary(payload) }
    }

    /// Whether this is an error that it deserves.
    fn check_error(&self, inflated: &Inflated, error: Option<ProtocolError>, limit: usize) {
        let is_right = match (inflated, error) {
            (Inflated::Whole(bytes), Some(ProtocolError::InvalidUtf8)) => {
                self.is_text() && str::from_utf8(bytes).is_err()
            }
            // Bad text may come before what is wrong otherwise.
            (Inflated::TooBig | Inflated::Bad, Some(ProtocolError::InvalidUtf8)) => self.is_text(),
            (Inflated::TooBig, error) => error == Some(ProtocolError::MessageTooBig { limit }),
            (Inflated::Bad, error) => error == Some(ProtocolError::BadDeflate),
            (Inflated::Whole(_), _) => false,
        };
        assert!(is_right, "{error:?} for {inflated:?}");
    }

    const fn is_text(&self) -> bool {
        self.first & !RSV1 == Opcode::Text as u8
    }

    /// Whether a header may announce all of it: what is compressed may be a little longer.
    fn may_be_announced(&self, limit: usize) -> bool {
        let longer = if self.first & RSV1 == 0 { 0 } else { limit / 8 + 1024 };
        self.payload.len() <= limit + longer
    }
}

/// Messages that anybody may have made.
fn received(mut script: Script<'_>) {
    let inflation = script.choose([Inflation::ByMessage, Inflation::WithTakeover]);
    let limits = Limits { max_fragments: u32::MAX, ..script.limits(inflation) };
    let (fragments, pieces) = (script.lengths(), script.lengths());
    let pings = script.flag();
    let mut messages = Vec::new();
    let mut size = 0;
    while !script.is_empty() && size < MAX_MESSAGES {
        let how = script.byte();
        let first = [RSV1 | 2, RSV1 | 1, 2, 1][usize::from(how % 4)];
        let payload = payload(&mut script, how);
        size += payload.len();
        messages.push(Message { first, payload });
    }
    let mut inflater = ready(inflation);
    let mut hear = |fragments: &[usize], pieces: &[usize]| {
        let stream = client_stream(&messages, fragments, pings);
        Ear::new(Decoder::new(inflation), limits, inflation, &mut inflater)
            .hear(cut(&stream, pieces))
    };
    let whole = hear(&[], &[]);
    check_meaning(&whole, &messages, inflation, limits.max_message_size);
    check_same(&whole, &hear(&[], &pieces));
    let fragmented = hear(&fragments, &[]);
    check_same(&fragmented, &hear(&fragments, &pieces));
    // A size that is too large in one header is found out later in several.
    if messages.iter().all(|message| message.may_be_announced(limits.max_message_size)) {
        check_same_messages(&whole, &fragmented);
    }
}

fn client_stream(messages: &[Message], fragments: &[usize], pings: bool) -> Vec<u8> {
    let mut stream = Vec::new();
    for Message { first, payload } in messages {
        client::write_message(&mut stream, *first, cut(payload, fragments), pings);
    }
    stream
}

/// What was heard is what a simple inflater makes of it.
fn check_meaning(heard: &Heard, messages: &[Message], inflation: Inflation, limit: usize) {
    let mut events = heard.said();
    let mut simple = Messages::new(1 << 15);
    let mut size = 0;
    for message in messages {
        if inflation == Inflation::ByMessage {
            simple.forget();
        }
        match (message.inflate(&mut simple, limit), events.next()) {
            (Inflated::Whole(bytes), Some(event)) => {
                size += bytes.len();
                assert!(*event == message.event(bytes), "a message came out as another one");
            }
            // With takeover a message that is cut short may go unnoticed.
            (Inflated::Bad, Some(_)) if inflation == Inflation::WithTakeover => return,
            (inflated, None) => return message.check_error(&inflated, error(heard), limit),
            (inflated, event) => panic!("{event:?} where {inflated:?} is right"),
        }
        if size > MAX_MESSAGES {
            return;
        }
    }
    assert_eq!((events.next(), error(heard)), (None, None));
}

/// The same in the same places, and the same error.
fn check_same(whole: &Heard, pieces: &Heard) {
    assert_eq!(pieces.events, whole.events);
    assert_eq!(error(pieces), error(whole));
}

/// The same messages, and the same error.
fn check_same_messages(whole: &Heard, fragmented: &Heard) {
    let is_message = |event: &&Received| matches!(event, Received::Text(_) | Received::Binary(_));
    assert!(fragmented.said().filter(is_message).eq(whole.said().filter(is_message)));
    assert_eq!(error(fragmented), error(whole));
}

fn error(heard: &Heard) -> Option<ProtocolError> {
    heard.failed.as_ref().map(|(error, _)| *error)
}

/// Messages of our own, sent by themselves, as broadcasts, and plain, one after the other.
fn sent(mut script: Script<'_>) {
    let takeover = script.flag();
    let settings = DeflateSettings {
        level: script.choose([1, 2, 3, 4, 5, 6, 7, 8, 9]),
        window_bits: script.choose([9, 10, 11, 12, 13, 14, 15]),
        threshold: script.choose([0, 1, 2, 10, 256, 5000]),
    };
    let (fragments, pieces) = (script.lengths(), script.lengths());
    let mut sender = Sender {
        settings,
        deflate: OutboundDeflate::new(settings, takeover),
        shared: SharedDeflaters::new(),
        out: Vec::new(),
    };
    let (mut said, mut size) = (Vec::new(), 0);
    while !script.is_empty() && size < MAX_MESSAGES {
        let how = script.byte();
        let opcode = if how & 4 == 0 { Opcode::Binary } else { Opcode::Text };
        let payload = own_payload(&mut script, how, opcode, &said);
        size += payload.len();
        sender.send(how & 3, opcode, &payload);
        said.push((opcode, payload));
    }
    let messages = sender.messages();
    check_sizes(&said, &messages, settings, takeover);
    check_window(&said, &messages, settings, takeover);
    check_heard(&said, &messages, takeover, &fragments, &pieces);
}

/// A payload, perhaps without a pattern, perhaps behind the last one or the first one again.
fn own_payload(script: &mut Script<'_>, how: u8, opcode: Opcode, said: &Said) -> Vec<u8> {
    let mut payload = payload(script, how);
    if how & 8 != 0 {
        make_noise(&mut payload);
    }
    let before = match how & 0x30 {
        0x10 => said.last(),
        0x20 => said.first(),
        _none => None,
    };
    if let Some((_, before)) = before {
        payload.splice(0..0, before.iter().copied());
    }
    match opcode {
        Opcode::Text => String::from_utf8_lossy(&payload).into_owned().into_bytes(),
        _binary => payload,
    }
}

/// Bytes that cannot be compressed, the same for the same size.
fn make_noise(payload: &mut [u8]) {
    let mut state = 1_u32;
    for chunk in payload.chunks_mut(4) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        chunk.copy_from_slice(&state.to_be_bytes()[..chunk.len()]);
    }
}

/// One that sends to a connection and to everybody.
struct Sender {
    settings: DeflateSettings,
    deflate: OutboundDeflate,
    shared: SharedDeflaters,
    out: Vec<u8>,
}

impl Sender {
    fn send(&mut self, how: u8, opcode: Opcode, payload: &[u8]) {
        let mut frames = Vec::new();
        encode_frame(&mut frames, opcode, payload);
        match how {
            0 => self.out.append(&mut frames),
            1 if self.shared.compress(&frames, self.settings, &mut self.out) => {
                self.deflate.forget_history();
            }
            1 => {}
            _alone => self.deflate.compress(&frames, &mut self.shared, &mut self.out),
        }
    }

    /// What was sent, frame by frame.
    fn messages(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut rest = &self.out[..];
        while let [first, second, after @ ..] = rest {
            let (length, size) = match second {
                126 => (&after[..2], 2),
                127 => (&after[..8], 8),
                _short => (&rest[1..2], 0),
            };
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let (payload, after) = after[size..].split_at(length);
            assert_eq!(first & FIN, FIN);
            messages.push(Message { first: first ^ FIN, payload: payload.to_vec() });
            rest = after;
        }
        assert_eq!(rest, []);
        messages
    }
}

type Said = [(Opcode, Vec<u8>)];

/// Only what is worth it is compressed.
fn check_sizes(said: &Said, messages: &[Message], settings: DeflateSettings, takeover: bool) {
    assert_eq!(said.len(), messages.len());
    for ((opcode, plain), Message { first, payload }) in said.iter().zip(messages) {
        assert_eq!(first & !RSV1, *opcode as u8);
        if first & RSV1 == 0 {
            assert_eq!(payload, plain);
        } else {
            assert!(plain.len() >= settings.threshold.max(1));
            let most = if takeover { plain.len() + plain.len() / 8 + 64 } else { plain.len() - 1 };
            assert!(payload.len() <= most, "{} of {}", payload.len(), plain.len());
        }
    }
}

/// A peer with a window of the size that was agreed on understands it.
fn check_window(said: &Said, messages: &[Message], settings: DeflateSettings, takeover: bool) {
    let mut peer = Messages::new(1 << settings.window_bits);
    for ((_, plain), Message { first, payload }) in said.iter().zip(messages) {
        if first & RSV1 == 0 {
            continue;
        }
        if !takeover {
            peer.forget();
        }
        let understood = peer.inflate(payload, plain.len());
        let is_same = matches!(&understood, Inflated::Whole(bytes) if bytes == plain);
        assert!(is_same, "a peer with this window is lost");
    }
}

/// It comes out as it was.
fn check_heard(
    said: &Said,
    messages: &[Message],
    takeover: bool,
    fragments: &[usize],
    pieces: &[usize],
) {
    let inflation = if takeover { Inflation::WithTakeover } else { Inflation::ByMessage };
    let max_message_size = said.iter().map(|(_, plain)| plain.len()).max().unwrap_or(0);
    let limits = Limits { max_message_size, max_fragments: u32::MAX };
    let mut inflater: SharedInflater = ready(inflation);
    let assembled = |bytes: &Vec<u8>| Payload::Assembled(bytes.clone());
    for (fragments, pieces) in [(&[][..], &[][..]), (fragments, pieces)] {
        let stream = client_stream(messages, fragments, false);
        let heard = Ear::new(Decoder::new(inflation), limits, inflation, &mut inflater)
            .hear(cut(&stream, pieces));
        assert_eq!(error(&heard), None);
        assert_eq!(heard.events.len(), said.len());
        for (event, (opcode, plain)) in heard.said().zip(said) {
            let is_same = match event {
                Received::Text(text) => *opcode == Opcode::Text && *text == assembled(plain),
                Received::Binary(bytes) => *opcode == Opcode::Binary && *bytes == assembled(plain),
                _other => false,
            };
            assert!(is_same, "a message came out as another one");
        }
    }
}
