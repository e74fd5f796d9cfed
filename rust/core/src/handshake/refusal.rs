//! Why a handshake is refused.

use super::VERSION;
use super::quoted::Quoted;
use crate::manager::Check;
use crate::proto::MalformedExtensions;

/// What is wrong with a handshake. The text is the body of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another method than GET.
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// No upgrade to this protocol is asked for.
    #[error("this resource speaks the WebSocket protocol: Upgrade: websocket is missing")]
    NoUpgrade,
    /// A request of HTTP/1.0, which has no upgrades.
    #[error("a WebSocket handshake is an HTTP/1.1 request")]
    HttpVersion,
    /// Connection does not name Upgrade, so that a proxy may have passed it on by mistake.
    #[error("Connection: Upgrade is missing")]
    NoConnection,
    /// A list that has the right member, and another one that is none.
    #[error("Upgrade must be a list of protocols, and Connection one of tokens")]
    Lists,
    /// No version.
    #[error("Sec-WebSocket-Version is missing")]
    NoVersion,
    /// Another version.
    #[error("WebSocket version {} is not spoken here, only {VERSION}", Quoted(.0))]
    Version(String),
    /// No key, or one that is none.
    #[error("there must be a Sec-WebSocket-Key header, with 16 bytes in base64")]
    Key,
    /// Several origins, so that it is not known which one is true.
    #[error("more than one Origin header")]
    SeveralOrigins,
    /// An origin that is not allowed, or none at all.
    #[error("origin {} is not allowed", Quoted(.0))]
    Origin(String),
    /// A list of subprotocols that is empty or has a member twice, or one that is none.
    #[error("Sec-WebSocket-Protocol must be a list of different tokens")]
    Subprotocols,
    /// Extensions that cannot be read.
    #[error(transparent)]
    Extensions(#[from] MalformedExtensions),
}

impl Refusal {
    /// The status code of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::HttpVersion
            | Self::NoConnection
            | Self::Lists
            | Self::NoVersion
            | Self::Key
            | Self::SeveralOrigins
            | Self::Subprotocols
            | Self::Extensions(_) => 400,
            Self::Origin(_) => 403,
            Self::Method => 405,
            Self::NoUpgrade | Self::Version(_) => 426,
        }
    }

    /// The header fields that the answer must have, beside those of any response.
    #[must_use]
    pub const fn fields(&self) -> &'static [(&'static str, &'static str)] {
        // A 426 must name the protocol to upgrade to: RFC 9110, section 15.5.22.
        const UPGRADE: (&str, &str) = ("Upgrade", "websocket");
        const CONNECTION: (&str, &str) = ("Connection", "Upgrade");
        match self {
            Self::Method => &[("Allow", "GET")],
            Self::NoUpgrade => &[UPGRADE, CONNECTION],
            Self::Version(_) => &[UPGRADE, CONNECTION, ("Sec-WebSocket-Version", VERSION)],
            _other => &[],
        }
    }

    /// What it counts as.
    #[must_use]
    pub const fn check(&self) -> Check {
        match self {
            Self::Origin(_) => Check::Origin,
            _other => Check::Handshake,
        }
    }
}
