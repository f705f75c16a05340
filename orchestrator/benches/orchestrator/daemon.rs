//! The daemon's API over its socket, as every program on the node uses it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Failure;

/// Longest that a job may take.
const JOB_DEADLINE: Duration = Duration::from_secs(180);
/// How often a job is asked whether it has ended: the error of what is timed by it. Asking costs the daemon a processor's
/// time too.
const ASK_EVERY: Duration = Duration::from_millis(10);

fn socket() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(PathBuf::new, PathBuf::from);
    runtime.join("archy/archyd.sock")
}

/// Calls a method.
pub(crate) fn call(method: &str, params: &Value) -> Result<Value, Failure> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let mut stream = UnixStream::connect(socket())?;
    write!(
        stream,
        "POST /rpc/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("{method}: {text}").into());
    }
    // A long answer comes in chunks; JSON has no line breaks of its own here.
    let body: String = match head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        true => dechunked(body),
        false => body.to_owned(),
    };
    let mut answer: Value = serde_json::from_str(&body)?;
    match answer.get("error") {
        Some(error) => Err(format!("{method}: {error}").into()),
        None => Ok(answer["result"].take()),
    }
}

fn dechunked(body: &str) -> String {
    let mut lines = body.split("\r\n");
    let mut text = String::new();
    while let (Some(_size), Some(chunk)) = (lines.next(), lines.next()) {
        text.push_str(chunk);
    }
    text
}

/// Begins a job.
pub(crate) fn begin(method: &str, params: &Value) -> Result<String, Failure> {
    let job = call(method, params)?;
    let id = job["job"].as_str().ok_or("no job")?;
    Ok(id.to_owned())
}

/// Waits until a job has succeeded.
pub(crate) fn ends(job: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + JOB_DEADLINE;
    while Instant::now() < deadline {
        let found = call("job.show", &json!({ "job": job }))?;
        match found["state"].as_str() {
            Some("succeeded") => return Ok(()),
            Some("queued" | "running") => std::thread::sleep(ASK_EVERY),
            _ => return Err(format!("a job ended otherwise: {found}").into()),
        }
    }
    Err(format!("the job {job} does not end").into())
}

/// Does a job and waits for its success.
pub(crate) fn does(method: &str, params: &Value) -> Result<(), Failure> {
    ends(&begin(method, params)?)
}
