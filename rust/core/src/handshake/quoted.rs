//! Texts of clients in sentences of ours.

use std::fmt::{self, Write};

/// A text in quotes, with nothing in it that would not be seen: written as Python's `repr` writes
/// what may stand in a header field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = *self;
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        formatter.write_char(quote)?;
        for character in text.chars() {
            match character {
                '\t' => formatter.write_str("\\t")?,
                '\n' => formatter.write_str("\\n")?,
                '\r' => formatter.write_str("\\r")?,
                '\\' => formatter.write_str("\\\\")?,
                _ if character == quote => write!(formatter, "\\{quote}")?,
                // A space that is not one, and a hyphen that is not there.
                '\u{a0}' | '\u{ad}' => write!(formatter, "\\x{:02x}", u32::from(character))?,
                _ if character.is_control() => {
                    write!(formatter, "\\x{:02x}", u32::from(character))?;
                }
                _ => formatter.write_char(character)?,
            }
        }
        formatter.write_char(quote)
    }
}

#[cfg(test)]
mod tests {
    use super::Quoted;

    #[test]
    fn texts_are_quoted_as_in_python() {
        for (text, expected) in [
            ("", "''"),
            ("http://a", "'http://a'"),
            ("it's", "\"it's\""),
            ("\"", "'\"'"),
            ("'\"", "'\\'\"'"),
            ("a\tb\\c\r\n", "'a\\tb\\\\c\\r\\n'"),
            ("\0\x7f\u{80}\u{9f}", "'\\x00\\x7f\\x80\\x9f'"),
            ("\u{a0}\u{a1}\u{ac}\u{ad}\u{ae}\u{ff}", "'\\xa0\u{a1}\u{ac}\\xad\u{ae}\u{ff}'"),
        ] {
            assert_eq!(Quoted(text).to_string(), expected);
        }
    }
}
