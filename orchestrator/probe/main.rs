//! `probe http PORT PATH SECONDS` or `probe tcp PORT SECONDS`: exits with 0 if the service on this host answers.
//! `probe exec COMMAND…` becomes that command.
//!
//! Bind-mounted into containers as their health command, so it depends on nothing in the image: no shell, no C library,
//! no name lookup, no writable path.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["http", port, path, seconds] => number(port)
            .and_then(|port| Ok((port, number(seconds)?)))
            .and_then(|(port, seconds)| http(port, path, seconds.into())),
        ["tcp", port, seconds] => number(port)
            .and_then(|port| Ok((port, number(seconds)?)))
            .and_then(|(port, seconds)| connect(port, seconds.into()).map(drop)),
        ["exec", program, ref arguments @ ..] => {
            let error = Command::new(program).args(arguments).exec();
            Err(format!("{program} does not start: {error}"))
        }
        _ => Err("usage: probe http PORT PATH SECONDS | probe tcp PORT SECONDS | probe exec COMMAND".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text} is not a number from 0 to 65535"))
}

fn connect(port: u16, seconds: u64) -> Result<TcpStream, String> {
    let mut failure = String::new();
    for address in ADDRESSES {
        let limit = Duration::from_secs(seconds.max(1));
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), limit) {
            Ok(stream) => {
                let _ = stream.set_read_timeout(Some(limit));
                let _ = stream.set_write_timeout(Some(limit));
                return Ok(stream);
            }
            Err(error) if failure.is_empty() => {
                failure = format!("nothing answers on port {port}: {error}");
            }
            Err(_) => {}
        }
    }
    Err(failure)
}

fn http(port: u16, path: &str, seconds: u64) -> Result<(), String> {
    let mut stream = connect(port, seconds)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: archy-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .map_err(|error| format!("port {port} took no request: {error}"))?;
    // "HTTP/1.1 200": the status is all that matters, so no more than this is read.
    let mut head = [0_u8; 12];
    stream
        .read_exact(&mut head)
        .map_err(|error| format!("port {port} gave no HTTP answer to GET {path}: {error}"))?;
    let status = std::str::from_utf8(&head)
        .ok()
        .filter(|head| head.starts_with("HTTP/1."))
        .and_then(|head| head.get(9..12))
        .and_then(|status| status.parse::<u16>().ok())
        .ok_or_else(|| format!("port {port} does not speak HTTP"))?;
    if (200..400).contains(&status) {
        Ok(())
    } else {
        Err(format!("GET {path} on port {port} answered {status}"))
    }
}
