//! Event streams, sockets and the server's end.

use std::os::unix::fs::PermissionsExt;

use archyd::api::types::Event;
use archyd::api::{self};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

use crate::backend::Bed;

/// Opens `/events` and reads up to its first comment, after which nothing is missed.
pub(crate) async fn listen(bed: &Bed, cookie: &str, csrf: &str) -> Lines<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(bed.address).await.unwrap();
    let head = format!(
        "GET /events HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nX-Archy-CSRF: {}\r\n\r\n",
        bed.address, cookie, csrf
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "HTTP/1.1 200 OK");
    until(&mut lines, ": connected").await;
    lines
}

/// Reads to the end of the stream.
pub(crate) async fn end(lines: &mut Lines<BufReader<TcpStream>>) {
    while lines
        .next_line()
        .await
        .is_ok_and(|line| line.is_some_and(|line| line != "0"))
    {}
}

async fn until(lines: &mut Lines<BufReader<TcpStream>>, wanted: &str) {
    loop {
        let line = lines
            .next_line()
            .await
            .unwrap()
            .expect("the stream goes on");
        if line == wanted {
            return;
        }
    }
}

#[tokio::test]
async fn events_arrive_until_the_session_ends() {
    let bed = Bed::start().await;
    let owner = bed.claim().await;
    let mut lines = listen(&bed, &owner.cookie, &owner.csrf).await;
    bed.api.hub.send(Event::Catalog);
    until(&mut lines, "event: catalog").await;
    until(&mut lines, r#"data: {"type":"catalog"}"#).await;
    bed.api.auth.sessions().end(owner.token()).await.unwrap();
    end(&mut lines).await;
}

#[tokio::test]
async fn who_cannot_keep_up_is_told_to_refetch() {
    let bed = Bed::start().await;
    let owner = bed.claim().await;
    let mut lines = listen(&bed, &owner.cookie, &owner.csrf).await;
    // One thread: nothing is sent on between these.
    for _ in 0..2000 {
        bed.api.hub.send(Event::Catalog);
    }
    until(&mut lines, "event: refetch").await;
}

#[tokio::test]
async fn streams_end_with_the_daemon() {
    let bed = Bed::start().await;
    let owner = bed.claim().await;
    let mut lines = listen(&bed, &owner.cookie, &owner.csrf).await;
    bed.stop.cancel();
    while lines.next_line().await.is_ok_and(|line| line.is_some()) {}
    bed.tasks.close();
    bed.tasks.wait().await;
}

#[tokio::test]
async fn the_socket_is_the_owners_and_only_one_daemon_has_it() {
    let bed = Bed::start().await;
    let path = bed.dir.path().join("run/archyd.sock");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert!(matches!(
        api::bind_unix(&path).await,
        Err(api::ServeError::InUse(_))
    ));
    bed.stop.cancel();
    bed.tasks.close();
    bed.tasks.wait().await;
    // What a dead daemon left is replaced.
    assert!(path.exists());
    api::bind_unix(&path).await.unwrap();
}

#[tokio::test]
async fn more_connections_than_allowed_wait_and_idle_ones_do_not_block_the_end() {
    let bed = Bed::start().await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(bed.address).await.unwrap());
    }
    drop(idle.pop());
    // One slot is free again.
    let answer = bed.send(crate::http::Request::get("/session")).await;
    assert_eq!(answer.status, 200);
    bed.stop.cancel();
    bed.tasks.close();
    bed.tasks.wait().await;
}
