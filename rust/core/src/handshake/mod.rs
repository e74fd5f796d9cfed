//! The opening handshake (RFC 6455, section 4.2), as far as it needs neither a socket nor the
//! program: from a request head to what is answered.
//!
//! [`Terms`] are what a program accepts. They are checked against a head, once, in the order in
//! which the checks stand in [`Terms::check`]; the first that fails is the [`Refusal`]. Header
//! fields are lists of tokens: `Connection: keep-alive, Upgrade` is an upgrade, and `Upgrade:
//! notwebsocket` is none.
//!
//! | | |
//! |---|---|
//! | [`Origins`] | which web pages may connect |
//! | [`Negotiation`] | what is agreed to of the extensions that are offered |
//! | [`Accepted`] | the 101, and what was agreed on |
//! | [`Refusal`] | another status, and a reason |
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod accepted;
mod key;
mod negotiation;
mod origin;
mod quoted;
mod refusal;
mod terms;

pub use accepted::Accepted;
pub use key::accept_value;
pub use negotiation::Negotiation;
pub use origin::{ListedOrigins, NotOrigin, Origins};
pub use refusal::Refusal;
pub use terms::{NotToken, Terms};

/// The version of the protocol that is spoken.
const VERSION: &str = "13";
