//! Response heads.

use super::syntax::is_token;

/// Why a response head cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadField {
    /// It would end its line, and begin another one.
    #[error("a header field of a response contains CR, LF or NUL")]
    Control,
    /// The name of a field is no token.
    #[error("a response has the invalid header name {0:?}")]
    Name(String),
    /// There are no bytes for it: fields are sent as latin-1.
    #[error("a header field of a response contains {0:?}, which is not latin-1")]
    Character(char),
}

/// Writes a head down. `status` is the code and its phrase. Every field is one line and one field.
pub fn render<'a>(
    status: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<u8>, BadField> {
    let mut head = Vec::with_capacity(256);
    head.extend_from_slice(b"HTTP/1.1 ");
    write(&mut head, status)?;
    for (name, value) in fields {
        if !is_token(name) {
            return Err(BadField::Name(name.to_owned()));
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        write(&mut head, value)?;
    }
    head.extend_from_slice(b"\r\n\r\n");
    Ok(head)
}

fn write(head: &mut Vec<u8>, text: &str) -> Result<(), BadField> {
    if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0')) {
        return Err(BadField::Control);
    }
    if text.is_ascii() {
        head.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    for character in text.chars() {
        head.push(u8::try_from(character).map_err(|_| BadField::Character(character))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BadField, render};

    #[test]
    fn each_field_is_a_line() {
        let head = render("200 OK", [("A", "b"), ("X-Name", "\u{e9}t\u{e9}"), ("Empty", "")]);
        let expected = b"HTTP/1.1 200 OK\r\nA: b\r\nX-Name: \xe9t\xe9\r\nEmpty: \r\n\r\n";
        assert_eq!(head.unwrap(), expected);
    }

    #[test]
    fn nothing_can_be_smuggled_in() {
        for text in ["a\r\nB: c", "a\n", "\r", "\0", "\u{e9}\n"] {
            assert_eq!(render("200 OK", [("A", text)]), Err(BadField::Control));
            assert_eq!(render(text, []), Err(BadField::Control));
            assert_eq!(render("200 OK", [(text, "")]), Err(BadField::Name(text.into())));
        }
        for name in ["", "A:", "A b", "\u{e9}"] {
            assert_eq!(render("200 OK", [(name, "")]), Err(BadField::Name(name.into())));
        }
        assert_eq!(render("200 OK", [("A", "\u{20ac}")]), Err(BadField::Character('\u{20ac}')));
    }
}
