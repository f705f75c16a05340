//! Takes a body in: never more bytes than allowed, never slower than a minimum, never longer than a deadline.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout_at};

/// What a body may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most bytes.
    pub(super) size_bytes_max: usize,
    /// Fewest bytes per second, on average over each [`WINDOW`].
    pub(super) bytes_per_second_min: u64,
    /// When all of it must be there.
    pub(super) deadline: Instant,
}

/// Time over which the rate is measured.
pub(super) const WINDOW: Duration = Duration::from_secs(30);

/// A body was not taken in.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// Endless, or larger than a catalog may be.
    #[error("it sends more than {0} bytes")]
    TooLarge(usize),
    /// Slower than the minimum.
    #[error("it sent {bytes} bytes in {} seconds, at least {bytes_min} are expected", WINDOW.as_secs())]
    TooSlow {
        /// Bytes of the last window.
        bytes: u64,
        /// Bytes expected.
        bytes_min: u64,
    },
    /// Not complete in time.
    #[error("it was not complete in time")]
    Deadline,
    /// The connection broke.
    #[error("the transfer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Collects a body within its limits.
pub(super) async fn collect<E>(
    body: impl Stream<Item = Result<Bytes, E>>,
    limits: Limits,
) -> Result<Vec<u8>, BodyError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = std::pin::pin!(body);
    let bytes_min = limits.bytes_per_second_min * WINDOW.as_secs();
    let mut all = Vec::new();
    let mut window_end = Instant::now() + WINDOW;
    let mut window_bytes = 0_u64;
    loop {
        if Instant::now() >= limits.deadline {
            return Err(BodyError::Deadline);
        }
        match timeout_at(window_end.min(limits.deadline), body.next()).await {
            Ok(None) => return Ok(all),
            Ok(Some(Err(error))) => return Err(BodyError::Broken(error.into())),
            Ok(Some(Ok(chunk))) => {
                if all.len() + chunk.len() > limits.size_bytes_max {
                    return Err(BodyError::TooLarge(limits.size_bytes_max));
                }
                window_bytes += chunk.len() as u64;
                all.extend_from_slice(&chunk);
            }
            Err(_) => {}
        }
        if Instant::now() >= window_end {
            if window_bytes < bytes_min {
                return Err(BodyError::TooSlow {
                    bytes: window_bytes,
                    bytes_min,
                });
            }
            window_bytes = 0;
            window_end = Instant::now() + WINDOW;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    fn limits() -> Limits {
        Limits {
            size_bytes_max: 1_000_000,
            bytes_per_second_min: 100,
            deadline: Instant::now() + Duration::from_secs(600),
        }
    }

    /// Sends `bytes` bytes each second for ever, by the paused clock.
    fn dripping(bytes: usize) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold((), move |()| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(Bytes::from(vec![0; bytes])), ()))
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_one_byte_a_second_is_given_up() {
        let begun = Instant::now();
        let error = collect(dripping(1), limits()).await.unwrap_err();
        assert!(
            matches!(
                error,
                BodyError::TooSlow {
                    bytes_min: 3000,
                    ..
                }
            ),
            "{error}"
        );
        assert!(begun.elapsed() <= WINDOW * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_body_ends_at_its_size_and_at_its_deadline() {
        let endless = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[0; 4096])));
        let error = collect(endless, limits()).await.unwrap_err();
        assert!(matches!(error, BodyError::TooLarge(1_000_000)), "{error}");
        let error = collect(dripping(200), limits()).await.unwrap_err();
        assert!(matches!(error, BodyError::Deadline), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_slow_too() {
        let silent = stream::pending::<Result<Bytes, Infallible>>();
        let error = collect(silent, limits()).await.unwrap_err();
        assert!(
            matches!(error, BodyError::TooSlow { bytes: 0, .. }),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_complete_in_time_is_returned() {
        let body = stream::iter([b"one ".as_slice(), b"two"])
            .map(|part| Ok::<_, Infallible>(Bytes::from_static(part)));
        assert_eq!(collect(body, limits()).await.unwrap(), b"one two");
        let broken = stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
        assert!(matches!(
            collect(broken, limits()).await,
            Err(BodyError::Broken(_))
        ));
    }
}
