//! The `Sec-WebSocket-Extensions` header (RFC 6455, section 9.1): a list of extensions, each with
//! parameters that may have a value.
//!
//! ```text
//! permessage-deflate; client_max_window_bits; server_max_window_bits=10, x-other; a="b"
//! ```
//!
//! The grammar is that of RFC 2616: white space may stand around every separator, and a list may
//! have empty elements. A value may be quoted, and must be a token once it no longer is. One pass
//! over the text reads it, in time and memory in proportion to its length.

use std::borrow::Cow;

use crate::http::is_token_byte;

/// The header is not what RFC 6455, section 9.1, says: the handshake is to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Sec-WebSocket-Extensions is malformed at byte {at}")]
pub struct MalformedExtensions {
    /// The offset of the byte that does not fit, or the length if something is missing.
    pub at: usize,
}

/// One extension of the list, as its sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its name, which is compared as it stands.
    pub name: &'a str,
    /// Its parameters in order, repeated ones included.
    pub parameters: Vec<Parameter<'a>>,
}

/// A parameter: a name, and a value if there was one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// The name.
    pub name: &'a str,
    /// The value without its quotes: a token.
    pub value: Option<Cow<'a, str>>,
}

/// Reads a whole header: all fields of that name, joined with commas.
pub fn parse_extensions(header: &str) -> Result<Vec<Extension<'_>>, MalformedExtensions> {
    let mut reader = Reader { text: header, at: 0 };
    let mut extensions = Vec::new();
    loop {
        reader.skip_space();
        match reader.peek() {
            Some(b',') => {}
            None => break,
            Some(_) => extensions.push(reader.extension()?),
        }
        if !reader.take(b',') {
            break;
        }
    }
    // There must be one at least, and nothing behind the last.
    if reader.peek().is_some() || extensions.is_empty() { reader.fail() } else { Ok(extensions) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn extension(&mut self) -> Result<Extension<'a>, MalformedExtensions> {
        let name = self.token()?;
        let mut parameters = Vec::new();
        while self.take(b';') {
            self.skip_space();
            let name = self.token()?;
            let value = if self.take(b'=') { Some(self.value()?) } else { None };
            parameters.push(Parameter { name, value });
        }
        Ok(Extension { name, parameters })
    }

    /// What follows an equals sign.
    fn value(&mut self) -> Result<Cow<'a, str>, MalformedExtensions> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        self.at += 1;
        let start = self.at;
        let mut value = String::new();
        loop {
            match self.peek() {
                Some(b'"') if self.at > start => break,
                Some(b'\\') => self.at += 1,
                Some(_) | None => {}
            }
            match self.peek() {
                Some(byte) if is_token_byte(byte) => value.push(char::from(byte)),
                Some(_) | None => return self.fail(),
            }
            self.at += 1;
        }
        self.at += 1;
        self.skip_space();
        Ok(Cow::Owned(value))
    }

    /// A token and the white space behind it.
    fn token(&mut self) -> Result<&'a str, MalformedExtensions> {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|byte| is_token_byte(*byte)).count();
        if length == 0 {
            return self.fail();
        }
        self.at += length;
        self.skip_space();
        Ok(&rest[..length])
    }

    /// Reads this byte, if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    const fn fail<T>(&self) -> Result<T, MalformedExtensions> {
        Err(MalformedExtensions { at: self.at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An extension of a name and parameters.
    fn extension<'a>(name: &'a str, parameters: &[(&'a str, Option<&'a str>)]) -> Extension<'a> {
        let parameters = parameters
            .iter()
            .map(|&(name, value)| Parameter { name, value: value.map(Cow::Borrowed) })
            .collect();
        Extension { name, parameters }
    }

    #[test]
    fn headers_that_are_well_formed() {
        let simple = || extension("a", &[]);
        for (header, expected) in [
            ("a", vec![simple()]),
            (" \ta\t ", vec![simple()]),
            ("a, b", vec![simple(), extension("b", &[])]),
            ("a,a", vec![simple(), simple()]),
            (",, a ,\t,", vec![simple()]),
            ("a;b", vec![extension("a", &[("b", None)])]),
            ("a ; b ; b", vec![extension("a", &[("b", None), ("b", None)])]),
            ("a;b=c", vec![extension("a", &[("b", Some("c"))])]),
            ("a; b = c ,d", vec![extension("a", &[("b", Some("c"))]), extension("d", &[])]),
            ("a;b=\"c\"", vec![extension("a", &[("b", Some("c"))])]),
            ("a;b=\"\\c\\1\" ;d", vec![extension("a", &[("b", Some("c1")), ("d", None)])]),
            ("A-z.0!#$%&'*+^_`|~", vec![extension("A-z.0!#$%&'*+^_`|~", &[])]),
        ] {
            assert_eq!(parse_extensions(header), Ok(expected), "{header:?}");
        }
    }

    #[test]
    fn headers_that_are_malformed() {
        for (header, at) in [
            ("", 0),
            (" ", 1),
            (",", 1),
            (" , ,", 4),
            ("a b", 2),
            ("a;", 2),
            ("a; ", 3),
            ("a;;b", 2),
            ("a;,b", 2),
            ("a;=", 2),
            ("a;b=", 4),
            ("a;b= ;c", 5),
            ("a;b==c", 4),
            ("a;b=c d", 6),
            ("a;b=\"", 5),
            ("a;b=\"\"", 5),
            ("a;b=\"c", 6),
            ("a;b=\"c d\"", 6),
            ("a;b=\"c,d\"", 6),
            ("a;b=\"\\\"\"", 6),
            ("a;b=\"c\\", 7),
            ("a;b=\"c\"d", 7),
            ("a=b", 1),
            ("a/b", 1),
            ("\"a\"", 0),
            ("a\n", 1),
            ("a,\0", 2),
            ("ä", 0),
            ("a;b=\"ä\"", 5),
        ] {
            assert_eq!(parse_extensions(header), Err(MalformedExtensions { at }), "{header:?}");
        }
        let error = MalformedExtensions { at: 3 };
        assert_eq!(error.to_string(), "Sec-WebSocket-Extensions is malformed at byte 3");
    }

    #[test]
    fn every_byte_is_part_of_a_token_or_not() {
        let tokens =
            "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        for byte in 0..=u8::MAX {
            let expected = tokens.as_bytes().contains(&byte);
            assert_eq!(is_token_byte(byte), expected, "{byte:#04x}");
        }
    }

    #[test]
    fn long_headers_take_linear_time() {
        // Each would take minutes if anything were read again for every byte.
        let spaces = " ".repeat(1 << 20);
        let commas = ",".repeat(1 << 20);
        let quotes = format!("a;b=\"{}", "\\x".repeat(1 << 19));
        for header in [&spaces, &commas, &quotes] {
            assert_eq!(parse_extensions(header), Err(MalformedExtensions { at: header.len() }));
        }
        assert_eq!(parse_extensions(&"a,".repeat(1 << 19)).map(|list| list.len()), Ok(1 << 19));
        let parameters = format!("a{}", ";b=c".repeat(1 << 18));
        let parsed = parse_extensions(&parameters).unwrap();
        assert_eq!(parsed[0].parameters.len(), 1 << 18);
    }
}
