//! Talking to an app's interfaces from outside its node.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::shelf::Greeting;
use crate::http;

/// Longest that an interface may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Opens a page as a browser does. One that asks for a password is there, too.
///
/// # Errors
///
/// When it does not answer, or with anything else than a page, a redirection or the question for a password.
pub async fn page(url: &str) -> anyhow::Result<()> {
    let status = answered(url).await?;
    ensure!(
        (200..400).contains(&status) || status == 401,
        "{url} answered {status}"
    );
    Ok(())
}

/// Asks for an answer in HTTP, whichever it is.
///
/// # Errors
///
/// When what answers is not HTTP.
pub async fn answered(url: &str) -> anyhow::Result<u16> {
    timeout(ANSWER_DEADLINE, http::status(url))
        .await
        .with_context(|| {
            format!(
                "{url} did not answer within {} s",
                ANSWER_DEADLINE.as_secs()
            )
        })?
}

/// Sends the greeting and reads how the answer begins.
///
/// # Errors
///
/// When the answer is another one, or none.
pub async fn greet(address: &str, greeting: &Greeting) -> anyhow::Result<()> {
    let (send, expected) = (bytes(&greeting.send)?, bytes(&greeting.answer)?);
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&send).await?;
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(ANSWER_DEADLINE, talk)
        .await
        .with_context(|| format!("{address} said nothing to a greeting"))?
        .with_context(|| format!("greeting {address}"))?;
    ensure!(
        answer == expected,
        "{address} answered a greeting with {answer:02x?}, not {expected:02x?}"
    );
    Ok(())
}

/// Tells whether something takes connections.
pub async fn listens(address: &str) -> bool {
    let connected = timeout(ANSWER_DEADLINE, TcpStream::connect(address)).await;
    connected.is_ok_and(|connected| connected.is_ok())
}

/// Reads bytes in hexadecimal, or the characters after `text:`.
///
/// # Errors
///
/// When they are neither.
pub fn bytes(written: &str) -> anyhow::Result<Vec<u8>> {
    if let Some(text) = written.strip_prefix("text:") {
        return Ok(text.as_bytes().to_vec());
    }
    let hex = written;
    ensure!(
        hex.len().is_multiple_of(2) && hex.is_ascii(),
        "{hex} is not hexadecimal"
    );
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).with_context(|| hex.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn server(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut question = [0; 1024];
                let _ = stream.read(&mut question).await;
                let _ = stream.write_all(answer).await;
                // Closed before everything is read, a connection would be reset and the answer lost.
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn a_page_is_there_when_it_is_shown_moved_or_locked() {
        for (answer, is_there) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], true),
            (b"HTTP/1.1 302 Found\r\n\r\n", true),
            (b"HTTP/1.1 401 Unauthorized\r\n\r\n", true),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", false),
            (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", false),
            (b"SSH-2.0\r\n", false),
        ] {
            let url = format!("http://{}/", server(answer).await);
            assert_eq!(page(&url).await.is_ok(), is_there, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_greeting_wants_its_own_answer() {
        let greeting = Greeting {
            port: 1,
            send: "00ff".to_owned(),
            answer: "4e".to_owned(),
        };
        greet(&server(b"Nothing").await, &greeting).await.unwrap();
        greet(&server(b"Something").await, &greeting)
            .await
            .unwrap_err();
        greet(&server(b"").await, &greeting).await.unwrap_err();
    }

    #[test]
    fn bytes_are_pairs_of_digits_or_a_text() {
        assert_eq!(bytes("text:00 f").unwrap(), b"00 f");
        assert_eq!(bytes("00ff20").unwrap(), [0, 255, 32]);
        for wrong in ["0", "zz", "é1"] {
            bytes(wrong).unwrap_err();
        }
    }
}
