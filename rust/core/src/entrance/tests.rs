//! Clients on real sockets, and a manager whose loop does not run.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::handshake::{Negotiation, Origins, Terms};
use crate::manager::{Config, Handle, Manager, Refusals};
use crate::reception::{Arrival, Guest, Happened, Limits, Poll, Reception};

use super::{Entrance, Entrant, Gate, MAX_GATES, PATIENCE, RETRY};

const NOW: Duration = Duration::from_secs(100);
const FIELDS: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn entrance(path: &str) -> Entrance<&'static str, ()> {
    let mut entrance = Entrance::new(Negotiation::Decline, Some(100));
    entrance.open(path, gate);
    entrance
}

fn gate() -> Gate<&'static str> {
    let terms = Terms::new(["chat"], Origins::Same, None).unwrap();
    Gate { terms: Arc::new(terms), deferred: false, guide: "guide" }
}

/// Clients that have sent these heads, and what their ends are.
fn arrivals(heads: &[String]) -> (Vec<Arrival<()>>, Vec<TcpStream>) {
    let limits = Limits { head_timeout: Duration::from_secs(10), max_head_size: 1000 };
    let mut reception = Reception::new(limits, Arc::new(Poll::new().unwrap()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut clients = Vec::new();
    for head in heads {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(head.as_bytes()).unwrap();
        let (socket, address) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = mio::net::TcpStream::from_std(socket);
        reception.add(Duration::ZERO, Guest::new(socket, None, Some(address), ())).unwrap();
        clients.push(client);
    }
    let come = reception.turn(|| Duration::ZERO, &mut Happened::default(), None).unwrap();
    assert_eq!(come.arrivals.len(), heads.len());
    (come.arrivals, clients)
}

fn request(line: &str, more: &str) -> String {
    format!("{line} HTTP/1.1\r\n{FIELDS}{more}\r\n")
}

#[expect(clippy::needless_pass_by_value, reason = "it is what is given")]
fn context(entrant: Entrant<'_, &'static str>) -> String {
    assert!(entrant.address.is_some() && entrant.session.is_none());
    assert!(entrant.head.ends_with(b"\r\n\r\n"));
    (*entrant.guide).to_owned()
}

/// Says how many of them are let in, and that the others come back.
fn let_in(heads: &[String], manager: &Handle<String>) -> usize {
    let (arrivals, _clients) = arrivals(heads);
    let others = entrance("/chat").let_in(NOW, arrivals, manager, context);
    let others: Vec<_> = others.iter().map(|arrival| arrival.guest.received()).collect();
    assert!(others.iter().all(|head| heads.iter().any(|sent| sent.as_bytes() == *head)));
    heads.len() - others.len()
}

#[test]
fn handshakes_at_a_gate_are_let_in() {
    let handle = Handle::new(Config::default());
    let _manager = Manager::new(&handle).unwrap();
    for line in ["GET /chat", "GET /chat?room=1"] {
        for more in ["", "Sec-WebSocket-Protocol: chat\r\n", "Origin: http://localhost\r\n"] {
            assert_eq!(let_in(&[request(line, more)], &handle), 1, "{line} {more}");
        }
    }
    let many: Vec<_> = (0..20).map(|_| request("GET /chat", "")).collect();
    assert_eq!(let_in(&many, &handle), 20);
    let together = request("GET /chat", "") + "\u{1}\u{2}";
    assert_eq!(let_in(&[together], &handle), 1);
}

#[test]
fn all_else_comes_back_and_nothing_is_counted() {
    let handle = Handle::new(Config::default());
    let _manager = Manager::new(&handle).unwrap();
    for line in ["GET /", "GET /chat/", "GET /CHAT", "GET /%63hat", "POST /chat", "get /chat"] {
        assert_eq!(let_in(&[request(line, "")], &handle), 0, "{line}");
    }
    for more in [
        "Origin: http://elsewhere.example\r\n",
        "Sec-WebSocket-Protocol: chat, chat\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "Broken\r\n",
    ] {
        assert_eq!(let_in(&[request("GET /chat", more)], &handle), 0, "{more}");
    }
    let ordinary = "GET /chat HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned();
    assert_eq!(let_in(&[ordinary], &handle), 0);
    assert_eq!(let_in(&["no request\n".to_owned()], &handle), 0);
    assert_eq!(handle.refusals(), Refusals::default());
}

#[test]
fn who_finds_no_place_comes_back() {
    let handle = Handle::new(Config { max_connections: Some(2), ..Config::default() });
    let _manager = Manager::new(&handle).unwrap();
    let heads: Vec<_> = (0..3).map(|_| request("GET /chat", "")).collect();
    assert_eq!(let_in(&heads, &handle), 2);
    assert_eq!(let_in(&heads, &handle), 0);
    assert_eq!(handle.refusals(), Refusals::default());
}

#[test]
fn a_place_is_free_again_if_no_loop_runs() {
    let handle = Handle::new(Config { max_connections: Some(1), ..Config::default() });
    for _ in 0..3 {
        assert_eq!(let_in(&[request("GET /chat", "")], &handle), 1);
    }
}

#[test]
fn a_crowd_waits_for_its_turn_and_is_not_forgotten() {
    let handle = Handle::new(Config { max_pending_handshakes: 2, ..Config::default() });
    let _manager = Manager::new(&handle).unwrap();
    let taken = [handle.admit(None).unwrap(), handle.admit(None).unwrap()];
    let mut entrance = entrance("/chat");
    let heads: Vec<_> = (0..4).map(|_| request("GET /chat", "")).collect();
    let (crowd, clients) = arrivals(&heads);
    let mut later = NOW;
    assert!(entrance.let_in(later, crowd, &handle, context).is_empty());
    assert_eq!(entrance.descriptors().count(), 4);
    assert_eq!(entrance.next_due(), Some(later + RETRY));
    later += RETRY;
    let [first, second] = taken;
    drop(first);
    assert!(entrance.let_in(later, vec![], &handle, context).is_empty());
    assert_eq!((entrance.waiting.len(), entrance.next_due()), (3, Some(later + RETRY)));
    drop(second);
    assert!(entrance.let_in(later, vec![], &handle, context).is_empty());
    assert_eq!(entrance.waiting.len(), 2);
    // Nobody is greeted, and so they are told that there are too many.
    let just_before = (NOW + PATIENCE).saturating_sub(RETRY);
    assert!(entrance.let_in(just_before, vec![], &handle, context).is_empty());
    let refused = entrance.let_in(NOW + PATIENCE, vec![], &handle, context);
    assert_eq!((refused.len(), entrance.next_due()), (2, None));
    assert_eq!(handle.refusals(), Refusals::default());
    drop(clients);
}

#[test]
fn who_waits_can_be_let_go() {
    let handle = Handle::new(Config { max_pending_handshakes: 0, ..Config::default() });
    let mut entrance = entrance("/chat");
    let (crowd, mut clients) = arrivals(&[request("GET /chat", "")]);
    assert!(entrance.let_in(NOW, crowd, &handle, context).is_empty());
    entrance.let_go();
    assert_eq!(entrance.next_due(), None);
    assert_eq!(clients[0].read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_first_gate_at_a_path_stays_and_there_are_not_too_many() {
    let mut entrance = entrance("/chat");
    entrance.open("/chat", || Gate { guide: "another", ..gate() });
    assert_eq!(entrance.gates["/chat"].guide, "guide");
    for number in 0..MAX_GATES {
        entrance.open(&format!("/{number}"), gate);
    }
    assert_eq!(entrance.gates.len(), MAX_GATES);
}
