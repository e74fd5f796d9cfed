//! What all the sessions of a server have in common: its certificate, and whom it trusts.

#[cfg(not(loom))]
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The protocol that is spoken inside (RFC 7301): a client that asks for others only is refused.
const PROTOCOL: &[u8] = b"http/1.1";

/// Tickets that a client gets to resume with. Each costs a message; those that need more of them
/// can share what they have.
const TICKETS: usize = 1;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// All from this one on, the newest first.
    fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls12 => &VERSIONS,
            Self::Tls13 => &VERSIONS[..1],
        }
    }
}

/// The PEM files that [`Settings`] are made of.
#[derive(Debug, Clone)]
pub struct Files {
    /// The server's certificate, and behind it those that lead to one that clients trust.
    pub certificate: PathBuf,
    /// Its private key, not encrypted.
    pub private_key: PathBuf,
    /// Whoever these have certified may come in, and nobody else; `None`: everybody may.
    pub client_ca: Option<PathBuf>,
    /// Older ones are not spoken.
    pub minimum_version: Version,
}

/// Why files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read, or it is no PEM file of that kind.
    #[error("{field} {path}: {reason}", path = path.display())]
    File {
        /// What the file was to be: the name of a field of [`Files`].
        field: &'static str,
        /// Its name.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The files do not go together.
    #[error("private_key {path}: {reason}", path = path.display())]
    Pair {
        /// The name of the key's file.
        path: PathBuf,
        /// What is wrong.
        reason: rustls::Error,
    },
}

/// Who does the cryptography. The core takes any.
#[derive(Debug, Clone)]
pub struct Crypto {
    /// Its algorithms.
    pub provider: Arc<CryptoProvider>,
    /// Makes what clients resume with.
    pub ticketer: Arc<dyn ProducesTickets>,
}

/// What new sessions are made of. Clones are the same.
#[derive(Debug, Clone)]
pub struct Settings(pub(super) Arc<ServerConfig>);

impl Settings {
    /// Reads the files. What clients resume with is good for this ticketer only, not for those of
    /// settings that are loaded later.
    pub fn load(files: &Files, crypto: Crypto) -> Result<Self, LoadError> {
        let chain = read_certificates("certificate", &files.certificate)?;
        let key = read_key(&files.private_key)?;
        let Crypto { provider, ticketer } = crypto;
        let provider = Arc::new(quickest_first(&provider));
        let pair = |reason| LoadError::Pair { path: files.private_key.clone(), reason };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(files.minimum_version.and_newer())
            .map_err(pair)?;
        let builder = match &files.client_ca {
            Some(path) => builder.with_client_cert_verifier(client_verifier(path, provider)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.ignore_client_order = true;
        config.send_tls13_tickets = TICKETS;
        config.ticketer = ticketer;
        Ok(Self(Arc::new(config)))
    }
}

/// With the ciphers in the order in which they are chosen from what a client offers: those with 128
/// bits and SHA-256 come first. All are strong; but many a client names those with 256 bits first by
/// habit, and keys that SHA-384 derives take three times as long, a fifth of a whole handshake.
fn quickest_first(provider: &CryptoProvider) -> CryptoProvider {
    let mut provider = provider.clone();
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    provider
}

fn read_certificates(
    field: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let fault = |error| fault(field, path, &error);
    let certificates = CertificateDer::pem_file_iter(path).map_err(fault)?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(fault)?;
    if certificates.is_empty() {
        return Err(fault(pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, LoadError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| fault("private_key", path, &error))
}

fn client_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, LoadError> {
    let fault = |reason: String| LoadError::File { field: "client_ca", path: path.into(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates("client_ca", path)? {
        roots.add(certificate).map_err(|error| fault(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| fault(error.to_string()))
}

fn fault(field: &'static str, path: &Path, error: &pem::Error) -> LoadError {
    let reason = match (error, field) {
        (pem::Error::Io(error), _) => error.to_string(),
        (pem::Error::NoItemsFound, "private_key") => {
            "there is no private key in PEM in it that is not encrypted".into()
        }
        (pem::Error::NoItemsFound, _) => "there is no certificate in PEM in it".into(),
        (error, _) => error.to_string(),
    };
    LoadError::File { field, path: path.into(), reason }
}
