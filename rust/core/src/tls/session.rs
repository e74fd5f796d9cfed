//! One connection's TLS: between the socket, which the caller has, and plaintext.
//!
//! What the socket has is read into a buffer that all sessions of a thread share, and decrypted from
//! there; what is sent is encrypted straight to the socket. Only what the socket does not take
//! stays here, so that an idle session has next to nothing.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection};

use super::Settings;

/// The first byte of a session: the content type of a record with handshake messages.
const HANDSHAKE: u8 = 22;

/// The most that one read takes off a socket.
const READ_SIZE: usize = 32 * 1024;

thread_local! {
    static CIPHERTEXT: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// What came first is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("this is not TLS")]
struct NotTls;

/// Whether an error of [`Session::read`] says that.
#[cfg(not(loom))]
pub(crate) fn is_not_tls(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(reason) if reason.is::<NotTls>())
}

/// What one read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Bytes of plaintext. There may be none although something has come: a part of a record, or of
    /// the handshake.
    pub count: usize,
    /// Whether there may be more at once.
    pub more: bool,
    /// Bytes that it took, whatever became of them.
    pub cost: usize,
}

/// The server's end of a session.
#[derive(Debug)]
pub struct Session {
    connection: ServerConnection,
    /// Something has come.
    has_begun: bool,
    /// Bytes that are decrypted and not taken; behind a failure, perhaps fewer.
    plaintext: usize,
    /// Bytes that are encrypted and not sent.
    unsent: usize,
    /// The peer has said that nothing more comes: `close_notify`.
    has_ended: bool,
    /// What came is no TLS, or not of this session. It is an error behind what was decrypted before.
    has_failed: bool,
}

impl Session {
    /// A session that has not begun.
    pub fn new(settings: &Settings) -> io::Result<Self> {
        let connection = ServerConnection::new(Arc::clone(&settings.0)).map_err(failure)?;
        let (has_begun, has_ended, has_failed) = (false, false, false);
        Ok(Self { connection, has_begun, plaintext: 0, unsent: 0, has_ended, has_failed })
    }

    // What comes in.

    /// Reads once from the socket, if nothing that was decrypted is left, and puts plaintext into
    /// `buffer`. `None`: the peer has ended the session, or the connection. It also sends what the
    /// session has to say to that, such as its part of the handshake.
    pub fn read(
        &mut self,
        socket: &mut (impl Read + Write),
        buffer: &mut [u8],
    ) -> io::Result<Option<Arrival>> {
        match self.take(buffer)? {
            0 => {}
            count => return Ok(Some(Arrival { count, more: true, cost: count })),
        }
        if self.has_failed {
            return Err(self.fail(socket));
        }
        if self.has_ended {
            return Ok(None);
        }
        // No more than fits, so that little of the plaintext has to wait here.
        let asked = buffer.len().min(READ_SIZE);
        let arrived = CIPHERTEXT.with_borrow_mut(|ciphertext| {
            let came = read_once(socket, &mut ciphertext[..asked])?;
            if came == 0 {
                return Ok(None);
            }
            if !std::mem::replace(&mut self.has_begun, true) && ciphertext[0] != HANDSHAKE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, NotTls));
            }
            let count = self.decrypt(&ciphertext[..came], buffer)?;
            let more = came == asked || self.plaintext > 0 || self.has_failed || self.has_ended;
            Ok(Some(Arrival { count, more, cost: came.max(count) }))
        });
        if self.has_failed && matches!(arrived, Ok(Some(Arrival { count: 0, .. }))) {
            return Err(self.fail(socket));
        }
        // That nothing can be sent is no reason to lose what has come. Tickets go out at once, too,
        // though nobody waits for them: they acknowledge the end of the handshake, and until then
        // Nagle's algorithm holds back the request of many a client.
        let _ = self.flush(socket);
        match arrived {
            // At once: who waits for the socket is not told again.
            Ok(Some(Arrival { count: 0, .. })) if self.has_ended => Ok(None),
            arrived => arrived,
        }
    }

    /// Reads once, as [`read`](Self::read) does, and returns all the plaintext that came of it.
    pub fn read_all(
        &mut self,
        socket: &mut (impl Read + Write),
        size: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let size = size.clamp(1, READ_SIZE);
        let mut plain = vec![0; size];
        let Some(Arrival { count, .. }) = self.read(socket, &mut plain)? else {
            return Ok(None);
        };
        plain.truncate(count);
        while self.plaintext > 0 {
            let start = plain.len();
            plain.resize(start + size, 0);
            let count = self.take(&mut plain[start..])?;
            plain.truncate(start + count);
        }
        Ok(Some(plain))
    }

    fn decrypt(&mut self, mut ciphertext: &[u8], buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while !ciphertext.is_empty() {
            if self.connection.read_tls(&mut ciphertext)? == 0 {
                break; // what stands behind a close_notify is of no interest
            }
            if let Ok(state) = self.connection.process_new_packets() {
                self.plaintext = state.plaintext_bytes_to_read();
                self.has_ended |= state.peer_has_closed();
            } else {
                self.plaintext = usize::MAX; // it does not tell
                self.has_failed = true;
            }
            filled += self.take(&mut buffer[filled..])?;
            if self.has_failed {
                break;
            }
        }
        Ok(filled)
    }

    fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.plaintext == 0 || buffer.is_empty() {
            return Ok(0);
        }
        match self.connection.reader().read(buffer) {
            Ok(count) if count > 0 => {
                self.plaintext -= count;
                Ok(count)
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => {
                self.plaintext = 0;
                Ok(0)
            }
        }
    }

    /// The error that has ended the session. The peer is told: an alert waits to be sent.
    fn fail(&mut self, socket: &mut impl Write) -> io::Error {
        let _ = self.flush(socket);
        match self.connection.process_new_packets() {
            Ok(_) => io::ErrorKind::InvalidData.into(),
            Err(error) => failure(error),
        }
    }

    // What goes out.

    /// Encrypts as much as the socket takes, and a little more: see [`unsent`](Self::unsent).
    /// Returns how many bytes were taken, which are all of them unless the socket is full.
    /// [`io::ErrorKind::WouldBlock`]: none, because it was full before.
    pub fn write(&mut self, socket: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.connection.is_handshaking() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.flush(socket)?;
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut taken = self.encrypt(socket, slices)?;
        if self.unsent == 0 && taken < offered {
            // Few have so much to say.
            let mut rest = slices.to_vec();
            let mut rest = &mut rest[..];
            IoSlice::advance_slices(&mut rest, taken);
            while self.unsent == 0 && !rest.is_empty() {
                let more = self.encrypt(socket, rest)?;
                IoSlice::advance_slices(&mut rest, more);
                taken += more;
            }
        }
        Ok(taken)
    }

    /// Encrypts what rustls takes at a time, which is not nothing, and sends it.
    fn encrypt(&mut self, socket: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let taken = self.connection.writer().write_vectored(slices)?;
        match self.flush(socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        if taken == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into()); // the keys are used up
        }
        Ok(taken)
    }

    /// Sends what is encrypted. [`io::ErrorKind::WouldBlock`]: not all of it.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.unsent = self.count_unsent();
                    return Err(error);
                }
            }
        }
        self.unsent = 0;
        Ok(())
    }

    fn count_unsent(&mut self) -> usize {
        // One that has failed does not tell.
        self.connection.process_new_packets().map_or(1, |state| state.tls_bytes_to_write())
    }

    /// Bytes that are encrypted and wait for the socket to take them: for [`flush`](Self::flush).
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// Says that nothing more comes from here: `close_notify`, of which one is sent. As
    /// [`flush`](Self::flush) otherwise.
    pub fn close(&mut self, socket: &mut impl Write) -> io::Result<()> {
        if !self.connection.is_handshaking() {
            self.connection.send_close_notify();
        }
        self.flush(socket)
    }

    // What is known of the peer.

    /// Whether the handshake is not over.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether it has said that nothing more comes from it, behind what is still to be read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The certificate that the client has proven to be its own, in DER.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&[u8]> {
        if self.is_handshaking() {
            return None;
        }
        self.connection.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// What the version is called, as Python's `ssl` spells it.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
            ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            _ => None,
        }
    }

    /// The name that IANA has registered for the cipher suite.
    #[must_use]
    pub fn cipher(&self) -> Option<&'static str> {
        match self.connection.negotiated_cipher_suite()?.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
            suite => suite.as_str(),
        }
    }

    /// The host that the client wants to speak to, if it has said so (RFC 6066 section 3).
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.connection.server_name()
    }

    /// Whether the client has resumed an earlier session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

fn read_once(socket: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn failure(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
