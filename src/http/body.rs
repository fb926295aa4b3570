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
const BODY_TIMEOUT: Duration = Duration::from_secs(300);
/// Time limit of every [`PROGRESS`] bytes. Together they are 35 kbit/s. A slower body would hold memory that others need.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes that must arrive within [`PROGRESS_TIMEOUT`].
const PROGRESS: usize = 64 << 10;
/// Highest capacity that a body gets by its `Content-Length`, in bytes, before it arrives. A larger body grows as it arrives.
const MAX_RESERVED: u64 = 1 << 20;
/// Bytes of a refused body that are read and dropped. A client reads the response only after it has sent the body.
const MAX_DRAIN: u64 = 64 << 20;

/// What a body holds, with its limit in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyKind {
    /// Photos. A client that cannot send them here can upload them.
    Photos(u64),
    /// JSON or CSV.
    Document(u64),
}

/// A complete body with its memory permits.
pub(super) struct ReceivedBody {
    pub(super) bytes: Bytes,
    /// Held until the body's photos are classified.
    pub(super) memory: BodyMemory,
}

impl Api {
    /// Reads `body` within the limits on its bytes, memory and time.
    pub(super) async fn receive(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        kind: BodyKind,
    ) -> Result<ReceivedBody, Problem> {
        let received = self.receive_within(headers, &mut body, kind).await;
        if received.is_err() {
            tokio::spawn(drain(body));
        }
        received
    }

    async fn receive_within(
        &self,
        headers: &HeaderMap,
        body: &mut Body,
        kind: BodyKind,
    ) -> Result<ReceivedBody, Problem> {
        let (BodyKind::Photos(limit) | BodyKind::Document(limit)) = kind;
        let limit = self.settings.max_body.map_or(limit, |max| limit.min(max));
        let declared = content_length(headers).unwrap_or(0);
        if declared > limit {
            return Err(self.over(kind, declared, limit));
        }
        if matches!(kind, BodyKind::Photos(_)) {
            // In a flood, photos that would find no permit are not even read.
            self.admission.check_room()?;
        }
        let mut memory = self.admission.body();
        let mut bytes = Vec::with_capacity(declared.min(MAX_RESERVED) as usize);
        let end = Instant::now() + BODY_TIMEOUT;
        let slow = || {
            let way_out = match kind {
                BodyKind::Photos(_) => UPLOAD,
                BodyKind::Document(_) => "send it again",
            };
            Problem::new(
                Kind::SlowBody,
                format!(
                    "the body arrives too slowly, with less than {PROGRESS} bytes in {} s or over {} s in all: {way_out}",
                    PROGRESS_TIMEOUT.as_secs(),
                    BODY_TIMEOUT.as_secs()
                ),
            )
        };
        // The length that the body must reach, and until when.
        let (mut goal, mut goal_end) = (PROGRESS, Instant::now() + PROGRESS_TIMEOUT);
        loop {
            if bytes.len() >= goal {
                (goal, goal_end) = (bytes.len() + PROGRESS, Instant::now() + PROGRESS_TIMEOUT);
            }
            let frame = timeout_at(end.min(goal_end), body.frame()).await;
            let Some(frame) = frame.map_err(|_| slow())? else {
                break;
            };
            let frame =
                frame.map_err(|_| Problem::malformed("the connection ended before the body"))?;
            // Other frames are trailers. No route uses them.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = bytes.len() + data.len();
            if length as u64 > limit {
                return Err(self.over(kind, length as u64, limit));
            }
            memory.grow_to(length)?;
            bytes.extend_from_slice(&data);
        }
        Ok(ReceivedBody {
            bytes: bytes.into(),
            memory,
        })
    }

    /// A body has `bytes` bytes or more, over `limit`. The bucket accepts photos up to MAX_IMAGE_BYTES, also on Lambda, whose
    /// limit is smaller.
    fn over(&self, kind: BodyKind, bytes: u64, limit: u64) -> Problem {
        let helps = limit < self.settings.max_photo || limit == MAX_BATCH_BYTES;
        let way_out = match kind {
            BodyKind::Photos(_) if helps => format!("{UPLOAD}, or send less"),
            BodyKind::Photos(_) => "send a smaller photo".to_owned(),
            BodyKind::Document(_) => "send less".to_owned(),
        };
        Problem::new(
            Kind::TooManyBytes,
            format!("the body has {bytes} bytes or more, over the limit of {limit}: {way_out}"),
        )
        .with("limit", limit)
    }
}

/// Reads the rest of a refused body and drops it. Otherwise the client sees the closed connection before the response.
async fn drain(mut body: Body) {
    let read = async {
        let mut left = MAX_DRAIN;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(length) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    // A client that takes longer may lose the response.
    let _ = timeout(PROGRESS_TIMEOUT, read).await;
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}
