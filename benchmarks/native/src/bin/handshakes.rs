//! A client that makes WebSocket handshakes, some at a time, and ends each connection at once.
//!
//!     handshakes ADDRESS COUNT DEPTH reset|close [tls]
//!
//! `reset` ends a connection with a TCP reset as soon as the 101 is there, `close` with the closing
//! handshake. It takes one connection after another when one is over, so that DEPTH of them are
//! always under way. With `tls` each has a TLS session of its own. Prints how many handshakes it has
//! made, in how many seconds, and the median and the 99th percentile of what one took, from
//! `connect` to the 101, in seconds.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, mem};

use handy_ws_benchmarks::{ACCEPT, CLOSE, REQUEST, contains, tls_client};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::SockRef;

const STALLED: Duration = Duration::from_secs(10);
const READ_SIZE: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, count, depth, end, tls @ ..] = arguments.as_slice() else {
        return Err("usage: handshakes ADDRESS COUNT DEPTH reset|close [tls]".into());
    };
    let end = match end.as_str() {
        "reset" => End::Reset,
        "close" => End::Close,
        other => return Err(format!("{other} is no way to end a connection").into()),
    };
    let mut client = Client::new(address.parse()?, count.parse()?, end)?;
    match tls {
        [] => {}
        [tls] if tls == "tls" => client.tls = Some(tls_client()?),
        other => return Err(format!("what is {other:?}?").into()),
    }
    let begun = Instant::now();
    client.run(depth.parse()?)?;
    let seconds = begun.elapsed().as_secs_f64();
    client.times.sort_unstable();
    let times = &client.times;
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64();
    writeln!(
        io::stdout(),
        "{{\"handshakes\": {}, \"seconds\": {seconds}, \"p50\": {}, \"p99\": {}}}",
        times.len(),
        percentile(50),
        percentile(99)
    )?;
    Ok(())
}

/// How a connection ends that has been made.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Reset,
    Close,
}

struct Client {
    address: SocketAddr,
    end: End,
    tls: Option<Arc<ClientConfig>>,
    poll: Poll,
    left: usize, // to be begun
    times: Vec<Duration>,
}

impl Client {
    fn new(address: SocketAddr, count: usize, end: End) -> io::Result<Self> {
        let times = Vec::with_capacity(count);
        Ok(Self { address, end, tls: None, poll: Poll::new()?, left: count, times })
    }

    /// Makes all the handshakes, `depth` at a time.
    fn run(&mut self, depth: usize) -> Result<(), Box<dyn Error>> {
        let mut attempts: Vec<Option<Attempt>> = Vec::new();
        for number in 0..depth {
            attempts.push(self.begin(Token(number))?);
        }
        let mut events = Events::with_capacity(1024);
        while attempts.iter().any(Option::is_some) {
            self.poll.poll(&mut events, Some(STALLED))?;
            if events.is_empty() {
                return Err("nothing has come for 10 s".into());
            }
            for event in &events {
                let place = &mut attempts[event.token().0];
                let Some(attempt) = place else { continue };
                if attempt.go_on(self.end, &mut self.times)? {
                    *place = None; // closed before the next one is opened
                    *place = self.begin(event.token())?;
                }
            }
        }
        Ok(())
    }

    /// Opens the next connection, unless there have been enough.
    fn begin(&mut self, token: Token) -> Result<Option<Attempt>, Box<dyn Error>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let begun = Instant::now();
        let mut stream = TcpStream::connect(self.address)?;
        if self.end == End::Reset {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token, interest)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let name = self.address.ip().into();
                let session = ClientConnection::new(Arc::clone(config), name)?;
                Box::new(StreamOwned::new(session, stream))
            }
        };
        Ok(Some(Attempt {
            stream,
            begun,
            unsent: REQUEST,
            received: Vec::new(),
            is_closing: false,
        }))
    }
}

/// A socket, or TLS on one.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// One connection, from `connect` to its end.
struct Attempt {
    stream: Box<dyn Stream>,
    begun: Instant,
    unsent: &'static [u8],
    received: Vec<u8>,
    is_closing: bool,
}

impl Attempt {
    /// Does what can be done without waiting; returns whether the connection has come to its end.
    fn go_on(&mut self, end: End, times: &mut Vec<Duration>) -> Result<bool, Box<dyn Error>> {
        if !self.send()? {
            return Ok(false);
        }
        let mut buffer = [0; READ_SIZE];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) if self.is_closing => return Ok(true),
                // TLS without a last word: whether there has to be one is the server's affair.
                Err(error) if self.is_closing && error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(true);
                }
                Ok(0) => return Err("the server has closed a connection".into()),
                Ok(read) => self.received.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if self.is_closing || !contains(&self.received, b"\r\n\r\n") {
                continue;
            }
            self.check()?;
            times.push(self.begun.elapsed());
            if end == End::Reset {
                return Ok(true);
            }
            self.is_closing = true;
            self.unsent = CLOSE;
            if !self.send()? {
                return Ok(false);
            }
        }
    }

    /// Sends what is to be sent; returns whether all of it is out.
    fn send(&mut self) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            match self.stream.write(self.unsent) {
                Ok(sent) => self.unsent = &self.unsent[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn check(&mut self) -> Result<(), Box<dyn Error>> {
        let response = mem::take(&mut self.received);
        if response.starts_with(b"HTTP/1.1 101 ") && contains(&response, ACCEPT) {
            return Ok(());
        }
        Err(format!("refused: {}", String::from_utf8_lossy(&response)).into())
    }
}
