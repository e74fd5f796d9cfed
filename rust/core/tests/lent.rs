//! Payloads that are lent: they go out as others do, and are given back whatever becomes of them.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::sync::Arc;

use handy_ws_core::manager::{Closed, Compress, Config, Lent, Sent, SlowConsumer};
use handy_ws_core::proto::CloseFrame;
use handy_ws_core::proto::deflate::{Agreement, DeflateParameters};

use support::{Server, settle, wait_until};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const RSV1: u8 = 0x40;

/// What can be lent, and whose borrowers can be counted.
#[derive(Clone)]
struct Payload(Arc<Vec<u8>>);

impl Payload {
    fn new(size: usize) -> Self {
        Self(Arc::new((b'a'..=b'z').cycle().take(size).collect()))
    }

    fn lend(&self) -> Lent {
        Box::new(self.clone())
    }

    fn is_back(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[test]
fn what_is_lent_comes_in_order_with_what_is_not_and_is_given_back() {
    let config = Config { send_queue_limit: 16 << 20, ..Config::default() };
    let server = Server::new(config);
    let (mut client, connection) = server.established(1);
    let sizes = [0, 1, 125, 126, 65_535, 65_536, 3_000_000];
    let payloads = sizes.map(Payload::new);
    for payload in &payloads {
        assert!(connection.lend_text(payload.lend(), Compress::Allow).is_ok());
        assert!(connection.send_text("between", Compress::Allow).is_ok());
        assert!(connection.lend_binary(payload.lend(), Compress::Allow).is_ok());
    }
    for payload in &payloads {
        assert!(client.read_frame() == (TEXT, payload.0.to_vec()));
        client.expect_text("between");
        assert!(client.read_frame() == (BINARY, payload.0.to_vec()));
    }
    wait_until(|| payloads.iter().all(Payload::is_back));
    wait_until(|| connection.buffered_bytes() == 0);
}

#[test]
fn what_is_compressed_is_given_back_at_once() {
    let parameters = DeflateParameters {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_max_window_bits: None,
        client_max_window_bits: None,
    };
    let server = Server::new(Config::default());
    let agreement = Agreement { parameters, level: 6, threshold: 100 };
    let (mut client, connection) = server.compressing(1, agreement);
    let payload = Payload::new(10_000);
    assert!(connection.lend_text(payload.lend(), Compress::Allow).is_ok());
    assert!(payload.is_back());
    assert!(connection.lend_text(payload.lend(), Compress::Never).is_ok());
    let (first, compressed) = client.read_frame();
    assert_eq!(first, TEXT | RSV1);
    assert!(compressed.len() < 1000);
    assert!(client.read_frame() == (TEXT, payload.0.to_vec()));
    wait_until(|| payload.is_back());
}

#[test]
fn what_is_refused_is_given_back_at_once() {
    let config = Config {
        send_queue_limit: 100_000,
        slow_consumer: SlowConsumer::DropNewest,
        ..Config::default()
    };
    let server = Server::new(config);
    let (mut client, connection) = server.narrow(1, None);
    let payload = Payload::new(50_000);
    let mut accepted = 0;
    loop {
        let before = Arc::strong_count(&payload.0);
        match connection.lend_binary(payload.lend(), Compress::Allow).unwrap() {
            Sent::Dropped => {
                assert!(Arc::strong_count(&payload.0) <= before);
                break;
            }
            Sent::Queued | Sent::Backpressure => accepted += 1,
        }
    }
    for _ in 0..accepted {
        assert!(client.read_frame() == (BINARY, payload.0.to_vec()));
    }
    wait_until(|| payload.is_back());
    connection.close(CloseFrame::default(), handy_ws_core::manager::CloseCause::Local);
    assert_eq!(connection.lend_binary(payload.lend(), Compress::Allow), Err(Closed));
    assert!(payload.is_back());
}

#[test]
fn what_is_dropped_for_newer_messages_is_given_back() {
    let config = Config {
        send_queue_limit: 200_000,
        slow_consumer: SlowConsumer::DropOldest,
        ..Config::default()
    };
    let server = Server::new(config);
    let (mut client, connection) = server.narrow(1, None);
    let (mut reader, _) = server.established(2);
    let payloads = [Payload::new(50_000), Payload::new(50_001)];
    for payload in &payloads {
        for _ in 0..100 {
            assert!(connection.lend_binary(payload.lend(), Compress::Allow).is_ok());
            settle(&mut reader);
            assert!(connection.buffered_bytes() <= 200_000);
        }
    }
    // One may have begun to go out when it was the oldest.
    wait_until(|| Arc::strong_count(&payloads[0].0) <= 2);
    connection.send_text("last", Compress::Allow).unwrap();
    let mut sizes = Vec::new();
    loop {
        let (first, got) = client.read_frame();
        if first == TEXT {
            break;
        }
        assert!(payloads.iter().any(|payload| *payload.0 == got), "a whole message");
        sizes.push(got.len());
    }
    assert!(sizes.is_sorted() && sizes.len() < 200, "{sizes:?}");
    wait_until(|| payloads.iter().all(Payload::is_back));
    let sent = sizes.len() as u64;
    wait_until(|| server.handle.counters().messages_sent == sent + 1);
    assert_eq!(server.handle.counters().messages_dropped, 200 - sent);
}

#[test]
fn what_a_client_does_not_take_any_more_is_given_back() {
    let config = Config { send_queue_limit: 16 << 20, ..Config::default() };
    let server = Server::new(config);
    let (client, connection) = server.narrow(1, None);
    let payload = Payload::new(5_000_000);
    for _ in 0..3 {
        assert!(connection.lend_binary(payload.lend(), Compress::Allow).is_ok());
    }
    wait_until(|| connection.buffered_bytes() < 15_000_000);
    drop(client); // with bytes unread: a reset
    wait_until(|| payload.is_back());
    server.closed(1);
}
