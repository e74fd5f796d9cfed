//! A loop that is not waited for, because its handler does not return.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::sync::mpsc;
use std::time::Duration;

use handy_ws_core::manager::{CloseCause, Compress, Config, Manager};
use handy_ws_core::proto::Opcode;

use support::{PATIENCE, Seen, Server, masked};

#[test]
fn another_loop_runs_while_the_handler_of_the_last_one_blocks() {
    let (entered, has_entered) = mpsc::channel();
    let (release, is_released) = mpsc::channel::<()>();
    let server = Server::reacting(Config::default(), move |seen, _, _| {
        if let Seen::Text(..) = seen {
            entered.send(()).expect("the test waits");
            is_released.recv_timeout(PATIENCE).expect("released");
        }
    });
    let (mut client, connection) = server.established(1);
    let (_other, _) = server.established(2);
    client.write(&masked(Opcode::Text, b"block"));
    has_entered.recv_timeout(PATIENCE).expect("entered");
    assert!(Manager::new(&server.handle).is_err(), "it runs");
    server.handle.leave_behind();
    assert!(!server.handle.is_running());
    let successor = Manager::new(&server.handle).expect("there is none");
    assert!(server.handle.is_running());
    // The stand-in notices, and cuts them off.
    assert_eq!(client.expect_close(1001), "server stop");
    client.expect_end();
    assert!(connection.send_text("late", Compress::Allow).is_err());
    release.send(()).expect("the handler waits");
    for number in [1, 2] {
        assert_eq!(server.closed(number).cause, CloseCause::ServerStop);
    }
    drop(successor);
    assert!(!server.handle.is_running());
    assert!(server.stop(Duration::ZERO).is_empty());
    assert_eq!(connection.end().map(|end| end.cause), Some(CloseCause::ServerStop));
}
