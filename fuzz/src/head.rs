//! Request heads, against what they say when they are written down anew.

use handy_ws_core::http::{BadHead, RequestHead};

/// Whatever bytes come: they are refused with the status of an error, or they are a head that says
/// the same when it is written down in the plainest way. So nothing in it could be taken for the
/// end of a line or for another field.
///
/// # Panics
///
/// If not.
pub fn head(data: &[u8]) {
    match parse(data) {
        Err(error) => assert!((400..600).contains(&error.status()), "{error}"),
        Ok(head) => {
            let text = written(&head);
            let Ok(again) = parse(&text) else { panic!("{head:?} cannot be read again") };
            assert!(again.fields().eq(head.fields()), "{again:?} is not {head:?}");
            assert_eq!(again.target(), head.target());
            assert_eq!(again.keeps_alive(), head.keeps_alive());
            assert_eq!(written(&again), text);
        }
    }
}

fn parse(data: &[u8]) -> Result<RequestHead, BadHead> {
    RequestHead::parse(data, Some(100))
}

fn written(head: &RequestHead) -> Vec<u8> {
    let start = format!("{} {} HTTP/{}", head.method(), head.target(), head.version().as_str());
    let fields = head.fields().map(|(name, value)| format!("{name}:{value}"));
    let lines: Vec<_> = [start].into_iter().chain(fields).collect();
    // All characters are of latin-1, as they came.
    let text = lines.join("\r\n") + "\r\n\r\n";
    text.chars().filter_map(|character| u8::try_from(character).ok()).collect()
}
