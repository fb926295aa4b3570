//! Reads request bodies, within limits on bytes, memory and time.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Api,
    admission::BodyMemory,
    classification::UPLOAD,
    classify::MAX_BATCH_BYTES,
    problem::{Kind, Problem},
};

/// Time limit of a body: 50 MiB at 1.4 Mbit/s, or a photo of 4 MB at 107 kbit/s.
const WHOLE: Duration = Duration::from_secs(300);
/// Time limit of the next [`LEAST`] bytes.
const NEXT: Duration = Duration::from_secs(15);
/// Bytes that arrive in that time at 35 kbit/s. Slower bodies would hold memory that others need.
const LEAST: usize = 64 << 10;
/// Bytes of a refused body that are still read, so that its sender sees the response: it reads it after it has sent all.
const DRAINED: u64 = 64 << 20;

/// A body, complete, with its share of the memory.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    /// Held until the body's photos are classified.
    pub(super) memory: BodyMemory,
}

impl Api {
    /// Reads `body`, which may have `limit` bytes.
    pub(super) async fn receive(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        limit: u64,
    ) -> Result<Received, Problem> {
        let limit = self.settings.max_body.map_or(limit, |max| limit.min(max));
        let received = self.receive_within(headers, &mut body, limit).await;
        if received.is_err() {
            tokio::spawn(drain(body));
        }
        received
    }

    async fn receive_within(
        &self,
        headers: &HeaderMap,
        body: &mut Body,
        limit: u64,
    ) -> Result<Received, Problem> {
        if let Some(length) = content_length(headers)
            && length > limit
        {
            return Err(self.over(length, limit));
        }
        let mut memory = self.admission.body();
        let mut bytes = Vec::new();
        let end = Instant::now() + WHOLE;
        let slow = || {
            Problem::new(
                Kind::SlowBody,
                format!(
                    "less than {LEAST} bytes came in {} seconds, or the body took over {}: {UPLOAD}, where a cut connection does no harm",
                    NEXT.as_secs(),
                    WHOLE.as_secs()
                ),
            )
        };
        let mut next = (Instant::now() + NEXT, LEAST);
        loop {
            if bytes.len() >= next.1 {
                next = (Instant::now() + NEXT, bytes.len() + LEAST);
            }
            let frame = timeout_at(end.min(next.0), body.frame()).await;
            let Some(frame) = frame.map_err(|_| slow())? else {
                break;
            };
            let frame =
                frame.map_err(|_| Problem::malformed("the connection ended before the body"))?;
            // Trailers say nothing that is needed.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = bytes.len() + data.len();
            if length as u64 > limit {
                return Err(self.over(length as u64, limit));
            }
            memory.grow_to(length)?;
            bytes.extend_from_slice(&data);
        }
        Ok(Received {
            bytes: bytes.into(),
            memory,
        })
    }
}

impl Api {
    /// A body is over `limit`. The bucket accepts what this door does not, up to the limit of photos.
    fn over(&self, bytes: u64, limit: u64) -> Problem {
        let way_out = match limit < self.settings.max_photo || limit == MAX_BATCH_BYTES {
            true => format!("{UPLOAD}, or send less"),
            false => "send a smaller photo".to_owned(),
        };
        Problem::new(
            Kind::TooManyBytes,
            format!(
                "the body has {bytes} bytes or more, over the limit of {limit} here: {way_out}"
            ),
        )
        .with("limit", limit)
    }
}

/// Reads the rest of a refused body and drops it. Otherwise the closed connection would reach the sender before the response.
async fn drain(mut body: Body) {
    let read = async {
        let mut left = DRAINED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(length) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    // Whoever takes longer loses the response.
    let _ = timeout(NEXT, read).await;
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}
