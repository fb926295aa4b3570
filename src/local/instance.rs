//! A function instance: one process of the function, with a Runtime API of its own.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    CREDENTIALS, Endpoints, Instances, LocalError, Proxies, REGION, Settings, is_true,
    lambda::{FUNCTION, Invocation, Queue},
    log::{Copying, Log},
    url,
};

/// Lambda's limit on the answer of a function, in bytes.
const MAX_RESPONSE: usize = 6 * 1024 * 1024;
/// A function that exits this often in a row before it requests its first event is not started again.
const MAX_EXITS: u32 = 2;
/// A function that is killed this often in a row before it requests its first event is not started again. The kernel
/// kills it when memory is scarce. An operator or a test may kill it a few times by chance.
const MAX_KILLS: u32 = 20;
/// Number of the signal SIGKILL.
const SIGKILL: i32 = 9;

/// How instances of the function are started.
pub(super) struct Function {
    bootstrap: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    log: Log,
    timeout: Duration,
    instances: Instances,
}

impl Function {
    /// `instances` gets the process ids of the running instances; their output goes to `log`.
    pub(super) fn new(
        settings: &Settings,
        endpoints: Endpoints,
        instances: Instances,
        log: Log,
    ) -> Self {
        let Proxies { s3, dynamodb } = settings.proxies.unwrap_or(Proxies {
            s3: endpoints.s3,
            dynamodb: endpoints.dynamodb,
        });
        let mut environment = settings.config.to_env();
        environment.extend(settings.api.to_env());
        environment.extend([
            ("AWS_ACCESS_KEY_ID", CREDENTIALS.0.into()),
            ("AWS_SECRET_ACCESS_KEY", CREDENTIALS.1.into()),
            ("AWS_REGION", REGION.into()),
            ("AWS_ENDPOINT_URL_S3", url(s3).into()),
            ("AWS_ENDPOINT_URL_DYNAMODB", url(dynamodb).into()),
            ("AWS_LAMBDA_FUNCTION_NAME", FUNCTION.into()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
            (
                "AWS_LAMBDA_LOG_GROUP_NAME",
                format!("/aws/lambda/{FUNCTION}").into(),
            ),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "local".into()),
        ]);
        Self {
            bootstrap: settings.bootstrap.clone(),
            environment,
            log,
            timeout: settings.timeout,
            instances,
        }
    }

    /// Starts an instance with the environment that Lambda sets. Of our own environment it inherits only
    /// variables that help to find a fault.
    fn start(&self, runtime_api: String) -> io::Result<Child> {
        let inherited = [
            "PATH",
            "RUST_BACKTRACE",
            "RUST_LOG",
            "SSL_CERT_FILE",
            "TMPDIR",
        ];
        Command::new(&self.bootstrap)
            .env_clear()
            .envs(
                inherited
                    .into_iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in the terminal must reach this process only, which then ends the instances.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Why the function does not start: the last line of its log, or `reason`.
    fn failure(&self, reason: String) -> LocalError {
        let last = self.log.last_line();
        let line = last.as_deref().map(serde_json::from_str::<Value>);
        let said = match line {
            Some(Ok(line)) => line["reason"].as_str().map(ToOwned::to_owned),
            _ => None,
        };
        LocalError::Function {
            reason: said.or(last).unwrap_or(reason),
            log: self.log.path().to_owned(),
        }
    }
}

/// Error message of an invocation whose instance [`run`] stopped.
const SHUT_DOWN: &str = "the function instance was shut down";

/// Runs instances of the function, one after the other, until `stopped` is true.
pub(super) async fn run(
    function: Arc<Function>,
    queue: Queue,
    failed: mpsc::Sender<LocalError>,
    stopped: watch::Receiver<bool>,
) {
    let (mut exits, mut kills) = (0, 0);
    while !*stopped.borrow() {
        let instance = Instance::new(queue.clone(), function.timeout);
        let end = match instance.run(&function, &stopped).await {
            Ok(end) => end,
            Err(error) => End {
                reason: format!("cannot start {}: {error}", function.bootstrap.display()),
                is_killed: false,
            },
        };
        instance.close(&end.reason);
        match (instance.is_ready(), end.is_killed) {
            (true, _) => (exits, kills) = (0, 0),
            (false, true) => (exits, kills) = (0, kills + 1),
            (false, false) => (exits, kills) = (exits + 1, 0),
        }
        if exits == MAX_EXITS || kills == MAX_KILLS {
            // The channel is full if another instance has reported the same.
            let _ = failed.try_send(function.failure(end.reason));
            return;
        }
    }
}

/// How an instance ended.
struct End {
    reason: String,
    /// Whether SIGKILL ended it, from outside or by the kernel.
    is_killed: bool,
}

/// An instance, as its Runtime API sees it.
#[derive(Clone)]
struct Instance(Arc<Shared>);

struct Shared {
    queue: Queue,
    slot: Mutex<Slot>,
    ready: AtomicBool,
    deadline: watch::Sender<Option<Instant>>,
    timeout: Duration,
}

/// What the instance works on.
enum Slot {
    Idle,
    Busy(Invocation),
    /// The process has ended.
    Closed,
}

impl Instance {
    fn new(queue: Queue, timeout: Duration) -> Self {
        Self(Arc::new(Shared {
            queue,
            slot: Mutex::new(Slot::Idle),
            ready: AtomicBool::new(false),
            deadline: watch::Sender::new(None),
            timeout,
        }))
    }

    /// Starts the process and waits until it exits, its invocation times out, or the services stop. Returns
    /// how it ended.
    async fn run(&self, function: &Function, stopped: &watch::Receiver<bool>) -> io::Result<End> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut child = function.start(listener.local_addr()?.to_string())?;
        let mut copying = Copying::new();
        let unpiped = || io::Error::other("the output of the function is not piped");
        copying.add(&function.log, child.stdout.take().ok_or_else(unpiped)?);
        copying.add(&function.log, child.stderr.take().ok_or_else(unpiped)?);
        let serve = axum::serve(listener, self.clone().router());
        let serve = tokio::spawn(serve.into_future());
        let id = child.id();
        function.instances.lock().extend(id);
        let (reason, is_killed) = tokio::select! {
            status = child.wait() => {
                let status = status?;
                (format!("the runtime exited: {status}"), status.signal() == Some(SIGKILL))
            }
            () = self.timeout() => {
                child.kill().await?;
                (format!("task timed out after {} seconds", self.0.timeout.as_secs()), false)
            }
            () = is_true(stopped) => {
                child.kill().await?;
                (SHUT_DOWN.to_owned(), false)
            }
        };
        copying.finish().await;
        function
            .instances
            .lock()
            .retain(|&running| Some(running) != id);
        serve.abort();
        Ok(End { reason, is_killed })
    }

    /// Waits until an invocation exceeds its time limit.
    async fn timeout(&self) {
        let mut deadline = self.0.deadline.subscribe();
        loop {
            let until = *deadline.borrow_and_update();
            let passed = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                _ = deadline.changed() => {}
            }
        }
    }

    /// Answers the invocation on which the process worked with an error.
    fn close(&self, ended: &str) {
        if let Slot::Busy(invocation) = std::mem::replace(&mut *self.slot(), Slot::Closed) {
            let error = json!({"errorType": "Runtime.ExitError", "errorMessage": ended});
            // The invoker may have disconnected.
            let _ = invocation.reply.send(Err(error));
        }
    }

    fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn router(self) -> Router {
        Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .layer(DefaultBodyLimit::max(MAX_RESPONSE))
            .with_state(self)
    }

    /// Passes on the function's answer, if `id` is the request id of its invocation.
    fn answer(&self, id: &str, answer: Result<Bytes, Value>) -> Response {
        let mut slot = self.slot();
        match std::mem::replace(&mut *slot, Slot::Idle) {
            Slot::Busy(invocation) if invocation.request_id.to_string() == id => {
                self.0.deadline.send_replace(None);
                // The invoker may have disconnected.
                let _ = invocation.reply.send(answer);
                StatusCode::ACCEPTED.into_response()
            }
            other => {
                *slot = other;
                let error =
                    json!({"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"});
                (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
            }
        }
    }
}

async fn next(State(instance): State<Instance>) -> Response {
    instance.0.ready.store(true, Ordering::Relaxed);
    let Some(invocation) = instance.0.queue.next().await else {
        return std::future::pending().await; // closed: the process is about to end
    };
    let head = [
        (
            "lambda-runtime-aws-request-id",
            invocation.request_id.to_string(),
        ),
        (
            "lambda-runtime-deadline-ms",
            deadline_ms(instance.0.timeout).to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            format!("arn:aws:lambda:{REGION}:000000000000:function:{FUNCTION}"),
        ),
    ];
    let payload = invocation.payload.clone();
    let mut slot = instance.slot();
    if let Slot::Closed = *slot {
        instance.0.queue.put_back(invocation);
        return StatusCode::GONE.into_response();
    }
    *slot = Slot::Busy(invocation);
    drop(slot);
    instance
        .0
        .deadline
        .send_replace(Some(Instant::now() + instance.0.timeout));
    (head, payload).into_response()
}

async fn response(
    State(instance): State<Instance>,
    Path(id): Path<String>,
    answer: Bytes,
) -> Response {
    instance.answer(&id, Ok(answer))
}

async fn error(State(instance): State<Instance>, Path(id): Path<String>, body: Bytes) -> Response {
    let error =
        serde_json::from_slice(&body).unwrap_or_else(|_| json!({"errorMessage": "unknown"}));
    instance.answer(&id, Err(error))
}

/// The process exits after this call, and its log has the reason.
async fn init_error() -> StatusCode {
    StatusCode::ACCEPTED
}

#[expect(clippy::expect_used, reason = "a clock before 1970 gives no deadline")]
fn deadline_ms(timeout: Duration) -> u128 {
    let deadline = SystemTime::now() + timeout;
    deadline
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("the clock is after 1970")
        .as_millis()
}
