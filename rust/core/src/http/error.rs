//! Why a head is refused.

/// A request head that cannot be served. The text is the body of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// A byte that may stand nowhere in a head, or a line that does not end with CRLF.
    #[error("the request head has a control character or a bare CR or LF")]
    Control,
    /// Longer than the server wants to read.
    #[error("the request head is longer than {limit} bytes")]
    TooLong {
        /// How long it may be, in bytes.
        limit: usize,
    },
    /// The request line alone is longer than that.
    #[error("the request line is too long")]
    LineTooLong,
    /// The first byte is that of a TLS client.
    #[error("TLS is not spoken here: use http:// or ws://")]
    Tls,
    /// The first byte is in no method.
    #[error("this is not an HTTP request")]
    NotHttp,
    /// A line that ends with LF alone.
    #[error("a line must end with CRLF")]
    LineEnd,
    /// More fields than the server wants to read.
    #[error("the request has more than {limit} header fields")]
    TooManyFields {
        /// How many it wants.
        limit: u64,
    },
    /// The request line has not three parts, with one space between each two.
    #[error("the request line must be: method, target, version")]
    RequestLine,
    /// A version that is well formed, and not spoken here.
    #[error("this server speaks HTTP/1.1 and HTTP/1.0")]
    OtherVersion,
    /// Something else in the place of the version.
    #[error("the HTTP version is malformed")]
    Version,
    /// The method has a byte that stands in no token.
    #[error("the method is not a token")]
    Method,
    /// A method that nobody knows, or that of another protocol.
    #[error("the method is not implemented")]
    UnknownMethod,
    /// The target is empty, or has a fragment or a byte that stands in no URL.
    #[error("the target has an illegal character")]
    Target,
    /// The target is that of `OPTIONS *`, with another method.
    #[error("the target * goes with OPTIONS only")]
    Asterisk,
    /// The target is relative, or a URL of another scheme.
    #[error("the target must be a path or an http URL")]
    TargetForm,
    /// The target is a URL with a host that is none.
    #[error("the host in the target is not valid")]
    TargetHost,
    /// A line that is no header field, or no empty line at the end.
    #[error("malformed head: {0}")]
    Malformed(httparse::Error),
    /// There is no empty line at the end.
    #[error("malformed head: it is not whole")]
    Incomplete,
    /// A field that frames the message or chooses its receiver, for the second time.
    #[error("the field {0} may come only once")]
    Repeated(&'static str),
    /// A length that is no number, or not one of 64 bits.
    #[error("malformed head: Content-Length is not a number, or too large a one")]
    Length,
    /// Two ways to say where the body ends.
    #[error("malformed head: Content-Length and Transfer-Encoding exclude each other")]
    TwoFramings,
    /// An empty list of codings.
    #[error("malformed head: Transfer-Encoding is empty")]
    NoCoding,
    /// A coding that is applied to a body that is chunked already.
    #[error("malformed head: the last transfer coding must be chunked")]
    ChunkedBeforeOther,
    /// There is no Host, which HTTP/1.1 wants.
    #[error("the Host field is missing")]
    NoHost,
    /// The Host is none.
    #[error("the Host field is not valid")]
    Host,
}

impl BadHead {
    /// The status code of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Control
            | Self::Tls
            | Self::NotHttp
            | Self::LineEnd
            | Self::RequestLine
            | Self::Version
            | Self::Method
            | Self::Target
            | Self::Asterisk
            | Self::TargetForm
            | Self::TargetHost
            | Self::Malformed(_)
            | Self::Incomplete
            | Self::Repeated(_)
            | Self::Length
            | Self::TwoFramings
            | Self::NoCoding
            | Self::ChunkedBeforeOther
            | Self::NoHost
            | Self::Host => 400,
            Self::LineTooLong => 414,
            Self::TooManyFields { .. } | Self::TooLong { .. } => 431,
            Self::UnknownMethod => 501,
            Self::OtherVersion => 505,
        }
    }
}
