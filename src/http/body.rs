//! Receives the body of a request: bounded in size and time.
//!
//! Not here: what is in it, and who may have how many bytes in flight.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use futures::StreamExt as _;

/// Why a body was not received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BodyError {
    /// It has more bytes than allowed.
    #[error("body has more than {limit} bytes, the limit of {flag}")]
    TooLarge {
        /// Most bytes.
        limit: usize,
        /// The flag that sets the limit.
        flag: &'static str,
    },
    /// It did not come in time.
    #[error("body was not received within {wait:?}, the limit of --http-read-timeout")]
    Timeout {
        /// Longest wait.
        wait: Duration,
    },
    /// The connection broke.
    #[error("body could not be received: {reason}")]
    Broken {
        /// What it said.
        reason: String,
    },
}

/// How large a body may be, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Most bytes.
    pub(crate) bytes_max: usize,
    /// The flag that sets them.
    pub(crate) flag: &'static str,
    /// Longest time.
    pub(crate) wait: Duration,
}

/// Receives a body. `grow` is told the size of each part before it is kept, and may refuse it.
///
/// # Errors
/// [`BodyError`], or what `grow` says.
pub(crate) async fn receive<E: From<BodyError>>(
    body: Body,
    limits: BodyLimits,
    grow: impl FnMut(usize) -> Result<(), E>,
) -> Result<Bytes, E> {
    let received = collect(body, limits, grow);
    match tokio::time::timeout(limits.wait, received).await {
        Ok(received) => received,
        Err(_) => Err(BodyError::Timeout { wait: limits.wait }.into()),
    }
}

/// Gathers the frames of a body; one frame stays where it is.
async fn collect<E: From<BodyError>>(
    body: Body,
    limits: BodyLimits,
    mut grow: impl FnMut(usize) -> Result<(), E>,
) -> Result<Bytes, E> {
    let declared_bytes = body.size_hint().exact().unwrap_or(0);
    let expected_bytes = usize::try_from(declared_bytes).unwrap_or(usize::MAX).min(limits.bytes_max);
    let mut frames = body.into_data_stream();
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| BodyError::Broken { reason: error.to_string() })?;
        if first.len().max(rest.len()) + frame.len() > limits.bytes_max {
            return Err(BodyError::TooLarge { limit: limits.bytes_max, flag: limits.flag }.into());
        }
        grow(frame.len())?;
        if first.is_empty() && rest.is_empty() {
            first = frame;
        } else {
            if rest.is_empty() {
                // What is declared is only taken as it is written; a body that grew would be copied again and again.
                rest.reserve_exact(expected_bytes.max(4 * first.len()));
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&frame);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { bytes_max: 10, flag: "--limit", wait: Duration::from_secs(60) };

    fn frames(frames: &[&'static str]) -> Body {
        let frames: Vec<Result<Bytes, std::io::Error>> =
            frames.iter().map(|frame| Ok(Bytes::from_static(frame.as_bytes()))).collect();
        Body::from_stream(stream::iter(frames))
    }

    #[tokio::test]
    async fn frames_are_put_together_up_to_the_limit() {
        for (given, expected) in [
            (&[][..], Ok("")),
            (&["abc"], Ok("abc")),
            (&["abc", "def", "ghij"], Ok("abcdefghij")),
            (&["abc", "def", "ghijk"], Err(())),
            (&["abcdefghijk"], Err(())),
        ] {
            let received = receive::<BodyError>(frames(given), LIMITS, |_| Ok(())).await;
            let too_large = BodyError::TooLarge { limit: 10, flag: "--limit" };
            assert_eq!(received, expected.map(Bytes::from).map_err(|()| too_large), "{given:?}");
        }
    }

    #[tokio::test]
    async fn who_reserves_is_asked_for_every_part_and_may_refuse() {
        let mut asked = Vec::new();
        let refused = receive::<BodyError>(frames(&["abc", "d", "ef"]), LIMITS, |bytes| {
            asked.push(bytes);
            if asked.len() < 2 { Ok(()) } else { Err(BodyError::Broken { reason: "full".to_owned() }) }
        });
        assert_eq!(refused.await, Err(BodyError::Broken { reason: "full".to_owned() }));
        assert_eq!(asked, [3, 1]);
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_given_up() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let limits = BodyLimits { wait: Duration::ZERO, ..LIMITS };
        let given_up = receive::<BodyError>(body, limits, |_| Ok(())).await;
        assert_eq!(given_up, Err(BodyError::Timeout { wait: Duration::ZERO }));
    }
}
