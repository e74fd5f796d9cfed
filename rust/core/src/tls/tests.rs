//! A session against rustls' own client, over pipes that take what they are told to.

use std::io::{self, IoSlice, Read, Write};

use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConnection};

use super::testing::{Browser, Folder, HOST, Pipe, certificates, load};
use super::{Files, Session, Settings, Version};

/// Both ends of a connection.
struct Link {
    server: Session,
    client: ClientConnection,
    pipe: Pipe,
}

impl Link {
    fn new(settings: &Settings, browser: &Browser) -> Self {
        let server = Session::new(settings).unwrap();
        Self { server, client: browser.connect(), pipe: Pipe::default() }
    }

    /// With the handshake behind it.
    fn established(settings: &Settings, browser: &Browser) -> Self {
        let mut link = Self::new(settings, browser);
        link.shake_hands().unwrap();
        link
    }

    fn shake_hands(&mut self) -> io::Result<()> {
        while self.client.is_handshaking() || self.server.is_handshaking() {
            self.client_to_pipe();
            self.server.read_all(&mut self.pipe, 4096)?;
            self.pipe_to_client();
        }
        Ok(())
    }

    fn client_to_pipe(&mut self) {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        self.pipe.came.extend(bytes);
    }

    /// What the client gets of what the server has sent.
    fn pipe_to_client(&mut self) -> Vec<u8> {
        let sent = std::mem::take(&mut self.pipe.sent);
        let mut sent = &sent[..];
        let mut plain = Vec::new();
        while !sent.is_empty() {
            self.client.read_tls(&mut sent).unwrap();
            let Ok(state) = self.client.process_new_packets() else { return plain };
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.client.reader().read_exact(&mut plain[start..]).unwrap();
        }
        plain
    }

    fn client_says(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.client.writer().write(bytes).unwrap();
            bytes = &bytes[taken..];
            self.client_to_pipe();
        }
    }

    /// All plaintext that comes, read with a buffer of that size.
    fn server_reads(&mut self, size: usize) -> Vec<u8> {
        let (mut plain, mut buffer) = (Vec::new(), vec![0; size]);
        loop {
            match self.server.read(&mut self.pipe, &mut buffer) {
                Ok(Some(arrival)) => plain.extend_from_slice(&buffer[..arrival.count]),
                Ok(None) => return plain,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return plain,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn server_writes(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.server.write(&mut self.pipe, &[IoSlice::new(bytes)])
    }
}

/// Bytes that differ from place to place.
fn pattern(size: usize) -> Vec<u8> {
    (0..=250).cycle().take(size).collect()
}

#[test]
fn bytes_go_both_ways_in_both_versions() {
    let folder = Folder::new("both-ways");
    let settings = load(&folder.files()).unwrap();
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let mut browser = Browser::new(&folder, &[version]);
        browser.config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut link = Link::established(&settings, &browser);
        assert_eq!(link.client.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(link.server.version(), Some(name));
        assert_eq!(link.server.server_name(), Some(HOST));
        assert!(link.server.cipher().is_some_and(|suite| suite.starts_with("TLS")));
        assert_eq!(link.server.client_certificate(), None);
        for size in [1, 100, 16 * 1024, 300_000] {
            link.client_says(&pattern(size));
            assert_eq!(link.server_reads(64 * 1024), pattern(size));
            assert_eq!(link.server_writes(&pattern(size)).unwrap(), size);
            assert_eq!(link.server.unsent(), 0);
            assert_eq!(link.pipe_to_client(), pattern(size));
        }
    }
}

#[test]
fn many_slices_are_written_as_one() {
    let folder = Folder::new("slices");
    let settings = load(&folder.files()).unwrap();
    let mut link = Link::established(&settings, &Browser::new(&folder, &[&TLS13]));
    let parts: Vec<Vec<u8>> = [10, 0, 70_000, 1, 90_000].map(pattern).into();
    let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    assert_eq!(link.server.write(&mut link.pipe, &slices).unwrap(), 160_011);
    assert_eq!(link.pipe_to_client(), parts.concat());
}

#[test]
fn it_does_not_matter_how_what_comes_is_cut_up() {
    let folder = Folder::new("cuts");
    let settings = load(&folder.files()).unwrap();
    for version in [&TLS12, &TLS13] {
        let browser = Browser::new(&folder, &[version]);
        let mut link = Link::new(&settings, &browser);
        while link.client.is_handshaking() || link.server.is_handshaking() {
            link.client_to_pipe();
            for byte in std::mem::take(&mut link.pipe.came) {
                link.pipe.came.push_back(byte);
                let read = link.server.read_all(&mut link.pipe, 100).unwrap();
                assert_eq!(read, Some(Vec::new()));
            }
            link.pipe_to_client();
        }
        link.client_says(&pattern(1000));
        let mut plain = Vec::new();
        for byte in std::mem::take(&mut link.pipe.came) {
            link.pipe.came.push_back(byte);
            plain.extend(link.server.read_all(&mut link.pipe, 100).unwrap().unwrap());
        }
        assert_eq!(plain, pattern(1000));
    }
}

#[test]
fn a_small_buffer_gets_everything_and_is_told_that_there_is_more() {
    let folder = Folder::new("small-buffer");
    let settings = load(&folder.files()).unwrap();
    let mut link = Link::established(&settings, &Browser::new(&folder, &[&TLS13]));
    link.client_says(&pattern(100_000));
    assert_eq!(link.server_reads(97), pattern(100_000));
    link.client_says(b"hello");
    let mut buffer = [0; 1024];
    let arrival = link.server.read(&mut link.pipe, &mut buffer[..600]).unwrap().unwrap();
    assert_eq!((arrival.count, arrival.more), (5, false));
    assert_eq!(&buffer[..5], b"hello");
}

#[test]
fn read_all_leaves_nothing_behind() {
    let folder = Folder::new("read-all");
    let settings = load(&folder.files()).unwrap();
    let mut link = Link::established(&settings, &Browser::new(&folder, &[&TLS13]));
    link.client_says(&pattern(16 * 1024));
    let (mut plain, mut reads) = (Vec::new(), 0);
    while !link.pipe.came.is_empty() {
        plain.extend(link.server.read_all(&mut link.pipe, 1000).unwrap().unwrap());
        reads += 1;
    }
    assert_eq!(plain, pattern(16 * 1024));
    assert!(reads > 1);
}

#[test]
fn a_full_socket_gets_the_rest_later() {
    let folder = Folder::new("full");
    let settings = load(&folder.files()).unwrap();
    for version in [&TLS12, &TLS13] {
        let mut link = Link::established(&settings, &Browser::new(&folder, &[version]));
        link.pipe.room = Some(1000);
        let bytes = pattern(200_000);
        let mut taken = link.server_writes(&bytes).unwrap();
        assert!(taken < bytes.len(), "{taken}");
        assert!(link.server.unsent() > 0);
        let again = link.server_writes(&bytes[taken..]).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::WouldBlock);
        let before = link.server.unsent();
        link.pipe.room = Some(500);
        let still = link.server.flush(&mut link.pipe).unwrap_err();
        assert_eq!(still.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(before - link.server.unsent(), 500);
        while taken < bytes.len() {
            link.pipe.room = Some(7000);
            taken += match link.server_writes(&bytes[taken..]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                written => written.unwrap(),
            };
        }
        link.pipe.room = None;
        link.server.flush(&mut link.pipe).unwrap();
        assert_eq!(link.server.unsent(), 0);
        assert_eq!(link.pipe_to_client(), bytes);
    }
}

#[test]
fn nothing_is_written_before_the_handshake_is_over() {
    let folder = Folder::new("early");
    let settings = load(&folder.files()).unwrap();
    let mut link = Link::new(&settings, &Browser::new(&folder, &[&TLS13]));
    assert_eq!(link.server_writes(b"early").unwrap_err().kind(), io::ErrorKind::NotConnected);
    assert_eq!(link.pipe.sent, b"");
}

#[test]
fn an_end_comes_behind_what_was_said_before() {
    let folder = Folder::new("end");
    let settings = load(&folder.files()).unwrap();
    for version in [&TLS12, &TLS13] {
        let mut link = Link::established(&settings, &Browser::new(&folder, &[version]));
        link.client_says(b"last words");
        link.client.send_close_notify();
        link.client_to_pipe();
        let mut buffer = [0; 4096];
        let arrival = link.server.read(&mut link.pipe, &mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..arrival.count], arrival.more), (&b"last words"[..], true));
        assert_eq!(link.server.read(&mut link.pipe, &mut buffer).unwrap(), None);
        // The other half is open still.
        link.server_writes(b"goodbye").unwrap();
        link.server.close(&mut link.pipe).unwrap();
        link.server.close(&mut link.pipe).unwrap();
        assert_eq!(link.pipe_to_client(), b"goodbye");
    }
}

#[test]
fn an_end_alone_is_told_at_once() {
    let folder = Folder::new("end-alone");
    let settings = load(&folder.files()).unwrap();
    for version in [&TLS12, &TLS13] {
        let mut link = Link::established(&settings, &Browser::new(&folder, &[version]));
        link.client.send_close_notify();
        link.client_to_pipe();
        assert_eq!(link.server.read(&mut link.pipe, &mut [0; 100]).unwrap(), None);
        assert_eq!(link.server.read_all(&mut link.pipe, 100).unwrap(), None);
    }
}

#[test]
fn a_connection_may_end_without_a_word() {
    let folder = Folder::new("fin");
    let settings = load(&folder.files()).unwrap();
    let mut link = Link::established(&settings, &Browser::new(&folder, &[&TLS13]));
    link.pipe.has_ended = true;
    assert_eq!(link.server.read(&mut link.pipe, &mut [0; 100]).unwrap(), None);
}

#[test]
fn what_is_wrong_comes_behind_what_was_right_and_the_client_is_told() {
    let folder = Folder::new("wrong");
    let settings = load(&folder.files()).unwrap();
    for version in [&TLS12, &TLS13] {
        let mut link = Link::established(&settings, &Browser::new(&folder, &[version]));
        link.client_says(b"right");
        let right = link.pipe.came.len();
        link.client_says(b"wrong");
        link.pipe.came[right + 10] ^= 1;
        let mut buffer = [0; 4096];
        let arrival = link.server.read(&mut link.pipe, &mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..arrival.count], arrival.more), (&b"right"[..], true));
        let error = link.server.read(&mut link.pipe, &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = link.server.read(&mut link.pipe, &mut buffer).unwrap_err();
        assert_eq!(error.to_string(), "cannot decrypt peer's message");
        link.pipe_to_client();
        let told = link.client.process_new_packets().unwrap_err().to_string();
        assert!(told.contains("BadRecordMac"), "{told}");
    }
}

#[test]
fn records_without_content_have_their_cost() {
    let folder = Folder::new("empty");
    let settings = load(&folder.files()).unwrap();
    let mut link = Link::established(&settings, &Browser::new(&folder, &[&TLS13]));
    link.client.refresh_traffic_keys().unwrap();
    link.client_to_pipe();
    let arrival = link.server.read(&mut link.pipe, &mut [0; 100]).unwrap().unwrap();
    assert_eq!(arrival.count, 0);
    assert!(arrival.cost > 20, "{arrival:?}");
    link.client_says(b"with new keys");
    assert_eq!(link.server_reads(100), b"with new keys");
    link.server_writes(b"so do I").unwrap();
    assert_eq!(link.pipe_to_client(), b"so do I");
}

#[test]
fn a_certificate_is_asked_for_if_there_is_a_ca() {
    let folder = Folder::new("client-ca");
    let files = Files { client_ca: Some(folder.0.join("ca.pem")), ..folder.files() };
    let settings = load(&files).unwrap();
    let link = Link::established(&settings, &Browser::with_certificate(&folder));
    let own = certificates(&folder.0.join("client.pem")).remove(0);
    assert_eq!(link.server.client_certificate(), Some(&own[..]));
    let mut stranger = Browser::new(&folder, &[&TLS13]);
    let of_another_ca = Browser::with_certificate(&Folder::new("other-ca"));
    stranger.config.client_auth_cert_resolver = of_another_ca.config.client_auth_cert_resolver;
    for browser in [Browser::new(&folder, &[&TLS12]), Browser::new(&folder, &[&TLS13]), stranger] {
        let mut link = Link::new(&settings, &browser);
        assert!(link.shake_hands().is_err());
        assert_eq!(link.server.client_certificate(), None);
    }
}

#[test]
fn a_client_that_speaks_only_what_is_not_spoken_here_is_refused() {
    let folder = Folder::new("unspoken");
    let files = Files { minimum_version: Version::Tls13, ..folder.files() };
    let settings = load(&files).unwrap();
    let mut link = Link::new(&settings, &Browser::new(&folder, &[&TLS12]));
    assert!(link.shake_hands().is_err());
    let mut browser = Browser::new(&folder, &[&TLS13]);
    browser.config.alpn_protocols = vec![b"h2".to_vec()];
    assert!(Link::new(&settings, &browser).shake_hands().is_err());
    browser.config.alpn_protocols = Vec::new();
    Link::established(&settings, &browser);
}

#[test]
fn the_quickest_cipher_that_a_client_offers_is_chosen() {
    let folder = Folder::new("ciphers");
    let settings = load(&folder.files()).unwrap();
    let chosen = |browser| Link::established(&settings, &browser).server.cipher();
    for (version, quickest, other) in [
        (&TLS13, "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"),
        (
            &TLS12,
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ),
    ] {
        assert_eq!(chosen(Browser::new(&folder, &[version])), Some(quickest));
        let speaks = |suite: CipherSuite| !format!("{suite:?}").contains("_128_");
        assert_eq!(chosen(Browser::offering(&folder, &[version], speaks)), Some(other));
    }
}

#[test]
fn a_client_resumes_until_the_files_are_loaded_again() {
    let folder = Folder::new("resume");
    for version in [&TLS12, &TLS13] {
        let settings = load(&folder.files()).unwrap();
        let browser = Browser::new(&folder, &[version]);
        for is_resumed in [false, true, true] {
            let mut link = Link::established(&settings, &browser);
            assert_eq!(link.server.is_resumed(), is_resumed);
            link.server_writes(b"and a ticket").unwrap();
            link.pipe_to_client();
        }
        let settings = load(&folder.files()).unwrap();
        assert!(!Link::established(&settings, &browser).server.is_resumed());
    }
}
