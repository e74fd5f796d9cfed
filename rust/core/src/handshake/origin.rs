//! Which web pages may connect (RFC 6454; RFC 6455, section 10.2).
//!
//! A browser lets any page open a WebSocket to any server, with the cookies of that server: only
//! the server can refuse, by the `Origin` header that the page cannot change. Origins are compared
//! part by part, never as prefixes or suffixes: `http://good.com.evil.com` is not
//! `http://good.com`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::Ipv6Addr;

use super::quoted::Quoted;

/// The origins that are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All of them, and what is none.
    Any,
    /// That of the server itself, as the Host header names it.
    Same,
    /// These.
    Listed(ListedOrigins),
}

/// A set of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedOrigins(HashSet<Origin<'static>>);

/// An allowed origin that is none, or has a scheme other than http and https.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("allowed_origins: {} is no origin such as 'https://example.com'", Quoted(.0))]
pub struct NotOrigin(pub String);

impl Origins {
    /// Reads what may stand in the place of a list: `*`, `same-origin`, or one origin.
    pub fn parse(allowed: &str) -> Result<Self, NotOrigin> {
        match allowed {
            "*" => Ok(Self::Any),
            "same-origin" => Ok(Self::Same),
            origin => Self::listed([origin]),
        }
    }

    /// Those of a list.
    pub fn listed<'a>(origins: impl IntoIterator<Item = &'a str>) -> Result<Self, NotOrigin> {
        let parsed = origins.into_iter().map(|text| match Origin::parse(text) {
            Some(origin) => Ok(origin.into_owned()),
            None => Err(NotOrigin(text.to_owned())),
        });
        Ok(Self::Listed(ListedOrigins(parsed.collect::<Result<_, _>>()?)))
    }

    /// Whether a page of this origin may connect.
    ///
    /// `origin` and `host` are the values of the header fields of these names; `is_https` is
    /// whether the client speaks TLS, so that no page that came without can be ours.
    #[must_use]
    pub fn allows(&self, origin: &str, host: &str, is_https: bool) -> bool {
        // "null" is no origin, which any sandboxed page sends.
        match self {
            Self::Any => true,
            Self::Listed(ListedOrigins(allowed)) => {
                Origin::parse(origin).is_some_and(|page| allowed.contains(&page))
            }
            Self::Same => Origin::parse(origin).is_some_and(|page| {
                // A proxy in front may have taken the TLS off, so we believe the page. Without a
                // port, Host means the default port of the scheme that it was loaded by.
                Origin::new(is_https || page.is_https, host) == Some(page)
            }),
        }
    }
}

/// An origin in its only spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Origin<'a> {
    is_https: bool,
    /// In lower case, as browsers send it; an IPv6 address in its brackets.
    host: Cow<'a, str>,
    port: u16,
}

impl<'a> Origin<'a> {
    /// Reads the value of an Origin header: RFC 6454, section 6.2.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        if scheme.eq_ignore_ascii_case("https") {
            Self::new(true, authority)
        } else if scheme.eq_ignore_ascii_case("http") {
            Self::new(false, authority)
        } else {
            None
        }
    }

    /// That of a scheme and a host, which may have a port.
    fn new(is_https: bool, authority: &'a str) -> Option<Self> {
        let (host, port) = split_port(authority)?;
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        let default = if is_https { 443 } else { 80 };
        Some(Self { is_https, host, port: port.unwrap_or(default) })
    }

    fn into_owned(self) -> Origin<'static> {
        Origin { host: Cow::Owned(self.host.into_owned()), ..self }
    }
}

/// Splits a host and a port, which may be missing or empty.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if !authority.bytes().all(is_host_byte) {
        return None;
    }
    let colon = if let Some(inner) = authority.strip_prefix('[') {
        let end = inner.find(']')?;
        inner[..end].parse::<Ipv6Addr>().ok()?;
        end + "[]".len()
    } else {
        authority.find([':', '[', ']']).unwrap_or(authority.len())
    };
    match authority.split_at(colon) {
        ("", _) => None,
        (host, "" | ":") => Some((host, None)),
        (host, port) => Some((host, Some(parse_port(port.strip_prefix(':')?)?))),
    }
}

/// Whether a byte may stand in a host or its port. Nothing may that ends or splits an authority for
/// anybody, with a user before it for example.
const fn is_host_byte(byte: u8) -> bool {
    !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\') && byte.is_ascii_graphic()
}

/// A number of 16 bits, with any number of zeros before it.
fn parse_port(digits: &str) -> Option<u16> {
    // `parse` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match digits.trim_start_matches('0') {
        "" => Some(0),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::{NotOrigin, Origins};

    #[test]
    fn only_the_same_origin_is_allowed_by_default() {
        for (origin, host, allowed) in [
            ("http://good.com", "good.com", true),
            ("http://GOOD.com", "good.COM", true),
            ("HTTP://good.com", "good.com", true),
            ("http://good.com:80", "good.com", true),
            ("http://good.com", "good.com:80", true),
            ("http://good.com:", "good.com:00080", true),
            ("https://good.com", "good.com", true),
            ("https://good.com", "good.com:443", true),
            ("http://good.com:8080", "good.com:8080", true),
            ("http://good.com:65535", "good.com:65535", true),
            ("http://192.0.2.1", "192.0.2.1", true),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("http://[2001:DB8::1]", "[2001:db8::1]:80", true),
            ("http://xn--bcher-kva.example", "xn--bcher-kva.example", true),
            ("http://good.com.evil.com", "good.com", false),
            ("http://evilgood.com", "good.com", false),
            ("http://good.com:8081", "good.com:8080", false),
            ("http://good.com", "good.com:8080", false),
            ("https://good.com", "good.com:80", false),
            ("http://sub.good.com", "good.com", false),
            ("null", "good.com", false),
            ("null", "null", false),
            ("", "good.com", false),
            ("", "", false),
            ("good.com", "good.com", false),
            ("//good.com", "good.com", false),
            ("://good.com", "good.com", false),
            ("file://", "", false),
            ("ftp://good.com", "good.com", false),
            ("http:/good.com", "good.com", false),
            (" http://good.com", "good.com", false),
            ("http://good.com/", "good.com", false),
            ("http://good.com/", "good.com/", false),
            ("http://evil.com#good.com", "good.com", false),
            ("http://evil.com?good.com", "good.com", false),
            ("http://evil.com\\good.com", "good.com", false),
            ("http://good.com@evil.com", "good.com", false),
            ("http://user@good.com", "user@good.com", false),
            ("http://good.com ", "good.com", false),
            ("http://good.com\t", "good.com", false),
            ("http://good.com, http://good.com", "good.com", false),
            ("http://b\u{fc}cher.example", "xn--bcher-kva.example", false),
            ("http://b\u{fc}cher.example", "b\u{fc}cher.example", false),
            ("http://", "", false),
        ] {
            assert_eq!(Origins::Same.allows(origin, host, false), allowed, "{origin:?} {host:?}");
        }
    }

    #[test]
    fn what_is_no_authority_is_not_even_the_same() {
        for authority in [
            "a:80:80",
            "a:99999",
            "a:65536",
            "a:+80",
            "a:-1",
            "a:8 0",
            "a:x",
            ":80",
            ":",
            "[::1",
            "::1]",
            "[::1]80",
            "[::1]a",
            "a[::1]",
            "[]",
            "[1.2.3.4]",
            "[a]",
            "[::1%eth0]",
            "[[::1]]",
            "::1",
        ] {
            let origin = format!("http://{authority}");
            assert!(!Origins::Same.allows(&origin, authority, false), "{authority:?}");
            assert_eq!(Origins::parse(&origin), Err(NotOrigin(origin)));
        }
    }

    #[test]
    fn only_pages_by_https_have_the_origin_of_a_server_that_speaks_tls() {
        for (origin, host, allowed) in [
            ("https://good.com", "good.com", true),
            ("https://good.com:443", "good.com", true),
            ("https://good.com", "good.com:443", true),
            ("https://good.com:8443", "good.com:8443", true),
            ("http://good.com", "good.com", false),
            ("http://good.com:443", "good.com", false),
            ("http://good.com:8443", "good.com:8443", false),
            ("https://good.com:8443", "good.com", false),
            ("https://good.com.evil.com", "good.com", false),
            ("null", "good.com", false),
        ] {
            assert_eq!(Origins::Same.allows(origin, host, true), allowed, "{origin:?} {host:?}");
        }
    }

    #[test]
    fn an_origin_is_judged_the_same_however_long_it_is() {
        for length in [1, 253, 254, 5000] {
            let host = "a".repeat(length);
            assert!(Origins::Same.allows(&format!("https://{host}"), &host, true));
            assert!(!Origins::Same.allows(&format!("https://{host}b"), &host, true));
            let port = format!("{}80", "0".repeat(length));
            assert!(Origins::Same.allows(&format!("http://a:{port}"), "a", false));
        }
    }

    #[test]
    fn origins_can_be_listed_or_all_allowed() {
        let listed = Origins::listed(["https://A.com", "http://b.com:81"]).unwrap();
        for (origin, allowed) in [
            ("https://a.com", true),
            ("https://A.com:443", true),
            ("HTTPS://a.com", true),
            ("http://b.com:81", true),
            ("http://a.com", false),
            ("https://a.com:444", false),
            ("http://b.com", false),
            ("http://ours", false),
            ("null", false),
        ] {
            assert_eq!(listed.allows(origin, "ours", false), allowed, "{origin:?}");
            assert_eq!(listed.allows(origin, "ours", true), allowed, "{origin:?}");
            assert!(Origins::Any.allows(origin, "ours", false));
        }
        assert!(Origins::Any.allows("\u{fc}", "", true));
        assert!(!Origins::listed([]).unwrap().allows("http://ours", "ours", false));
    }

    #[test]
    fn one_allowed_origin_may_be_a_word() {
        assert_eq!(Origins::parse("*"), Ok(Origins::Any));
        assert_eq!(Origins::parse("same-origin"), Ok(Origins::Same));
        assert_eq!(Origins::parse("https://a.com"), Origins::listed(["https://a.com:443"]));
    }

    #[test]
    fn allowed_origins_must_be_origins() {
        for text in ["a.com", "https://a.com/path", "*.a.com", "null", "", "*", "same-origin"] {
            let result = Origins::listed(["https://b.com", text]);
            assert_eq!(result, Err(NotOrigin(text.to_owned())));
        }
        let error = NotOrigin("a.com".to_owned()).to_string();
        assert_eq!(error, "allowed_origins: 'a.com' is no origin such as 'https://example.com'");
    }
}
