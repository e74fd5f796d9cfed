//! A handshake that is accepted.

use std::borrow::Cow;
use std::sync::Arc;

use crate::proto::deflate::Agreement;

/// What is answered to a handshake that keeps the terms: 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Base64.
    accept: String,
    /// A token.
    subprotocol: Option<Arc<str>>,
    deflate: Option<Agreement>,
}

impl Accepted {
    /// `accept` is base64 and `subprotocol` a token, so that both can stand in a header field.
    pub(super) const fn new(
        accept: String,
        subprotocol: Option<Arc<str>>,
        deflate: Option<Agreement>,
    ) -> Self {
        Self { accept, subprotocol, deflate }
    }

    /// The value of `Sec-WebSocket-Accept`.
    #[must_use]
    pub fn accept(&self) -> &str {
        &self.accept
    }

    /// The subprotocol that was agreed on (RFC 6455, section 1.9).
    #[must_use]
    pub const fn subprotocol(&self) -> Option<&Arc<str>> {
        self.subprotocol.as_ref()
    }

    /// The compression that was agreed on.
    #[must_use]
    pub const fn deflate(&self) -> Option<Agreement> {
        self.deflate
    }

    /// The header fields of the 101.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let subprotocol = self.subprotocol.as_deref().map(Cow::Borrowed);
        let extensions = self.deflate.map(|agreed| Cow::Owned(agreed.parameters.to_string()));
        [
            Some(("Upgrade", Cow::Borrowed("websocket"))),
            Some(("Connection", Cow::Borrowed("Upgrade"))),
            Some(("Sec-WebSocket-Accept", Cow::Borrowed(&*self.accept))),
            subprotocol.map(|name| ("Sec-WebSocket-Protocol", name)),
            extensions.map(|agreed| ("Sec-WebSocket-Extensions", agreed)),
        ]
        .into_iter()
        .flatten()
    }

    /// The whole 101.
    #[must_use]
    pub fn response(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(256);
        head.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        for (name, value) in self.fields() {
            // All are visible ASCII, as this was made: there is nothing that `http::render` would
            // have to refuse.
            for part in [name, ": ", &value, "\r\n"] {
                head.extend_from_slice(part.as_bytes());
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

#[cfg(test)]
mod tests {
    use super::Accepted;
    use crate::handshake::Negotiation;
    use crate::http::render;
    use crate::proto::deflate::DeflatePolicy;

    #[test]
    fn the_response_is_what_would_be_rendered() {
        let policy = DeflatePolicy { context_takeover: false, window_bits: 15 };
        let negotiation = Negotiation::Deflate { policy, level: 1, threshold: 0 };
        let deflate = negotiation.negotiate("permessage-deflate").unwrap();
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        let mut fields = vec![
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept),
        ];
        let simple = Accepted::new(accept.to_owned(), None, None);
        let rendered = render("101 Switching Protocols", fields.iter().copied());
        assert_eq!(simple.response(), rendered.unwrap());

        fields.push(("Sec-WebSocket-Protocol", "chat"));
        let extensions = deflate.unwrap().parameters.to_string();
        fields.push(("Sec-WebSocket-Extensions", &extensions));
        let whole = Accepted::new(accept.to_owned(), Some("chat".into()), deflate);
        let rendered = render("101 Switching Protocols", fields.iter().copied());
        assert_eq!(whole.response(), rendered.unwrap());
    }
}
