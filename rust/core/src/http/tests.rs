//! Heads that are read and heads that are refused; properties of any bytes.

use proptest::prelude::*;

use super::{BadHead, RequestHead, Version, is_authority};

fn parse(head: &[u8]) -> Result<RequestHead, BadHead> {
    RequestHead::parse(head, None)
}

/// A request of `start` with these lines, after a Host.
fn with(start: &str, lines: &[&str]) -> Vec<u8> {
    [&[start, "Host: a"], lines, &["", ""]].concat().join("\r\n").into_bytes()
}

fn fields(head: &RequestHead) -> Vec<(&str, &str)> {
    head.fields().collect()
}

#[test]
fn the_parts_of_a_head() {
    let head = parse(
        b"POST /a%20b?x=%41 HTTP/1.1\r\nHost: h\r\nX-Thing:  one \t\r\nx-thing:two\r\nEmpty:\r\n\
          X-Bytes: \xe4\xff\r\n\r\n",
    )
    .unwrap();
    assert_eq!((head.method(), head.target()), ("POST", "/a%20b?x=%41"));
    assert_eq!((head.raw_path(), &*head.path(), head.query()), ("/a%20b", "/a b", "x=%41"));
    assert_eq!((head.version(), head.version().as_str()), (Version::Http11, "1.1"));
    let expected =
        [("host", "h"), ("x-thing", "one"), ("x-thing", "two"), ("empty", ""), ("x-bytes", "äÿ")];
    assert_eq!(fields(&head), expected);
    assert_eq!(head.get("x-thing"), Some("one"));
    assert_eq!(head.get_all("x-thing").collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(head.get("missing"), None);
}

#[test]
fn the_forms_of_a_target() {
    let cases = [
        ("GET / HTTP/1.1", "/", "/", "", "a"),
        ("GET /?a?b HTTP/1.0", "/", "/", "a?b", "a"),
        ("GET //two HTTP/1.1", "//two", "//two", "", "a"),
        ("GET /%ff%zz%4 HTTP/1.1", "/%ff%zz%4", "/\u{fffd}%zz%4", "", "a"),
        ("GET /%c3%A4 HTTP/1.1", "/%c3%A4", "/ä", "", "a"),
        ("OPTIONS * HTTP/1.1", "*", "*", "", "a"),
        ("GET http://b:1/c?d HTTP/1.1", "/c", "/c", "d", "b:1"),
        ("GET HTTPS://b HTTP/1.1", "/", "/", "", "b"),
        ("GET http://b?d/e HTTP/1.1", "/", "/", "d/e", "b"),
    ];
    for (start, raw, path, query, host) in cases {
        let head = parse(&with(start, &[])).unwrap();
        assert_eq!((head.raw_path(), &*head.path(), head.query()), (raw, path, query), "{start}");
        assert_eq!(fields(&head), [("host", host)], "{start}");
    }
}

#[test]
fn what_is_refused_and_how() {
    let cases: &[(&str, &[&str], BadHead)] = &[
        ("GET / HTTP/1.1", &["B: c\rd"], BadHead::Control),
        ("GET / HTTP/1.1", &["B: c\nd"], BadHead::Control),
        ("GET / HTTP/1.1", &["B: \x7f"], BadHead::Control),
        ("GET / HTTP/1.1", &["B: \0"], BadHead::Control),
        ("GET  HTTP/1.1", &[], BadHead::Target),
        ("GET /  HTTP/1.1", &[], BadHead::RequestLine),
        ("GET /", &[], BadHead::RequestLine),
        ("GET / HTTP/2.0", &[], BadHead::OtherVersion),
        ("GET / HTTP/1.10", &[], BadHead::Version),
        ("G(T / HTTP/1.1", &[], BadHead::Method),
        (" / HTTP/1.1", &[], BadHead::Method),
        ("get / HTTP/1.1", &[], BadHead::UnknownMethod),
        ("CONNECT a:1 HTTP/1.1", &[], BadHead::UnknownMethod),
        ("GET /# HTTP/1.1", &[], BadHead::Target),
        ("GET /ä HTTP/1.1", &[], BadHead::Target),
        ("GET * HTTP/1.1", &[], BadHead::Asterisk),
        ("GET a HTTP/1.1", &[], BadHead::TargetForm),
        ("FANCY a HTTP/1.1", &[], BadHead::TargetForm),
        ("GET ftp://a HTTP/1.1", &[], BadHead::TargetForm),
        ("GET http://u@a HTTP/1.1", &[], BadHead::TargetHost),
        ("GET / HTTP/1.1", &["B : c"], BadHead::Malformed(httparse::Error::HeaderName)),
        ("GET / HTTP/1.1", &[" B: c"], BadHead::Malformed(httparse::Error::HeaderName)),
        ("GET / HTTP/1.1", &[": c"], BadHead::Malformed(httparse::Error::HeaderName)),
        ("GET / HTTP/1.1", &["B"], BadHead::Malformed(httparse::Error::HeaderName)),
        ("GET / HTTP/1.1", &["ä: c"], BadHead::Malformed(httparse::Error::HeaderName)),
        ("GET / HTTP/1.1", &["hOST: a"], BadHead::Repeated("host")),
        ("GET / HTTP/1.1", &["Host: a", "B"], BadHead::Repeated("host")),
        ("GET / HTTP/1.1", &["Content-Length: +1"], BadHead::Length),
        ("GET / HTTP/1.1", &["Content-Length:"], BadHead::Length),
        ("GET / HTTP/1.1", &["Content-Length: 18446744073709551616"], BadHead::Length),
        ("GET / HTTP/1.1", &["Transfer-Encoding:"], BadHead::NoCoding),
        ("GET / HTTP/1.1", &["Transfer-Encoding: chunked ,"], BadHead::ChunkedBeforeOther),
        (
            "GET / HTTP/1.1",
            &["Transfer-Encoding: chunked", "Content-Length: 1"],
            BadHead::TwoFramings,
        ),
    ];
    for (start, lines, error) in cases {
        let head = with(start, lines);
        assert_eq!(parse(&latin_1(&head)).unwrap_err(), *error, "{start} {lines:?}");
    }
    assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n").unwrap_err(), BadHead::NoHost);
    assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n").unwrap_err(), BadHead::Host);
    assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap_err(), BadHead::Incomplete);
    assert_eq!(parse(b"").unwrap_err(), BadHead::Incomplete);
    assert!(parse(b"GET / HTTP/1.0\r\n\r\n").is_ok());
}

/// The test writes text, and a head has bytes.
fn latin_1(head: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(head).unwrap();
    text.chars().map(|character| u8::try_from(character).unwrap()).collect()
}

#[test]
fn the_status_says_whose_fault_it_is() {
    let status = |start| parse(&with(start, &[])).unwrap_err().status();
    assert_eq!(status("GET / HTTP/2.0"), 505);
    assert_eq!(status("FANCY / HTTP/1.1"), 501);
    assert_eq!(status("GET /"), 400);
    let error = RequestHead::parse(&with("GET / HTTP/1.1", &["B: c"]), Some(1)).unwrap_err();
    assert_eq!((error.status(), error), (431, BadHead::TooManyFields { limit: 1 }));
    assert!(RequestHead::parse(&with("GET / HTTP/1.1", &["B: c"]), Some(2)).is_ok());
}

#[test]
fn lists() {
    let lines = ["Connection: keep-alive, Foo", "Connection:\tUPGRADE ,", "Upgrade: a/1, b c"];
    let head = parse(&with("GET / HTTP/1.1", &lines)).unwrap();
    let members: Vec<_> = head.members("connection").collect();
    assert_eq!(members, ["keep-alive", "Foo", "UPGRADE"]);
    assert!(head.has_token("connection", "upgrade"));
    assert!(!head.has_token("connection", "up"));
    assert!(head.is_token_list("connection"));
    assert!(!head.is_protocol_list("upgrade"));
    for (value, is_list) in [("a/1, b", true), ("", true), ("a/", false), ("a/b/c", false)] {
        let head = parse(&with("GET / HTTP/1.1", &[&format!("Upgrade: {value}")])).unwrap();
        assert_eq!(head.is_protocol_list("upgrade"), is_list, "{value}");
    }
}

#[test]
fn persistence() {
    let cases = [
        ("GET / HTTP/1.1", "", true),
        ("GET / HTTP/1.1", "x, Close", false),
        ("GET / HTTP/1.0", "", false),
        ("GET / HTTP/1.0", "Keep-Alive", true),
        ("GET / HTTP/1.0", "keep-alive, close", false),
    ];
    for (start, value, expected) in cases {
        let head = parse(&with(start, &[&format!("Connection: {value}")])).unwrap();
        assert_eq!(head.keeps_alive(), expected, "{start} {value}");
    }
}

#[test]
fn another_host_takes_the_place_of_the_field() {
    let head = parse(&with("GET / HTTP/1.1", &["B: c"])).unwrap().with_host("x:1".to_owned());
    assert_eq!(fields(&head), [("b", "c"), ("host", "x:1")]);
    assert_eq!((head.get("host"), head.get_all("host").count()), (Some("x:1"), 1));
}

#[test]
fn variables_are_joined_and_none_is_forged() {
    let lines = ["Cookie: a", "X-Y: 1", "X_Y: 2", "Cookie: b", "x-y: 3", "Content-Type: t"];
    let head = parse(&with("GET / HTTP/1.1", &lines)).unwrap();
    let variables = head.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
    let expected =
        [("HTTP_HOST", "a"), ("HTTP_COOKIE", "a; b"), ("HTTP_X_Y", "1,3"), ("CONTENT_TYPE", "t")];
    assert_eq!(variables, expected);
}

#[test]
fn hosts() {
    let long = "a".repeat(260);
    for good in ["a", "a:", "a:65535", "a.b-c_~!$&'()*+,;=:1", "%41", "[::1]", "[::ffff:1.2.3.4]:8"]
    {
        assert!(is_authority(good), "{good}");
    }
    for bad in [
        "",
        ":1",
        "a:65536",
        "a:000001",
        "a:b",
        "a:1:2",
        "a b",
        "u@a",
        "a/b",
        "%4",
        "%zz",
        "ä",
        "[",
        "[::1",
        "[::1]a",
        "[:::1]",
        "[]",
        "[v1.a]",
        "[1.2.3.4]",
        "[::1%a]",
        &long,
    ] {
        assert!(!is_authority(bad), "{bad}");
    }
}

/// What heads are made of, and what spoils them.
const PIECES: &[&str] = &[
    "GET",
    "OPTIONS",
    "PRI",
    "FANCY",
    " ",
    " ",
    "/",
    "/a%20b?c",
    "*",
    "http://a:1/",
    "HTTP/1.1",
    "HTTP/1.0",
    "\r\n",
    "\r\n",
    "\r\n",
    "Host",
    "Host: a\r\n",
    ":",
    ": ",
    "Connection: close\r\n",
    "Content-Length: 1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "\t",
    ",",
    "x",
    "\u{e4}",
    "\r",
    "\n",
    "\0",
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "\r\n\r\n",
];

/// Anything, and what is nearly a head.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let nearly = prop::collection::vec(prop::sample::select(PIECES), 0..16).prop_map(|pieces| {
        let text = pieces.concat() + "\r\n\r\n";
        latin_1(text.as_bytes())
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), nearly]
}

/// A head, written down anew.
fn written(head: &RequestHead) -> Vec<u8> {
    let start = format!("{} {} HTTP/{}", head.method(), head.target(), head.version().as_str());
    let fields = head.fields().map(|(name, value)| format!("{name}: {value}"));
    let lines: Vec<_> = [start].into_iter().chain(fields).collect();
    latin_1((lines.join("\r\n") + "\r\n\r\n").as_bytes())
}

proptest! {
    /// What is refused is refused with an error status, and what is accepted means the same when
    /// it is written down again: nothing in it can be read as something else.
    #[test]
    fn any_bytes_are_a_head_or_refused(bytes in heads()) {
        match parse(&bytes) {
            Err(error) => prop_assert!((400..600).contains(&error.status())),
            Ok(head) => {
                let text = written(&head);
                let again = parse(&text).unwrap();
                prop_assert_eq!(fields(&again), fields(&head));
                prop_assert_eq!(again.target(), head.target());
                prop_assert_eq!(written(&again), text);
                for (name, value) in head.fields() {
                    prop_assert_eq!(name.to_ascii_lowercase(), name);
                    prop_assert_eq!(value.trim_matches([' ', '\t']), value);
                    prop_assert!(head.get_all(name).any(|other| other == value));
                }
            }
        }
    }

    #[test]
    fn fields_come_back_as_they_were_sent(
        sent in prop::collection::vec(("X-[A-Za-z0-9!#$%&'*+.^_`|~-]{0,9}", "[!-~\u{80}-\u{ff}]{0,9}"), 0..9)
    ) {
        let lines: Vec<_> = sent.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let head = parse(&latin_1(&with("GET / HTTP/1.1", &lines))).unwrap();
        let names: Vec<_> = sent.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let expected = names.iter().map(String::as_str).zip(sent.iter().map(|(_, value)| &**value));
        prop_assert_eq!(fields(&head)[1..].to_vec(), expected.collect::<Vec<_>>());
    }
}
