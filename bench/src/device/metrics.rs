//! The figures of a run for Prometheus, over HTTP on this machine only.
//!
//! ```text
//!   peers ─▶ intervals ─▶ exposition ─▶ text of a scrape ─▶ whoever connects
//! ```
//!
//! It has no thread: the reporter's ticks carry it on, and nothing here ever waits. A client that says too much, or nothing for
//! too long, or that does not read its answer, is hung up on. A few are served beside each other, all others wait in the
//! kernel's queue.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use self::exposition::Exposition;
use crate::recording::recorder::Interval;

mod exposition;

/// The port, and what is told there.
#[derive(Debug)]
pub(super) struct Metrics {
    listener: TcpListener,
    clients: Vec<Client>,
    exposition: Exposition,
}

/// Somebody who asks.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    until: Instant,
    request: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
}

/// What becomes of a client for now.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    Waits,
    HangsUp,
}

impl Metrics {
    /// Opens the port and says where it is: with port 0 nobody else knows. `asked` is the depth of all peers.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn listen(address: SocketAddr, peers: u16, asked: u64) -> Result<Metrics, String> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) =
            bound.map_err(|error| format!("{address} cannot be listened at: {error}; choose another --metrics"))?;
        let _ = writeln!(io::stderr(), "metrics at http://{address}/metrics");
        Ok(Metrics { listener, clients: Vec::new(), exposition: Exposition::new(peers, asked) })
    }

    /// A peer has handed this over.
    pub(super) fn add(&mut self, interval: &Interval) {
        self.exposition.add(interval);
    }

    /// Goes on with all who ask, as far as that is possible at once.
    pub(super) fn turn(&mut self) {
        while self.clients.len() < CLIENTS_MAX
            && let Ok(client) = self.listener.accept().and_then(|(stream, _)| Client::new(stream))
        {
            self.clients.push(client);
        }
        let (now, exposition) = (Instant::now(), &self.exposition);
        self.clients.retain_mut(|client| {
            let then = client.go_on(exposition).unwrap_or(Then::HangsUp);
            then == Then::Waits && now < client.until
        });
    }
}

impl Client {
    fn new(stream: TcpStream) -> io::Result<Client> {
        stream.set_nonblocking(true)?;
        let until = Instant::now() + PATIENCE;
        Ok(Client { stream, until, request: Vec::new(), answer: Vec::new(), sent: 0 })
    }

    /// Reads until the request is whole, then writes until the answer is.
    fn go_on(&mut self, exposition: &Exposition) -> io::Result<Then> {
        while self.answer.is_empty() {
            let mut some = [0; 1024];
            match self.stream.read(&mut some) {
                Ok(0) => return Ok(Then::HangsUp),
                Ok(count) => self.request.extend_from_slice(&some[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Then::Waits),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.request.windows(4).any(|end| end == b"\r\n\r\n") || self.request.len() > REQUEST_MAX {
                self.answer = answer(&self.request, exposition);
            }
        }
        while self.sent < self.answer.len() {
            match self.stream.write(&self.answer[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Then::Waits),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.stream.shutdown(Shutdown::Write)?;
        Ok(Then::HangsUp)
    }
}

fn answer(request: &[u8], exposition: &Exposition) -> Vec<u8> {
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = std::str::from_utf8(line).unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let known = matches!(target.split('?').next(), Some("/metrics" | "/"));
    let (status, text) = match (method, known) {
        _ if request.len() > REQUEST_MAX => ("431 Request Header Fields Too Large", "Too long.\n".to_owned()),
        ("GET", true) => ("200 OK", exposition.text()),
        ("GET", false) => ("404 Not Found", "Ask for /metrics.\n".to_owned()),
        _ => ("405 Method Not Allowed", "Ask with GET.\n".to_owned()),
    };
    let length = text.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nAllow: GET\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
    .into_bytes()
}

const CLIENTS_MAX: usize = 8;
const PATIENCE: Duration = Duration::from_secs(1);
const REQUEST_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn metrics() -> (Metrics, SocketAddr) {
        let metrics = Metrics::listen(SocketAddr::from(([127, 0, 0, 1], 0)), 1, 32).expect("a free port");
        let address = metrics.listener.local_addr().expect("it is bound");
        (metrics, address)
    }

    /// What a client is answered that says this and then listens.
    fn ask(address: SocketAddr, words: &'static [u8]) -> thread::JoinHandle<String> {
        thread::spawn(move || {
            let mut stream = TcpStream::connect(address).expect("somebody listens");
            stream.write_all(words).expect("it is read");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        })
    }

    fn turn_until<T>(metrics: &mut Metrics, asked: thread::JoinHandle<T>) -> T {
        while !asked.is_finished() {
            metrics.turn();
            thread::yield_now();
        }
        asked.join().expect("the client lives")
    }

    #[test]
    fn whoever_asks_well_is_answered_and_others_are_told_why_not() {
        let (mut metrics, address) = metrics();
        let cases: [(&[u8], &str); 5] = [
            (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"),
            (b"GET /metrics?a=b HTTP/1.1\r\n\r\n", "HTTP/1.1 200"),
            (b"GET /other HTTP/1.1\r\n\r\n", "HTTP/1.1 404"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405"),
            (b"\x00\xff\r\n\r\n", "HTTP/1.1 405"),
        ];
        for (words, want) in cases {
            let answer = turn_until(&mut metrics, ask(address, words));
            assert!(answer.starts_with(want), "{answer}");
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        }
        static ENDLESS: [u8; 100_000] = [b'x'; 100_000];
        // It may be hung up on before it has said all.
        let endless = thread::spawn(move || {
            let _ = TcpStream::connect(address).expect("somebody listens").write_all(&ENDLESS);
        });
        turn_until(&mut metrics, endless);
    }

    #[test]
    fn those_who_say_nothing_keep_nobody_waiting_for_long() {
        let (mut metrics, address) = metrics();
        let silent = [(); CLIENTS_MAX].map(|()| TcpStream::connect(address).expect("somebody listens"));
        let asked = ask(address, b"GET / HTTP/1.1\r\n\r\n");
        let began = Instant::now();
        metrics.turn();
        assert!(began.elapsed() < PATIENCE / 2, "a turn does not wait");
        assert!(turn_until(&mut metrics, asked).starts_with("HTTP/1.1 200"));
        assert!((PATIENCE..PATIENCE * 3).contains(&began.elapsed()), "the silent ones had all places");
        assert!(metrics.clients.is_empty() && silent.len() == CLIENTS_MAX, "they were hung up on");
    }
}
