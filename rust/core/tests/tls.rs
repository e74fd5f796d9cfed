//! Connections whose bytes are encrypted: to the protocol, and to whoever sends, they are like any.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use handy_ws_core::manager::{Adoption, CloseCause, Compress, Config, Connection, SlowConsumer};
use handy_ws_core::proto::{CloseCode, CloseFrame, Opcode};
use handy_ws_core::tls::{Crypto, Files, Session, Settings, Version};
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use support::{Client, PATIENCE, Seen, Server, end, make_narrow, masked};

const HOST: &str = "localhost";
const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

type Secured = Client<StreamOwned<ClientConnection, TcpStream>>;

/// What both ends need: a certificate that is its own authority.
struct Trust {
    settings: Settings,
    roots: RootCertStore,
}

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("handy-ws-tls-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let files = Files {
        certificate: folder.join("certificate.pem"),
        private_key: folder.join("key.pem"),
        client_ca: None,
        minimum_version: Version::Tls12,
    };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.private_key, made.signing_key.serialize_pem()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let crypto = Crypto { provider, ticketer: aws_lc_rs::Ticketer::new().unwrap() };
    let settings = Settings::load(&files, crypto).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.certificate).unwrap()).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    Trust { settings, roots }
});

/// Both ends of a session, behind the handshake.
fn shake_hands(
    server: &Server,
    version: &'static SupportedProtocolVersion,
) -> (Secured, TcpStream, Session) {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(TRUST.roots.clone())
        .with_no_client_auth();
    let socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = server.accept();
    let client = thread::spawn(move || {
        let connection = ClientConnection::new(Arc::new(config), HOST.try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Client { stream }
    });
    let mut session = Session::new(&TRUST.settings).unwrap();
    while session.is_handshaking() {
        assert_eq!(session.read_all(&mut stream, 4096).unwrap(), Some(Vec::new()));
    }
    (client.join().unwrap(), stream, session)
}

fn adopt(server: &Server, number: u32, stream: TcpStream, session: Session) {
    let adoption = Adoption { session: Some(Box::new(session)), ..Adoption::new(stream, number) };
    server.handle.adopt(adoption).unwrap();
}

fn connect(
    server: &Server,
    number: u32,
    version: &'static SupportedProtocolVersion,
) -> (Secured, Connection<u32>) {
    let (client, stream, session) = shake_hands(server, version);
    adopt(server, number, stream, session);
    (client, server.just_established(number))
}

/// As `connect`, with little room in the buffers of the sockets.
fn connect_narrow(server: &Server, number: u32) -> (Secured, Connection<u32>) {
    let (client, stream, session) = shake_hands(server, &TLS13);
    make_narrow(&stream);
    make_narrow(&client.stream.sock);
    adopt(server, number, stream, session);
    (client, server.just_established(number))
}

fn pattern(size: usize) -> Vec<u8> {
    (0..=250).cycle().take(size).collect()
}

#[test]
fn messages_of_all_sizes_are_echoed() {
    let server = Server::echo(Config::default());
    for version in BOTH {
        let (mut client, _) = connect(&server, 1, version);
        client.send(Opcode::Text, "h\u{e9}llo".as_bytes());
        client.expect_text("h\u{e9}llo");
        for size in [0, 1, 125, 126, 16_384, 70_000, 1 << 20] {
            client.send(Opcode::Binary, &pattern(size));
            let (first, payload) = client.read_frame();
            assert!(first == 0x82 && payload == pattern(size), "{size} bytes");
        }
        client.send(Opcode::Ping, b"there?");
        assert_eq!(client.read_frame(), (0x8A, b"there?".to_vec()));
        client.close(1000);
        assert_eq!(server.closed(1).cause, CloseCause::Peer);
    }
}

#[test]
fn many_messages_in_one_record_and_one_message_in_many_records() {
    let server = Server::echo(Config::default());
    let (mut client, _) = connect(&server, 1, &TLS13);
    let frames: Vec<u8> = (0..500).flat_map(|_| masked(Opcode::Text, b"one of many")).collect();
    client.write(&frames);
    for _ in 0..500 {
        client.expect_text("one of many");
    }
    for byte in masked(Opcode::Text, b"byte by byte") {
        client.write(&[byte]);
    }
    client.expect_text("byte by byte");
}

#[test]
fn what_comes_before_the_adoption_is_not_lost() {
    let server = Server::echo(Config::default());
    let (mut client, stream, session) = shake_hands(&server, &TLS13);
    client.send(Opcode::Text, b"early");
    adopt(&server, 1, stream, session);
    client.expect_text("early");
}

#[test]
fn a_broadcast_reaches_those_with_and_without_tls() {
    let server = Server::new(Config::default());
    let (mut plain, _) = server.established(1);
    let (mut secured, _) = connect(&server, 2, &TLS13);
    let (mut old, _) = connect(&server, 3, &TLS12);
    for number in 0..100 {
        server.handle.broadcast_text(&format!("news {number}"), None, Compress::Allow);
    }
    for number in 0..100 {
        plain.expect_text(&format!("news {number}"));
        secured.expect_text(&format!("news {number}"));
        old.expect_text(&format!("news {number}"));
    }
}

#[test]
fn who_reads_late_gets_everything_in_order() {
    let server = Server::new(Config { send_queue_limit: 8 << 20, ..Config::default() });
    let (mut client, connection) = connect_narrow(&server, 1);
    for number in 0..200_u32 {
        let mut payload = number.to_be_bytes().to_vec();
        payload.extend(pattern(20_000));
        connection.send_binary(&payload, Compress::Allow).unwrap();
    }
    for number in 0..200_u32 {
        let (_, payload) = client.read_frame();
        assert_eq!(payload[..4], number.to_be_bytes());
        assert!(payload[4..] == pattern(20_000));
    }
    connection.send_text("and on", Compress::Allow).unwrap();
    client.expect_text("and on");
}

#[test]
fn who_does_not_read_loses_whole_messages_only() {
    let config = Config {
        send_queue_limit: 50_000,
        slow_consumer: SlowConsumer::DropOldest,
        ..Config::default()
    };
    let server = Server::new(config);
    let (mut client, connection) = connect_narrow(&server, 1);
    for number in 0..1000_u32 {
        let mut payload = number.to_be_bytes().to_vec();
        payload.extend(pattern(5_000));
        connection.send_binary(&payload, Compress::Allow).unwrap();
        thread::sleep(Duration::from_micros(100));
    }
    connection.send_text("the last one", Compress::Allow).unwrap();
    let mut next = 0;
    loop {
        let (first, payload) = client.read_frame();
        if first == 0x81 {
            break;
        }
        let number = u32::from_be_bytes(payload[..4].try_into().unwrap());
        assert!(number >= next && payload[4..] == pattern(5_000));
        next = number + 1;
    }
    assert!(server.handle.counters().messages_dropped > 0);
}

#[test]
fn the_server_closes_with_a_clean_end() {
    let server = Server::new(Config::default());
    for version in BOTH {
        let (mut client, connection) = connect(&server, 1, version);
        let goodbye = CloseFrame::new(CloseCode::NORMAL, "bye").unwrap();
        connection.close(goodbye, CloseCause::Local);
        assert_eq!(client.expect_close(1000), "bye");
        client.send(Opcode::Close, &1000_u16.to_be_bytes());
        client.expect_end(); // which is an error without a close_notify
        assert_eq!(server.closed(1), end(CloseCode::NORMAL, "bye", CloseCause::Local));
    }
}

#[test]
fn an_end_without_a_close_frame_is_a_network_error() {
    let server = Server::new(Config::default());
    let (mut client, _) = connect(&server, 1, &TLS13);
    client.send(Opcode::Text, b"last words");
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    assert_eq!(server.next(), Seen::Text(1, "last words".into()));
    assert_eq!(server.closed(1).cause, CloseCause::NetworkError);
}

#[test]
fn what_is_no_record_ends_its_own_connection_only() {
    let server = Server::echo(Config::default());
    let (mut good, _) = connect(&server, 1, &TLS13);
    let (mut bad, _) = connect(&server, 2, &TLS13);
    bad.send(Opcode::Text, b"right");
    bad.expect_text("right");
    bad.stream.sock.write_all(b"\x17\x03\x03\x00\x20 this is not encrypted at all, no ").unwrap();
    loop {
        if let Seen::Closed(2, end) = server.next() {
            assert_eq!(end.cause, CloseCause::NetworkError);
            break;
        }
    }
    good.send(Opcode::Text, b"still here");
    good.expect_text("still here");
}

#[test]
fn a_server_that_stops_says_so() {
    let server = Server::new(Config::default());
    let (mut client, _) = connect(&server, 1, &TLS13);
    let reader = thread::spawn(move || {
        client.expect_close(1001);
        client.send(Opcode::Close, &1001_u16.to_be_bytes());
        client.expect_end();
    });
    let seen = server.stop(PATIENCE);
    reader.join().unwrap();
    let Some(Seen::Closed(1, end)) = seen.last() else { panic!("{seen:?}") };
    assert_eq!(end.cause, CloseCause::ServerStop);
}
