//! How long an app does not answer: a prober that asks its page all the time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Failure;

/// Pause between two questions: the clock of what is measured.
const PAUSE: Duration = Duration::from_micros(500);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_millis(100);

/// A prober at work.
pub(crate) struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Prober {
    /// Begins; the app must answer.
    pub(crate) fn on(port: u16) -> Result<Self, Failure> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if !answers(address) {
            return Err(format!("nothing answers on port {port}").into());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            loop {
                if answers(address) {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    if asked.load(Ordering::Relaxed) {
                        return longest;
                    }
                }
                std::thread::sleep(PAUSE);
            }
        });
        Ok(Self { stop, thread })
    }

    /// Ends with the next answer; returns the longest time without one.
    pub(crate) fn longest(self) -> Result<Duration, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.thread.join();
        longest.map_err(|_| "the prober broke off".into())
    }
}

fn answers(address: SocketAddr) -> bool {
    let asked = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut first = [0_u8; 8];
        Ok(stream.read(&mut first)? > 0)
    };
    asked().unwrap_or(false)
}
