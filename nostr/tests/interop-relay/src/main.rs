//! Runs nostr-rs-relay for a test: `archy-interop-relay DIR` keeps its database in DIR, listens on a free
//! port of 127.0.0.1, prints the relay's address once it answers, and runs until standard input ends.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

fn main() {
    let dir = std::env::args().nth(1).expect("usage: archy-interop-relay DIR");
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let mut settings = nostr_rs_relay::config::Settings::default();
    settings.database.data_directory = dir;
    settings.network.address = "127.0.0.1".to_owned();
    settings.network.port = port;
    settings.options.reject_future_seconds = Some(900);
    let (stop, stopped) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        if let Err(error) = nostr_rs_relay::server::start_server(&settings, stopped) {
            eprintln!("nostr-rs-relay: {error:?}");
        }
    });
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(!server.is_finished(), "the relay ended before it answered");
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("ws://127.0.0.1:{port}");
    std::io::stdout().flush().expect("standard output is open");
    // The test holds the other end: when it ends, however it ends, so does the relay.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let _ = stop.send(());
    std::process::exit(0);
}
