//! The `Sec-WebSocket-Extensions` header and what is agreed on, against simpler code.

use std::borrow::Cow;
use std::fmt::Write;

use handy_ws_core::proto::deflate::{DeflateParameters, DeflatePolicy};
use handy_ws_core::proto::{Extension, MalformedExtensions, Parameter, parse_extensions};

use crate::script::Script;

/// Whatever a header says: it is read as a list that is cut at its commas, semicolons and equals
/// signs, or refused with the first byte that does not fit. What is agreed on is the first
/// offer that RFC 7692 lets a server accept, and the answer is legal for it.
///
/// # Panics
///
/// If not.
pub fn extensions(data: &[u8]) {
    let mut script = Script::new(data);
    let options = script.byte();
    let policy = DeflatePolicy { context_takeover: options >= 128, window_bits: options % 32 };
    let header = String::from_utf8_lossy(script.rest());
    let parsed = parse_extensions(&header);
    let negotiated = DeflateParameters::negotiate(&header, policy);
    match (&parsed, simple_list(&header)) {
        (Ok(parsed), Some(expected)) => {
            assert_eq!(*parsed, expected);
            check_written(parsed);
            check_negotiated(parsed, policy, negotiated);
        }
        (Err(error), None) => {
            assert_eq!(negotiated, Err(*error));
            check_place(&header, *error);
        }
        (parsed, expected) => panic!("{parsed:?} where {expected:?} is right"),
    }
}

/// The list, read in a simple way: no value may hold a separator, not even in quotes.
fn simple_list(header: &str) -> Option<Vec<Extension<'_>>> {
    let mut list = Vec::new();
    for element in header.split(',').map(trimmed).filter(|element| !element.is_empty()) {
        let mut parts = element.split(';').map(trimmed);
        let name = parts.next().filter(|name| is_token(name))?;
        let parameters = parts.map(simple_parameter).collect::<Option<_>>()?;
        list.push(Extension { name, parameters });
    }
    (!list.is_empty()).then_some(list)
}

const SPACE: [char; 2] = [' ', '\t'];

fn trimmed(text: &str) -> &str {
    text.trim_matches(SPACE)
}

fn simple_parameter(text: &str) -> Option<Parameter<'_>> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name.trim_end_matches(SPACE), Some(value)),
        None => (text, None),
    };
    let value = match value.map(|value| value.trim_start_matches(SPACE)) {
        None => None,
        Some(value) => {
            let quoted = value.strip_prefix('"').map(|value| value.strip_suffix('"'));
            let value = match quoted {
                Some(inner) => Cow::Owned(unescaped(inner?)?),
                None => Cow::Borrowed(value),
            };
            Some(Some(value).filter(|value| is_token(value))?)
        }
    };
    is_token(name).then_some(Parameter { name, value })
}

/// Without the backslashes; `None` if the last one has nothing to stand before.
fn unescaped(quoted: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        text.push(if character == '\\' { characters.next()? } else { character });
    }
    Some(text)
}

fn is_token(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c);
    !text.is_empty() && text.chars().all(is_part)
}

/// What was read is read again as the same, however its values are written.
fn check_written(list: &[Extension<'_>]) {
    let (mut plain, mut quoted) = (String::new(), String::new());
    for Extension { name, parameters } in list {
        write(&mut plain, format_args!("{name}"));
        write(&mut quoted, format_args!(" ,{name}\t"));
        for Parameter { name, value } in parameters {
            write(&mut plain, format_args!(";{name}"));
            write(&mut quoted, format_args!(" ; {name}"));
            if let Some(value) = value {
                write(&mut plain, format_args!("={value}"));
                write(&mut quoted, format_args!(" =\t\"\\{value}\" "));
            }
        }
        plain.push(',');
    }
    for written in [plain, quoted] {
        assert_eq!(parse_extensions(&written).as_deref(), Ok(list), "{written:?}");
    }
}

fn write(text: &mut String, what: std::fmt::Arguments<'_>) {
    assert!(text.write_fmt(what).is_ok());
}

/// The bytes before the place of an error could have gone on in another way.
fn check_place(header: &str, MalformedExtensions { at }: MalformedExtensions) {
    let Some(beginning) = header.get(..at) else { panic!("{at} is no place in {header:?}") };
    match parse_extensions(beginning) {
        Ok(_) => {}
        Err(error) => assert_eq!(error, MalformedExtensions { at }, "{header:?}"),
    }
}

/// What is agreed on fits the first offer that can be accepted.
fn check_negotiated(
    list: &[Extension<'_>],
    policy: DeflatePolicy,
    negotiated: Result<Option<DeflateParameters>, MalformedExtensions>,
) {
    let Some(offer) = list.iter().find_map(Terms::of_offer) else {
        assert_eq!(negotiated, Ok(None));
        return;
    };
    let Ok(Some(agreed)) = negotiated else { panic!("{offer:?} was answered {negotiated:?}") };
    let text = agreed.to_string();
    let answers = parse_extensions(&text).unwrap_or_default();
    let [answer] = &answers[..] else { panic!("{text:?} is no answer") };
    let Some(answer) = Terms::of_answer(answer) else { panic!("{text:?} is no answer") };
    let wanted = policy.window_bits.clamp(9, 15);
    // RFC 7692, sections 7.1.1.1 and 7.1.2.1: a server does what it is asked for, or more.
    assert!(answer.server_no_takeover || !offer.server_no_takeover);
    assert!(answer.server_bits.unwrap_or(15) <= offer.server_bits.unwrap_or(15));
    assert!(answer.server_bits.is_some() || offer.server_bits.is_none());
    // Section 7.1.2.2: a client may be limited only if it says that it can be.
    if let Some(bits) = answer.client_bits {
        assert!(offer.client_bits.is_some_and(|offered| bits <= offered));
    }
    // And it is what this side wants.
    assert_eq!(agreed.server_window_bits(), answer.server_bits.unwrap_or(15));
    assert_eq!(agreed.server_window_bits(), wanted.min(offer.server_bits.unwrap_or(15)));
    if let Some(offered) = offer.client_bits {
        assert!(answer.client_bits.unwrap_or(offered) <= wanted.max(8));
    }
    if !policy.context_takeover {
        assert!(answer.server_no_takeover && answer.client_no_takeover);
    }
    assert!(!answer.server_no_takeover || offer.server_no_takeover || !policy.context_takeover);
}

/// Parameters of permessage-deflate, as one side has written them.
#[derive(Debug)]
struct Terms {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// In an offer without a value: 15.
    client_bits: Option<u8>,
}

impl Terms {
    /// An offer that can be accepted. zlib has no window of 8 bits for what we send.
    fn of_offer(offer: &Extension<'_>) -> Option<Self> {
        Self::read(offer, |value| if let Some(value) = value { bits(value) } else { Some(15) })
            .filter(|terms| terms.server_bits != Some(8))
    }

    fn of_answer(answer: &Extension<'_>) -> Option<Self> {
        Self::read(answer, |value| bits(value?))
    }

    fn read(
        Extension { name, parameters }: &Extension<'_>,
        client_bits: impl Fn(Option<&str>) -> Option<u8>,
    ) -> Option<Self> {
        let known = [
            "server_no_context_takeover",
            "client_no_context_takeover",
            "server_max_window_bits",
            "client_max_window_bits",
        ];
        let find = |name| {
            let mut found = parameters.iter().filter(move |parameter| parameter.name == name);
            let first = found.next().map(|parameter| parameter.value.as_deref());
            if found.next().is_some() { None } else { Some(first) }
        };
        let flag = |name| match find(name)? {
            None => Some(false),
            Some(None) => Some(true),
            Some(Some(_value)) => None,
        };
        let is_known = |parameter: &Parameter<'_>| known.contains(&parameter.name);
        if *name != "permessage-deflate" || !parameters.iter().all(is_known) {
            return None;
        }
        Some(Self {
            server_no_takeover: flag(known[0])?,
            client_no_takeover: flag(known[1])?,
            server_bits: match find(known[2])? {
                None => None,
                Some(value) => Some(bits(value?)?),
            },
            client_bits: match find(known[3])? {
                None => None,
                Some(value) => Some(client_bits(value)?),
            },
        })
    }
}

/// 8 to 15, written as such.
fn bits(text: &str) -> Option<u8> {
    (8..=15).find(|bits: &u8| bits.to_string() == text)
}
