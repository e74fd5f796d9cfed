//! What a program accepts, and whether a handshake is that.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::quoted::Quoted;
use super::{Accepted, Negotiation, Origins, Refusal, VERSION, accept_value};
use crate::http::{RequestHead, Version, is_token};
use crate::proto::MalformedExtensions;
use crate::proto::deflate::Agreement;

const PROTOCOL: &str = "sec-websocket-protocol";

/// The terms on which handshakes are accepted.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Those that are spoken, each a token.
    subprotocols: HashSet<Arc<str>>,
    origins: Origins,
    /// `None`: the server's.
    negotiation: Option<Negotiation>,
}

/// A subprotocol that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("subprotocols must be tokens (RFC 9110 section 5.6.2), not {}", Quoted(.0))]
pub struct NotToken(pub String);

impl Terms {
    /// Terms with these subprotocols and origins. Without a negotiation the server's is meant.
    pub fn new<'a>(
        subprotocols: impl IntoIterator<Item = &'a str>,
        origins: Origins,
        negotiation: Option<Negotiation>,
    ) -> Result<Self, NotToken> {
        let tokens = subprotocols.into_iter().map(|name| {
            if is_token(name) { Ok(Arc::from(name)) } else { Err(NotToken(name.to_owned())) }
        });
        Ok(Self { subprotocols: tokens.collect::<Result<_, _>>()?, origins, negotiation })
    }

    /// Checks a handshake, and agrees on what it leaves open. `is_https` is whether the client
    /// speaks TLS.
    pub fn check(
        &self,
        head: &RequestHead,
        is_https: bool,
        of_server: &Negotiation,
    ) -> Result<Accepted, Refusal> {
        let accept = check_handshake(head)?;
        self.check_origin(head, is_https)?;
        let subprotocol = self.choose_subprotocol(head)?;
        let deflate = agree_on_extensions(head, self.negotiation.as_ref().unwrap_or(of_server))?;
        Ok(Accepted::new(accept, subprotocol, deflate))
    }

    fn check_origin(&self, head: &RequestHead, is_https: bool) -> Result<(), Refusal> {
        let mut origins = head.get_all("origin");
        // A client that sends none is no browser, and is allowed.
        let Some(origin) = origins.next() else { return Ok(()) };
        if origins.next().is_some() {
            return Err(Refusal::SeveralOrigins);
        }
        let host = head.get("host").unwrap_or_default();
        if self.origins.allows(origin, host, is_https) {
            Ok(())
        } else {
            Err(Refusal::Origin(origin.to_owned()))
        }
    }

    /// Takes the first of the client's subprotocols that is spoken.
    fn choose_subprotocol(&self, head: &RequestHead) -> Result<Option<Arc<str>>, Refusal> {
        if head.get(PROTOCOL).is_none() {
            return Ok(None);
        }
        let mut offered: Vec<&str> = head.members(PROTOCOL).collect();
        let chosen = offered.iter().find_map(|name| self.subprotocols.get(*name)).cloned();
        offered.sort_unstable();
        let are_different = offered.windows(2).all(|pair| pair[0] != pair[1]);
        // One at least (RFC 6455, section 11.3.4), and no two alike (section 4.1).
        if offered.is_empty() || !are_different || !offered.iter().all(|name| is_token(name)) {
            return Err(Refusal::Subprotocols);
        }
        Ok(chosen)
    }
}

/// Checks what RFC 6455, section 4.2.1, says, and returns what accepts the handshake.
fn check_handshake(head: &RequestHead) -> Result<String, Refusal> {
    if head.method() != "GET" {
        return Err(Refusal::Method);
    }
    check_upgrade(head)?;
    // The parser has seen to it that neither of the two comes twice.
    let version = head.get("sec-websocket-version").ok_or(Refusal::NoVersion)?;
    if version != VERSION {
        return Err(Refusal::Version(version.to_owned()));
    }
    head.get("sec-websocket-key").and_then(accept_value).ok_or(Refusal::Key)
}

/// Checks that an HTTP/1.1 client asks for this upgrade, in lists that are well formed.
fn check_upgrade(head: &RequestHead) -> Result<(), Refusal> {
    if !head.has_token("upgrade", "websocket") {
        Err(Refusal::NoUpgrade)
    } else if head.version() != Version::Http11 {
        Err(Refusal::HttpVersion)
    } else if !head.has_token("connection", "upgrade") {
        Err(Refusal::NoConnection)
    } else if !head.is_protocol_list("upgrade") || !head.is_token_list("connection") {
        Err(Refusal::Lists)
    } else {
        Ok(())
    }
}

fn agree_on_extensions(
    head: &RequestHead,
    negotiation: &Negotiation,
) -> Result<Option<Agreement>, MalformedExtensions> {
    let mut values = head.get_all("sec-websocket-extensions");
    let Some(first) = values.next() else { return Ok(None) };
    let mut header = Cow::Borrowed(first);
    for value in values {
        let header = header.to_mut();
        header.push_str(", ");
        header.push_str(value);
    }
    negotiation.negotiate(&header)
}

#[cfg(test)]
mod tests;
