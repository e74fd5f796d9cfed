//! Somebody else's sockets.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Happened, Poll};

#[test]
fn others_are_told_of_for_as_long_as_they_are_ready() {
    let poll = Poll::new().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (readable, writable) = (1, 4); // EPOLLIN, EPOLLOUT
    let ready = || {
        let mut happened = Happened::default();
        poll.wait(&mut happened, Some(Duration::ZERO)).unwrap();
        assert!(!happened.concerns_reception());
        happened.others().count()
    };
    poll.register(ours.as_fd(), readable).unwrap();
    assert_eq!(ready(), 0);
    theirs.write_all(b"hello").unwrap();
    assert_eq!([ready(), ready()], [1, 1]);
    (&ours).read_exact(&mut [0; 5]).unwrap();
    assert_eq!(ready(), 0);
    poll.modify(ours.as_fd(), readable | writable).unwrap();
    assert_eq!(ready(), 1);
    poll.unregister(ours.as_fd()).unwrap();
    assert_eq!(ready(), 0);
    assert!(poll.unregister(ours.as_fd()).is_err(), "it is out already");
}
