//! `probe http PORT PATH SECONDS` or `probe tcp PORT SECONDS`: exits with 0 if the service on this host answers.
//! `probe exec COMMAND…`: becomes that command. `probe wait SECONDS …`: tries any of these until it succeeds or time is up,
//! which finds a service that has just started within milliseconds.
//!
//! Bind-mounted into containers as their health command, so it depends on nothing in the image: no shell, no C library,
//! no name lookup, no writable path.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Time between tries while waiting.
const PAUSE: Duration = Duration::from_millis(50);
const USAGE: &str =
    "usage: probe [wait SECONDS] (http PORT PATH SECONDS | tcp PORT SECONDS | exec COMMAND)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["wait", seconds, ref check @ ..] => {
            number(seconds).and_then(|seconds| wait(Duration::from_secs(seconds.into()), check))
        }
        ["exec", program, ref arguments @ ..] => {
            let error = Command::new(program).args(arguments).exec();
            Err(format!("{program} does not start: {error}"))
        }
        ref check => once(check),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn wait(limit: Duration, check: &[&str]) -> Result<(), String> {
    let began = Instant::now();
    loop {
        match once(check) {
            Ok(()) => return Ok(()),
            Err(message) if began.elapsed() + PAUSE >= limit => return Err(message),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn once(check: &[&str]) -> Result<(), String> {
    match *check {
        ["http", port, path, seconds] => http(number(port)?, path, number(seconds)?.into()),
        ["tcp", port, seconds] => connect(number(port)?, number(seconds)?.into()).map(drop),
        ["exec", program, ref arguments @ ..] => {
            let output = Command::new(program).args(arguments).output();
            let output = output.map_err(|error| format!("{program} does not start: {error}"))?;
            if output.status.success() {
                return Ok(());
            }
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let said = format!("{program}: {}: {}", output.status, said.trim());
            Err(said.trim_end_matches([':', ' ']).to_owned())
        }
        _ => Err(USAGE.to_owned()),
    }
}

fn number(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("{text} is not a number from 0 to 65535"))
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
