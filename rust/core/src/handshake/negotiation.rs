//! What is agreed to of the extensions that a client offers (RFC 6455, section 9.1).

use crate::proto::deflate::{Agreement, DeflateParameters, DeflatePolicy};
use crate::proto::{MalformedExtensions, parse_extensions};

/// Answers what clients offer in `Sec-WebSocket-Extensions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negotiation {
    /// Everything is declined.
    Decline,
    /// permessage-deflate is agreed to.
    Deflate {
        /// With which parameters.
        policy: DeflatePolicy,
        /// As in [`Agreement::level`].
        level: u8,
        /// As in [`Agreement::threshold`].
        threshold: usize,
    },
}

impl Negotiation {
    /// Takes the first offer that can be satisfied. `header` is the whole field, its lines joined
    /// with commas.
    pub fn negotiate(&self, header: &str) -> Result<Option<Agreement>, MalformedExtensions> {
        match *self {
            Self::Decline => parse_extensions(header).map(|_declined| None),
            Self::Deflate { policy, level, threshold } => {
                let parameters = DeflateParameters::negotiate(header, policy)?;
                Ok(parameters.map(|parameters| Agreement { parameters, level, threshold }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Negotiation;
    use crate::proto::MalformedExtensions;
    use crate::proto::deflate::DeflatePolicy;

    const DEFLATE: Negotiation = Negotiation::Deflate {
        policy: DeflatePolicy { context_takeover: true, window_bits: 15 },
        level: 3,
        threshold: 100,
    };

    #[test]
    fn an_agreement_has_the_settings_of_the_server() {
        let agreed = DEFLATE.negotiate("x, permessage-deflate").unwrap().unwrap();
        assert_eq!((agreed.level, agreed.threshold), (3, 100));
        assert_eq!(agreed.parameters.to_string(), "permessage-deflate");
        assert_eq!(DEFLATE.negotiate("x"), Ok(None));
    }

    #[test]
    fn what_is_declined_must_be_well_formed_all_the_same() {
        assert_eq!(Negotiation::Decline.negotiate("permessage-deflate"), Ok(None));
        for negotiation in [Negotiation::Decline, DEFLATE] {
            let result = negotiation.negotiate("permessage-deflate;");
            assert_eq!(result, Err(MalformedExtensions { at: 19 }));
        }
    }
}
