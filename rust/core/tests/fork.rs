//! What a forked child sees of its parent's manager. It is the only test in its process, which says
//! of itself that it was forked; so the loop is the parent's and the child's in one.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::time::Duration;

use handy_ws_core::manager::{
    Adoption, Compress, Config, Manager, NotRunning, PerProcess, generation, in_forked_child,
};

use support::Server;

#[test]
fn a_child_has_values_of_its_own_and_no_loop() {
    let value = PerProcess::new(7);
    let server = Server::new(Config::default());
    let (client, connection) = server.established(1);
    assert!(server.handle.is_running());
    let parents = value.lock(); // and it is never released

    in_forked_child();
    assert_eq!(generation(), 1);
    assert_eq!(*value.lock(), 0);
    *value.lock() = 8;
    connection.sever();
    assert!(connection.send_text("nobody", Compress::Allow).is_err());
    assert!(!server.handle.is_running());
    let stream = std::net::TcpStream::connect(server.address()).expect("connected");
    let adoption = Adoption::new(stream, 2);
    assert_eq!(server.handle.adopt(adoption), Err(NotRunning));
    let own = Manager::new(&server.handle).expect("there is none yet");
    assert!(server.handle.is_running());
    drop(own);

    in_forked_child();
    assert_eq!(*value.lock(), 0);
    assert_eq!(*parents, 7);
    drop(client);
    server.stop(Duration::ZERO);
}
