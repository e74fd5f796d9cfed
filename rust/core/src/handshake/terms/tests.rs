use std::collections::BTreeMap;

use super::{NotToken, Terms};
use crate::handshake::{Accepted, Negotiation, Origins, Refusal};
use crate::http::RequestHead;
use crate::manager::Check;
use crate::proto::MalformedExtensions;
use crate::proto::deflate::DeflatePolicy;

const DEFLATE: Negotiation = Negotiation::Deflate {
    policy: DeflatePolicy { context_takeover: true, window_bits: 15 },
    level: 1,
    threshold: 0,
};

/// The example of RFC 6455, section 1.2.
const OF_THE_RFC: &str = "GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// A head with these lines in the place of those of the same names; an empty value is no line.
fn head(request_line: &str, lines: &[&str]) -> RequestHead {
    let mut fields = BTreeMap::new();
    let own = [
        "Host: a",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];
    for line in own {
        fields.insert(line.split_once(": ").unwrap().0, vec![line]);
    }
    for line in lines {
        fields.insert(line.split_once(':').unwrap().0, Vec::new());
    }
    for line in lines.iter().filter(|line| !line.ends_with(':')) {
        fields.entry(line.split_once(':').unwrap().0).or_default().push(line);
    }
    let lines: Vec<&str> = fields.into_values().flatten().collect();
    let text = format!("{request_line}\r\n{}\r\n\r\n", lines.join("\r\n"));
    RequestHead::parse(text.as_bytes(), None).unwrap()
}

fn get(lines: &[&str]) -> RequestHead {
    head("GET / HTTP/1.1", lines)
}

fn terms(subprotocols: &[&str], origins: Origins, negotiation: Option<Negotiation>) -> Terms {
    Terms::new(subprotocols.iter().copied(), origins, negotiation).unwrap()
}

fn check(head: &RequestHead) -> Result<Accepted, Refusal> {
    terms(&["v1", "v2"], Origins::Same, None).check(head, false, &DEFLATE)
}

#[test]
fn the_example_of_the_rfc() {
    let head = RequestHead::parse(OF_THE_RFC.as_bytes(), None).unwrap();
    let origins = Origins::listed(["http://example.com"]).unwrap();
    let accepted = terms(&["chat"], origins, None).check(&head, false, &DEFLATE).unwrap();
    assert_eq!(
        str::from_utf8(&accepted.response()).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: chat\r\n\r\n"
    );
    assert_eq!(accepted.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(accepted.subprotocol().map(|name| &**name), Some("chat"));
    assert_eq!(accepted.deflate(), None);
    // The page comes from another host than the socket.
    let refusal = check(&head).unwrap_err();
    assert_eq!(refusal, Refusal::Origin("http://example.com".to_owned()));
}

#[test]
fn valid_handshakes() {
    for lines in [
        &[][..],
        &["Connection: keep-alive, Upgrade"],
        &["Connection: upgrade"],
        &["Connection: keep-alive, \t UPGRADE ,"],
        &["Connection: keep-alive", "Connection: Upgrade"],
        &["Upgrade: WebSocket"],
        &["Upgrade: h2c/1, websocket"],
        &["Upgrade: foo", "Upgrade: websocket"],
        &["Origin: http://a"],
        &["Origin: https://A:443"],
        &["Sec-WebSocket-Protocol: x"],
        &["Sec-WebSocket-Extensions: x; y=z"],
    ] {
        let accepted = check(&get(lines)).unwrap();
        assert_eq!(accepted.fields().count(), 3, "{lines:?}");
        assert!(accepted.response().starts_with(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: "));
    }
}

/// A refused handshake: its lines, the status, the reason, the header fields and what counts it.
type Case<'a> = (&'a [&'a str], u16, &'a str, &'a [(&'a str, &'a str)], Check);

const UPGRADE: &[(&str, &str)] = &[("Upgrade", "websocket"), ("Connection", "Upgrade")];
const UPGRADE_TO_13: &[(&str, &str)] =
    &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")];

#[test]
fn anything_else_has_a_status_and_a_reason() {
    let no_upgrade = "this resource speaks the WebSocket protocol: Upgrade: websocket is missing";
    let no_connection = "Connection: Upgrade is missing";
    let lists = "Upgrade must be a list of protocols, and Connection one of tokens";
    let key = "there must be a Sec-WebSocket-Key header, with 16 bytes in base64";
    let protocols = "Sec-WebSocket-Protocol must be a list of different tokens";
    let version = |version| format!("WebSocket version '{version}' is not spoken here, only 13");
    let origin = |origin| format!("origin '{origin}' is not allowed");
    let cases: &[Case<'_>] = &[
        (&["Upgrade:"], 426, no_upgrade, UPGRADE, Check::Handshake),
        (&["Upgrade: notwebsocket"], 426, no_upgrade, UPGRADE, Check::Handshake),
        (&["Upgrade: websocket/13"], 426, no_upgrade, UPGRADE, Check::Handshake),
        (&["Connection:"], 400, no_connection, &[], Check::Handshake),
        (&["Connection: keep-alive"], 400, no_connection, &[], Check::Handshake),
        (&["Connection: notupgrade"], 400, no_connection, &[], Check::Handshake),
        (&["Upgrade: websocket, a b"], 400, lists, &[], Check::Handshake),
        (&["Connection: Upgrade, a/b"], 400, lists, &[], Check::Handshake),
        (
            &["Sec-WebSocket-Version:"],
            400,
            "Sec-WebSocket-Version is missing",
            &[],
            Check::Handshake,
        ),
        (&["Sec-WebSocket-Version: 8"], 426, &version("8"), UPGRADE_TO_13, Check::Handshake),
        (
            &["Sec-WebSocket-Version: 13, 8"],
            426,
            &version("13, 8"),
            UPGRADE_TO_13,
            Check::Handshake,
        ),
        (&["Sec-WebSocket-Version: +13"], 426, &version("+13"), UPGRADE_TO_13, Check::Handshake),
        (&["Sec-WebSocket-Key:"], 400, key, &[], Check::Handshake),
        (&["Sec-WebSocket-Key: short"], 400, key, &[], Check::Handshake),
        (&["Sec-WebSocket-Protocol: ,"], 400, protocols, &[], Check::Handshake),
        (&["Sec-WebSocket-Protocol: v1, v2, v1"], 400, protocols, &[], Check::Handshake),
        (&["Sec-WebSocket-Protocol: v1, a b"], 400, protocols, &[], Check::Handshake),
        (
            &["Sec-WebSocket-Protocol: v1", "Sec-WebSocket-Protocol: v1"],
            400,
            protocols,
            &[],
            Check::Handshake,
        ),
        (
            &["Origin: http://a", "Origin: http://a"],
            400,
            "more than one Origin header",
            &[],
            Check::Handshake,
        ),
        (&["Origin: null"], 403, &origin("null"), &[], Check::Origin),
        (&["Origin: http://b"], 403, &origin("http://b"), &[], Check::Origin),
        (
            &["Sec-WebSocket-Extensions: a;"],
            400,
            "Sec-WebSocket-Extensions is malformed at byte 2",
            &[],
            Check::Handshake,
        ),
    ];
    for (lines, status, reason, fields, counted) in cases {
        let refusal = check(&get(lines)).unwrap_err();
        assert_eq!(refusal.to_string(), *reason, "{lines:?}");
        assert_eq!(refusal.status(), *status, "{lines:?}");
        assert_eq!(refusal.fields(), *fields, "{lines:?}");
        assert_eq!(refusal.check(), *counted, "{lines:?}");
    }
}

#[test]
fn a_handshake_is_a_get_request_of_http_1_1() {
    let refusal = check(&head("POST / HTTP/1.1", &[])).unwrap_err();
    assert_eq!(refusal, Refusal::Method);
    assert_eq!((refusal.status(), refusal.fields()), (405, &[("Allow", "GET")][..]));
    assert_eq!(refusal.to_string(), "a WebSocket handshake is a GET request");
    let refusal = check(&head("GET / HTTP/1.0", &[])).unwrap_err();
    assert_eq!(refusal, Refusal::HttpVersion);
    assert_eq!((refusal.status(), refusal.fields()), (400, &[][..]));
    assert_eq!(refusal.to_string(), "a WebSocket handshake is an HTTP/1.1 request");
}

#[test]
fn the_first_fault_in_the_order_of_the_checks_is_told() {
    let mut lines = vec![
        "Upgrade: h2c",
        "Connection: close",
        "Sec-WebSocket-Version: 8",
        "Sec-WebSocket-Key: x",
        "Origin: null",
        "Sec-WebSocket-Protocol: a b",
        "Sec-WebSocket-Extensions: ;",
    ];
    assert_eq!(check(&head("PUT / HTTP/1.0", &lines)), Err(Refusal::Method));
    assert_eq!(check(&head("GET / HTTP/1.0", &lines)), Err(Refusal::NoUpgrade));
    lines[0] = "Upgrade: websocket, a b";
    assert_eq!(check(&head("GET / HTTP/1.0", &lines)), Err(Refusal::HttpVersion));
    assert_eq!(check(&get(&lines)), Err(Refusal::NoConnection));
    for (at, better, next) in [
        (1, "Connection: Upgrade", Refusal::Lists),
        (0, "Upgrade: websocket", Refusal::Version("8".to_owned())),
        (2, "Sec-WebSocket-Version: 13", Refusal::Key),
        (3, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", Refusal::Origin("null".to_owned())),
        (4, "Origin: http://a", Refusal::Subprotocols),
        (5, "Sec-WebSocket-Protocol: v1", Refusal::Extensions(MalformedExtensions { at: 0 })),
    ] {
        lines[at] = better;
        assert_eq!(check(&get(&lines)), Err(next));
    }
    lines[6] = "Sec-WebSocket-Extensions: x";
    assert!(check(&get(&lines)).is_ok());
}

#[test]
fn the_first_subprotocol_of_the_client_that_is_spoken_is_agreed_on() {
    for (lines, expected) in [
        (&["Sec-WebSocket-Protocol: v1, v2"][..], Some("v1")),
        (&["Sec-WebSocket-Protocol: x, v2, v1"], Some("v2")),
        (&["Sec-WebSocket-Protocol: x", "Sec-WebSocket-Protocol: , v2"], Some("v2")),
        (&["Sec-WebSocket-Protocol: V1, v"], None),
        (&[], None),
    ] {
        let accepted = check(&get(lines)).unwrap();
        assert_eq!(accepted.subprotocol().map(|name| &**name), expected, "{lines:?}");
    }
    let many: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    let line = format!("Sec-WebSocket-Protocol: {}, v1", many.join(","));
    assert!(check(&get(&[&line])).unwrap().subprotocol().is_some(), "in much less than a minute");
}

#[test]
fn subprotocols_must_be_tokens() {
    for name in ["a b", "", "\u{fc}", "b,c"] {
        let result = Terms::new(["a", name], Origins::Same, None);
        assert_eq!(result.unwrap_err(), NotToken(name.to_owned()));
    }
    let text = NotToken("a b".to_owned()).to_string();
    assert_eq!(text, "subprotocols must be tokens (RFC 9110 section 5.6.2), not 'a b'");
}

#[test]
fn extensions_are_one_list_however_many_lines_they_take() {
    let lines = ["Sec-WebSocket-Extensions: x", "Sec-WebSocket-Extensions: permessage-deflate"];
    let accepted = check(&get(&lines)).unwrap();
    let fields: Vec<_> = accepted.fields().collect();
    assert_eq!(fields[3], ("Sec-WebSocket-Extensions", "permessage-deflate".into()));
    let lines = ["Sec-WebSocket-Extensions: x", "Sec-WebSocket-Extensions: ;"];
    let malformed = MalformedExtensions { at: 3 };
    assert_eq!(check(&get(&lines)), Err(Refusal::Extensions(malformed)));
}

#[test]
fn the_server_says_what_to_agree_to_where_the_terms_do_not() {
    let head = get(&["Sec-WebSocket-Extensions: permessage-deflate"]);
    for (of_terms, of_server, agreed) in [
        (None, DEFLATE, true),
        (None, Negotiation::Decline, false),
        (Some(DEFLATE), Negotiation::Decline, true),
        (Some(Negotiation::Decline), DEFLATE, false),
    ] {
        let terms = terms(&[], Origins::Same, of_terms);
        let accepted = terms.check(&head, false, &of_server).unwrap();
        assert_eq!(accepted.deflate().is_some(), agreed);
    }
}

#[test]
fn with_tls_the_page_must_have_come_with_it() {
    let terms = terms(&[], Origins::Same, None);
    for (origin, is_https, allowed) in
        [("http://a", false, true), ("http://a", true, false), ("https://a", true, true)]
    {
        let head = get(&[&format!("Origin: {origin}")]);
        assert_eq!(terms.check(&head, is_https, &DEFLATE).is_ok(), allowed, "{origin}");
    }
}
