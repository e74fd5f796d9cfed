//! One request head, and what can be asked about it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::authority::is_authority;
use super::fields::{self, Field};
use super::request_line::RequestLine;
use super::syntax::{WHITE_SPACE, is_protocol, is_token};
use super::{BadHead, Version};

/// A request head. Names of fields are in lower case, and are asked for so.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The whole head, its bytes taken as latin-1. All ranges are of this.
    text: String,
    method: Range<usize>,
    target: Range<usize>,
    path: Range<usize>,
    query: Range<usize>,
    version: Version,
    fields: Vec<Field>,
    /// What stands for the Host field, whatever that is.
    host: Option<String>,
}

impl RequestHead {
    /// Reads a whole head, up to and with the first empty line.
    pub fn parse(head: &[u8], max_fields: Option<u64>) -> Result<Self, BadHead> {
        let lines = count_lines(head)?;
        // The request line and the empty one are no fields.
        let count = lines.saturating_sub(2) as u64;
        if let Some(limit) = max_fields.filter(|limit| count > *limit) {
            return Err(BadHead::TooManyFields { limit });
        }
        let mut text = decode(head);
        let end = text.find("\r\n").ok_or(BadHead::Incomplete)?;
        let line = RequestLine::parse(&text[..end])?;
        let fields = fields::parse(&mut text, end + 2, lines)?;
        let RequestLine { method, target, path_and_query, authority, version } = line;
        let (path, query) = split_query(&text, path_and_query);
        let mut head = Self { text, method, target, path, query, version, fields, host: None };
        head.check_host()?;
        if let Some(range) = authority {
            // It takes the place of the field: RFC 9112, section 3.2.2.
            let authority = head.text[range].to_owned();
            if !is_authority(&authority) {
                return Err(BadHead::TargetHost);
            }
            head.host = Some(authority);
        }
        Ok(head)
    }

    fn check_host(&self) -> Result<(), BadHead> {
        match (self.get("host"), self.version) {
            (None, Version::Http11) => Err(BadHead::NoHost),
            (None, Version::Http10) => Ok(()),
            (Some(host), _) if is_authority(host) => Ok(()),
            (Some(_), _) => Err(BadHead::Host),
        }
    }

    /// The same head with another Host, whether it has had one or not.
    #[must_use]
    pub fn with_host(&self, authority: String) -> Self {
        Self { host: Some(authority), ..self.clone() }
    }

    /// The method as sent: methods are case-sensitive.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.text[self.method.clone()]
    }

    /// The request-target as sent.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.text[self.target.clone()]
    }

    /// The path of the target as sent; `/` if it has none.
    #[must_use]
    pub fn raw_path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.text[self.path.clone()] }
    }

    /// The path without percent-encoding; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn path(&self) -> Cow<'_, str> {
        let path = self.raw_path();
        if !path.contains('%') {
            return Cow::Borrowed(path);
        }
        match String::from_utf8_lossy(&percent_decoded(path)) {
            Cow::Borrowed(text) => Cow::Owned(text.to_owned()),
            Cow::Owned(text) => Cow::Owned(text),
        }
    }

    /// What followed the question mark, not decoded.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.text[self.query.clone()]
    }

    /// The version of HTTP.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Names in lower case and values without outer white space, in order of arrival.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_replaced = self.host.is_some();
        self.fields
            .iter()
            .map(|field| (&self.text[field.name.clone()], &self.text[field.value.clone()]))
            .filter(move |(name, _)| !is_replaced || *name != "host")
            .chain(self.host.iter().map(|host| ("host", &**host)))
    }

    /// All values of a field, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields().filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The first value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// The members of a list field, in order.
    ///
    /// A list may be spread over several fields and have empty elements, which are no members:
    /// RFC 9110, section 5.6.1. Nothing is said about what the members look like.
    pub fn members(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get_all(name)
            .flat_map(|value| value.split(','))
            .map(|element| element.trim_matches(WHITE_SPACE))
            .filter(|member| !member.is_empty())
    }

    /// Whether a token is a member of a list field, in capitals or not.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.members(name).any(|member| member.eq_ignore_ascii_case(token))
    }

    /// Whether all members of a list field are tokens.
    #[must_use]
    pub fn is_token_list(&self, name: &str) -> bool {
        self.members(name).all(is_token)
    }

    /// Whether all members of a list field are protocols, as those of Upgrade must be.
    #[must_use]
    pub fn is_protocol_list(&self, name: &str) -> bool {
        self.members(name).all(is_protocol)
    }

    /// Whether the client wants the connection to persist: RFC 9112, section 9.3.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        let closes = || self.has_token("connection", "close");
        match self.version {
            Version::Http11 => !closes(),
            Version::Http10 => self.has_token("connection", "keep-alive") && !closes(),
        }
    }

    /// The fields as variables of a WSGI environment (PEP 3333): `HTTP_ACCEPT` and so on.
    ///
    /// Values of the same name are joined. `-` and `_` look the same in a variable, so fields with
    /// an underscore are left out: a client could forge those that a proxy sets.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, Cow<'_, str>)> {
        let mut variables: Vec<(String, Cow<'_, str>)> = Vec::with_capacity(self.fields.len() + 1);
        let mut places = HashMap::with_capacity(self.fields.len() + 1);
        for (name, value) in self.fields().filter(|(name, _)| !name.contains('_')) {
            let at = *places.entry(name).or_insert(variables.len());
            if let Some((_, values)) = variables.get_mut(at) {
                let values = values.to_mut();
                values.push_str(if name == "cookie" { "; " } else { "," });
                values.push_str(value);
            } else {
                variables.push((variable(name), Cow::Borrowed(value)));
            }
        }
        variables
    }
}

/// Counts the ends of lines; nothing else may be a control character, but for the tab.
fn count_lines(head: &[u8]) -> Result<usize, BadHead> {
    let is_control = |byte: &&u8| (**byte < b' ' && **byte != b'\t') || **byte == 0x7f;
    let controls = head.iter().filter(is_control).count();
    let ends = head.windows(2).filter(|pair| *pair == b"\r\n").count();
    // Two are in each end of a line, so there is none elsewhere.
    if controls == 2 * ends { Ok(ends) } else { Err(BadHead::Control) }
}

/// Takes bytes as latin-1. Nearly all heads are ASCII, which is quicker.
fn decode(head: &[u8]) -> String {
    match str::from_utf8(head) {
        Ok(text) if text.is_ascii() => text.to_owned(),
        _other => head.iter().copied().map(char::from).collect(),
    }
}

fn split_query(text: &str, path_and_query: Range<usize>) -> (Range<usize>, Range<usize>) {
    let Range { start, end } = path_and_query;
    match text[start..end].find('?') {
        Some(length) => (start..start + length, start + length + 1..end),
        None => (start..end, end..end),
    }
}

/// The bytes that a text with percent-encoding stands for. What is no encoding stands for itself.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let encoded = match rest {
            [b'%', high, low, ..] => hexadecimal(*high, *low),
            _other => None,
        };
        bytes.push(encoded.unwrap_or(*first));
        rest = if encoded.is_some() { &rest[3..] } else { behind };
    }
    bytes
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// The name of a variable: RFC 3875, section 4.1.
fn variable(name: &str) -> String {
    match name {
        "content-type" => "CONTENT_TYPE".to_owned(),
        "content-length" => "CONTENT_LENGTH".to_owned(),
        _other => {
            let mut variable = String::with_capacity("HTTP_".len() + name.len());
            variable.push_str("HTTP_");
            variable.extend(name.chars().map(|character| match character {
                '-' => '_',
                other => other.to_ascii_uppercase(),
            }));
            variable
        }
    }
}
