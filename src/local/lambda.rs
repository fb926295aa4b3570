//! The embedded Lambda service: a queue of invocations, and the Invoke API.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, oneshot},
};
use uuid::Uuid;

/// Name of the function.
pub const FUNCTION: &str = "moth-classifier";
/// Attempts at an asynchronous invocation, as in Lambda: one and two retries.
const ATTEMPTS: usize = 3;
/// Lambda's limit on the payload of a synchronous invocation, in bytes.
const MAX_PAYLOAD: usize = 6 * 1024 * 1024;

/// The function's answer, or its error as Lambda reports it.
pub(super) type Answer = Result<Bytes, Value>;

/// An event that waits for a function instance.
pub(super) struct Invocation {
    pub(super) request_id: Uuid,
    pub(super) payload: Bytes,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// The invocations that wait for a function instance.
#[derive(Clone)]
pub(super) struct Queue {
    waiting: Arc<Mutex<mpsc::UnboundedReceiver<Invocation>>>,
    back: mpsc::WeakUnboundedSender<Invocation>,
}

impl Queue {
    /// Waits for the next invocation; `None` once Lambda is closed.
    pub(super) async fn next(&self) -> Option<Invocation> {
        self.waiting.lock().await.recv().await
    }

    /// Returns an invocation to an instance that died before it could accept it.
    pub(super) fn put_back(&self, invocation: Invocation) {
        if let Some(queue) = self.back.upgrade() {
            // Lambda is closing: the dropped reply tells the invoker.
            let _ = queue.send(invocation);
        }
    }
}

/// The Lambda service.
#[derive(Clone)]
pub struct Lambda {
    queue: Arc<std::sync::Mutex<Option<mpsc::UnboundedSender<Invocation>>>>,
}

impl Lambda {
    pub(super) fn new() -> (Self, Queue) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let back = sender.downgrade();
        let lambda = Self {
            queue: Arc::new(std::sync::Mutex::new(Some(sender))),
        };
        (
            lambda,
            Queue {
                waiting: Arc::new(Mutex::new(receiver)),
                back,
            },
        )
    }

    /// Invokes the function and waits for its answer; `None` if Lambda is closed first.
    async fn invoke(&self, request_id: Uuid, payload: Bytes) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        {
            let queue = self
                .queue
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            queue
                .as_ref()?
                .send(Invocation {
                    request_id,
                    payload,
                    reply,
                })
                .ok()?;
        }
        answer.await.ok()
    }

    /// Invokes the function as S3 does, with two retries after an error. Lambda waits one minute before the
    /// first retry and two before the second; this retries at once. `None` if Lambda is closed first.
    pub(super) async fn invoke_asynchronously(
        &self,
        payload: Bytes,
    ) -> Option<Result<Value, String>> {
        // The retries of one event share its request id.
        let request_id = Uuid::new_v4();
        let mut error = String::new();
        for _ in 0..ATTEMPTS {
            match self.invoke(request_id, payload.clone()).await? {
                Ok(answer) => {
                    return Some(
                        serde_json::from_slice(&answer).map_err(|error| error.to_string()),
                    );
                }
                Err(failure) => {
                    error = match failure["errorMessage"].as_str() {
                        Some(message) => message.to_owned(),
                        None => failure.to_string(),
                    };
                }
            }
        }
        Some(Err(error))
    }

    /// Closes the service for further invocations.
    pub(super) fn close(&self) {
        self.queue
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take();
    }
}

/// Serves the Invoke API until `stop` ends.
pub(super) async fn serve(
    listener: TcpListener,
    lambda: Lambda,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let router = Router::new()
        .route("/2015-03-31/functions/{name}/invocations", post(invoke))
        .layer(DefaultBodyLimit::max(MAX_PAYLOAD))
        .with_state(lambda);
    if let Err(error) = axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await
    {
        tracing::error!(%error, "the embedded Lambda stopped");
    }
}

/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
async fn invoke(
    State(lambda): State<Lambda>,
    Path(name): Path<String>,
    headers: HeaderMap,
    payload: Bytes,
) -> Response {
    // The name may be an ARN, and may end in a version or an alias.
    if !name.split(':').any(|part| part == FUNCTION) {
        let error = json!({"Type": "User", "Message": format!("Function not found: {name}")});
        let kind = [("x-amzn-errortype", "ResourceNotFoundException")];
        return (StatusCode::NOT_FOUND, kind, Json(error)).into_response();
    }
    if serde_json::from_slice::<Value>(&payload).is_err() {
        let error = json!({"Type": "User", "Message": "Could not parse request body into json"});
        let kind = [("x-amzn-errortype", "InvalidRequestContentException")];
        return (StatusCode::BAD_REQUEST, kind, Json(error)).into_response();
    }
    match headers
        .get("x-amz-invocation-type")
        .map(|kind| kind.as_bytes())
    {
        Some(b"Event") => {
            tokio::spawn(async move { lambda.invoke_asynchronously(payload).await });
            StatusCode::ACCEPTED.into_response()
        }
        Some(b"DryRun") => StatusCode::NO_CONTENT.into_response(),
        _ => {
            let version = ("x-amz-executed-version", "$LATEST");
            match lambda.invoke(Uuid::new_v4(), payload).await {
                Some(Ok(answer)) => ([version], answer).into_response(),
                Some(Err(error)) => (
                    [version, ("x-amz-function-error", "Unhandled")],
                    Json(error),
                )
                    .into_response(),
                None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }
    }
}
