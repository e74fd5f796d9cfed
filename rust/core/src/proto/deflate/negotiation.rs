//! What two sides agree on (RFC 7692, sections 5 and 7.1).
//!
//! A client offers one or several sets of parameters, best first; the server takes the first that
//! it can satisfy and answers with its own parameters, or declines them all by silence. An offer
//! with a parameter that is unknown, repeated, or has a wrong value is declined, and the next one
//! is looked at.

use std::fmt;

use super::super::extension::{Extension, MalformedExtensions, Parameter, parse_extensions};
use super::{MAX_WINDOW_BITS, MIN_WINDOW_BITS};

/// The name of the extension (RFC 7692, section 7).
const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// What a server wants of the extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflatePolicy {
    /// Whether a message may refer to the messages before it, which costs memory for each
    /// connection. If not, both sides are told so.
    pub context_takeover: bool,
    /// The base-2 logarithm of the largest window, 9 to 15: ours, and the client's if it allows
    /// that to be limited.
    pub window_bits: u8,
}

/// What was agreed on. Its text is the answer to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateParameters {
    /// Each message of ours is compressed without reference to those before it.
    pub server_no_context_takeover: bool,
    /// Each message of the client is.
    pub client_no_context_takeover: bool,
    /// How far back we may refer, as the answer says it.
    pub server_max_window_bits: Option<u8>,
    /// How far back the client may refer, as the answer says it.
    pub client_max_window_bits: Option<u8>,
}

impl DeflateParameters {
    /// The answer to a `Sec-WebSocket-Extensions` header; `None` if no offer can be satisfied.
    pub fn negotiate(
        header: &str,
        policy: DeflatePolicy,
    ) -> Result<Option<Self>, MalformedExtensions> {
        let offers = parse_extensions(header)?;
        let agreed = offers.iter().find_map(|offer| Self::accept(offer, policy));
        Ok(agreed)
    }

    /// How far back our messages may refer: the base-2 logarithm of a size in bytes, 9 to 15.
    #[must_use]
    pub fn server_window_bits(&self) -> u8 {
        self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS)
    }

    fn accept(offer: &Extension<'_>, policy: DeflatePolicy) -> Option<Self> {
        if offer.name != NAME {
            return None;
        }
        let offer = Offer::read(&offer.parameters)?;
        let wanted = policy.window_bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS);
        // What is offered has to be answered, with the same value or a smaller one. Without an
        // offer, a server may still limit itself, and say so (section 7.1.2.1).
        let server = match offer.server_max_window_bits {
            Some(bits) if bits < MIN_WINDOW_BITS => return None,
            Some(bits) => Some(bits.min(wanted)),
            None if wanted < MAX_WINDOW_BITS => Some(wanted),
            None => None,
        };
        // A client that did not offer this must not get it; one that did may be limited.
        let client = match offer.client_max_window_bits {
            Some(bits) if wanted < bits => Some(wanted),
            Some(_) | None => None,
        };
        Some(Self {
            server_no_context_takeover: offer.server_no_context_takeover
                || !policy.context_takeover,
            client_no_context_takeover: offer.client_no_context_takeover
                || !policy.context_takeover,
            server_max_window_bits: server,
            client_max_window_bits: client,
        })
    }
}

impl fmt::Display for DeflateParameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(NAME)?;
        if self.server_no_context_takeover {
            write!(formatter, "; {SERVER_NO_CONTEXT_TAKEOVER}")?;
        }
        if self.client_no_context_takeover {
            write!(formatter, "; {CLIENT_NO_CONTEXT_TAKEOVER}")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(formatter, "; {SERVER_MAX_WINDOW_BITS}={bits}")?;
        }
        if let Some(bits) = self.client_max_window_bits {
            write!(formatter, "; {CLIENT_MAX_WINDOW_BITS}={bits}")?;
        }
        Ok(())
    }
}

/// One set of parameters that a client would be content with.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// There if the client can be limited: what it limits itself to, or the largest window.
    client_max_window_bits: Option<u8>,
}

impl Offer {
    /// `None` if a parameter is unknown, comes twice, or has a value that it may not have.
    fn read(parameters: &[Parameter<'_>]) -> Option<Self> {
        let mut offer = Self::default();
        for Parameter { name, value } in parameters {
            let value = value.as_deref();
            let is_new = match *name {
                SERVER_NO_CONTEXT_TAKEOVER => {
                    value.is_none()
                        && !std::mem::replace(&mut offer.server_no_context_takeover, true)
                }
                CLIENT_NO_CONTEXT_TAKEOVER => {
                    value.is_none()
                        && !std::mem::replace(&mut offer.client_no_context_takeover, true)
                }
                SERVER_MAX_WINDOW_BITS => {
                    offer.server_max_window_bits.replace(window_bits(value?)?).is_none()
                }
                CLIENT_MAX_WINDOW_BITS => {
                    let bits = match value {
                        Some(value) => window_bits(value)?,
                        None => MAX_WINDOW_BITS,
                    };
                    offer.client_max_window_bits.replace(bits).is_none()
                }
                _unknown => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(offer)
    }
}

/// A decimal number from 8 to 15 without leading zeros (sections 7.1.2.1 and 7.1.2.2).
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: DeflatePolicy = DeflatePolicy { context_takeover: false, window_bits: 15 };
    const TAKEOVER: DeflatePolicy = DeflatePolicy { context_takeover: true, window_bits: 15 };
    const SMALL: DeflatePolicy = DeflatePolicy { context_takeover: true, window_bits: 11 };

    fn answer(header: &str, policy: DeflatePolicy) -> Option<String> {
        let agreed = DeflateParameters::negotiate(header, policy).unwrap();
        agreed.map(|parameters| parameters.to_string())
    }

    /// What comes behind the name in an offer and in the answers of the three policies.
    const ANSWERS: &[(&str, &str, &str, &str)] = &[
        ("", "; S; C", "", "; s=11"),
        ("; S", "; S; C", "; S", "; S; s=11"),
        ("; C", "; S; C", "; C", "; C; s=11"),
        ("; C; S", "; S; C", "; S; C", "; S; C; s=11"),
        ("; s=15", "; S; C; s=15", "; s=15", "; s=11"),
        ("; s=12", "; S; C; s=12", "; s=12", "; s=11"),
        ("; s=9", "; S; C; s=9", "; s=9", "; s=9"),
        ("; s=\"10\"", "; S; C; s=10", "; s=10", "; s=10"),
        ("; c", "; S; C", "", "; s=11; c=11"),
        ("; c=15", "; S; C", "", "; s=11; c=11"),
        ("; c=11", "; S; C", "", "; s=11"),
        ("; c=8", "; S; C", "", "; s=11"),
        ("; c; s=10", "; S; C; s=10", "; s=10", "; s=10; c=11"),
    ];

    fn spelled_out(short: &str) -> String {
        let long = short
            .replace("; s=", "; server_max_window_bits=")
            .replace("; c", "; client_max_window_bits")
            .replace("; S", "; server_no_context_takeover")
            .replace("; C", "; client_no_context_takeover");
        format!("permessage-deflate{long}")
    }

    #[test]
    fn offers_and_their_answers() {
        for (offer, alone, takeover, small) in ANSWERS {
            let offer = spelled_out(offer);
            assert_eq!(answer(&offer, ALONE), Some(spelled_out(alone)), "{offer}");
            assert_eq!(answer(&offer, TAKEOVER), Some(spelled_out(takeover)), "{offer}");
            assert_eq!(answer(&offer, SMALL), Some(spelled_out(small)), "{offer}");
        }
    }

    #[test]
    fn offers_that_are_declined() {
        for parameters in [
            "x",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=\"true\"",
            "client_no_context_takeover; server_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=8", // zlib's raw DEFLATE cannot do it
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=10.0",
            "server_max_window_bits=1",
            "server_max_window_bits=+10",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=09",
            "client_max_window_bits=x",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits; client_max_window_bits=10",
            "Client_max_window_bits",
            "mode",
        ] {
            let offer = format!("permessage-deflate; {parameters}");
            for policy in [ALONE, TAKEOVER, SMALL] {
                assert_eq!(answer(&offer, policy), None, "{offer}");
            }
            // The next offer is looked at.
            let with_fallback = format!("x-unknown, {offer}, permessage-deflate");
            assert_eq!(answer(&with_fallback, TAKEOVER).as_deref(), Some(NAME), "{offer}");
        }
    }

    #[test]
    fn the_first_offer_that_can_be_satisfied_is_taken() {
        let header = "permessage-deflate; server_max_window_bits=10, permessage-deflate";
        let expected = "permessage-deflate; server_max_window_bits=10";
        assert_eq!(answer(header, TAKEOVER).as_deref(), Some(expected));
        for other in ["x-webkit-deflate-frame", "permessage-bzip2; x=1", "Permessage-Deflate"] {
            assert_eq!(answer(other, TAKEOVER), None, "{other}");
        }
    }

    #[test]
    fn a_malformed_header_is_an_error_even_behind_a_good_offer() {
        let result = DeflateParameters::negotiate("permessage-deflate, a;", ALONE);
        assert_eq!(result, Err(MalformedExtensions { at: 22 }));
    }

    #[test]
    fn every_window_size_as_a_value() {
        for value in 0..=99 {
            let expected = (8..=15).contains(&value).then_some(value);
            assert_eq!(window_bits(&value.to_string()), expected);
        }
    }

    #[test]
    fn the_window_that_was_agreed_on() {
        let window = |header| {
            let agreed = DeflateParameters::negotiate(header, TAKEOVER).unwrap();
            agreed.map(|parameters| parameters.server_window_bits())
        };
        assert_eq!(window("permessage-deflate"), Some(15));
        assert_eq!(window("permessage-deflate; server_max_window_bits=9"), Some(9));
    }
}
