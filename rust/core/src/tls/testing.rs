//! What tests of TLS need: certificates, a client that trusts them, and a pipe for a socket.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConfigBuilder, RootCertStore,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Crypto, Files, LoadError, Settings, Version};

pub(crate) const HOST: &str = "localhost";

pub(crate) fn load(files: &Files) -> Result<Settings, LoadError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Settings::load(files, Crypto { provider, ticketer: aws_lc_rs::Ticketer::new().unwrap() })
}

/// A folder of PEM files: those of a CA, of a server, and of a client.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("handy-ws-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "test CA");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(path.join("ca.pem"), ca.pem()).unwrap();
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([HOST.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &ca).unwrap();
            fs::write(path.join(format!("{name}.pem")), certificate.pem()).unwrap();
            fs::write(path.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self(path)
    }

    pub(crate) fn files(&self) -> Files {
        Files {
            certificate: self.0.join("server.pem"),
            private_key: self.0.join("server.key"),
            client_ca: None,
            minimum_version: Version::Tls12,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What a session sees of a socket.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) came: VecDeque<u8>,
    pub(crate) has_ended: bool,
    pub(crate) sent: Vec<u8>,
    /// How much it takes of what is sent; `None`: everything.
    pub(crate) room: Option<usize>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.came.read(buffer)? {
            0 if !self.has_ended => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room = self.room.map(|room| room - count);
        self.sent.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a client knows: whom to trust, and what to speak.
pub(crate) struct Browser {
    pub(crate) config: ClientConfig,
}

impl Browser {
    pub(crate) fn new(folder: &Folder, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::offering(folder, versions, |_any| true)
    }

    /// One that speaks these ciphers only.
    pub(crate) fn offering(
        folder: &Folder,
        versions: &[&'static SupportedProtocolVersion],
        speaks: impl Fn(CipherSuite) -> bool,
    ) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| speaks(suite.suite()));
        let config = Self::builder(provider, folder, versions).with_no_client_auth();
        Self { config }
    }

    pub(crate) fn with_certificate(folder: &Folder) -> Self {
        let chain = certificates(&folder.0.join("client.pem"));
        let key = PrivateKeyDer::from_pem_file(folder.0.join("client.key")).unwrap();
        let provider = aws_lc_rs::default_provider();
        let builder = Self::builder(provider, folder, &[&TLS13, &TLS12]);
        Self { config: builder.with_client_auth_cert(chain, key).unwrap() }
    }

    fn builder(
        provider: CryptoProvider,
        folder: &Folder,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&folder.0.join("ca.pem")).remove(0)).unwrap();
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
    }

    pub(crate) fn connect(&self) -> ClientConnection {
        ClientConnection::new(Arc::new(self.config.clone()), HOST.try_into().unwrap()).unwrap()
    }
}

pub(crate) fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}
