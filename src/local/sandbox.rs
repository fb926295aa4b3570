//! A sandbox: one process of the function, with a Runtime API of its own.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::{
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
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
    Between, CREDENTIALS, Endpoints, LocalError, Processes, REGION, Settings, is_true,
    lambda::{FUNCTION, Invocation, Queue},
    log::{Copying, Log},
    url,
};
use crate::config::MEMORY_OF_A_CPU;

/// Lambda's limit on the answer of a function.
const MAX_ANSWER: usize = 6 * 1024 * 1024;
/// A function that ended this often in a row before it asked for an event is not started again.
const MAX_STARTS: u32 = 2;

/// How the function's process is started.
pub(super) struct Function {
    bootstrap: PathBuf,
    environment: Vec<(&'static str, String)>,
    model_dir: PathBuf,
    log: Log,
    timeout: Duration,
    processes: Processes,
}

impl Function {
    /// `processes` is kept as the ids of those that run; what they write goes to `log`.
    pub(super) fn new(
        settings: &Settings,
        endpoints: Endpoints,
        processes: Processes,
        log: Log,
    ) -> Self {
        let config = &settings.config;
        let Between { s3, dynamodb } = settings.between.unwrap_or(Between {
            s3: endpoints.s3,
            dynamodb: endpoints.dynamodb,
        });
        let environment = vec![
            ("AWS_ACCESS_KEY_ID", CREDENTIALS.0.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", CREDENTIALS.1.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL_S3", url(s3)),
            ("AWS_ENDPOINT_URL_DYNAMODB", url(dynamodb)),
            ("AWS_LAMBDA_FUNCTION_NAME", FUNCTION.to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            (
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                (config.cpus as u64 * MEMORY_OF_A_CPU).to_string(),
            ),
            (
                "AWS_LAMBDA_LOG_GROUP_NAME",
                format!("/aws/lambda/{FUNCTION}"),
            ),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "local".to_owned()),
            ("PREDICTIONS_TABLE", config.predictions_table.clone()),
            ("LEDGER_TABLE", config.ledger_table.clone()),
            ("TIME_ZONE", config.time_zone.name().to_owned()),
            ("MAX_IMAGE_BYTES", config.limits.bytes.to_string()),
            ("MAX_IMAGE_PIXELS", config.limits.pixels.to_string()),
            ("MAX_CPU_ISA", config.isa.to_string()),
        ];
        Self {
            bootstrap: settings.bootstrap.clone(),
            environment,
            model_dir: config.model_dir.clone(),
            log,
            timeout: settings.timeout,
            processes,
        }
    }

    /// Starts the process with the environment that Lambda gives it, and no more of ours than what
    /// helps to find a fault.
    fn start(&self, runtime_api: String) -> io::Result<Child> {
        let ours = [
            "PATH",
            "RUST_BACKTRACE",
            "RUST_LOG",
            "SSL_CERT_FILE",
            "TMPDIR",
        ];
        Command::new(&self.bootstrap)
            .env_clear()
            .envs(
                ours.into_iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("MODEL_DIR", &self.model_dir)
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C is for us: we end the function ourselves.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

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

/// Error message of an invocation whose process was stopped by [`run`].
const SHUT_DOWN: &str = "the sandbox is shut down";

/// Runs processes of the function, one after the other, until `stopped` is true.
pub(super) async fn run(
    function: Arc<Function>,
    queue: Queue,
    failed: mpsc::Sender<LocalError>,
    stopped: watch::Receiver<bool>,
) {
    let mut starts = 0;
    while !*stopped.borrow() {
        let process = Process::new(queue.clone(), function.timeout);
        let ended = match process.run(&function, &stopped).await {
            Ok(ended) => ended,
            Err(error) => format!("cannot start {}: {error}", function.bootstrap.display()),
        };
        process.close(&ended);
        starts = if process.is_ready() { 0 } else { starts + 1 };
        if starts == MAX_STARTS {
            let _ = failed.try_send(function.failure(ended));
            return;
        }
    }
}

/// One process of the function, as its Runtime API sees it.
#[derive(Clone)]
struct Process(Arc<Shared>);

struct Shared {
    queue: Queue,
    slot: Mutex<Slot>,
    ready: AtomicBool,
    deadline: watch::Sender<Option<Instant>>,
    timeout: Duration,
}

/// What the process works on.
enum Slot {
    Idle,
    Busy(Invocation),
    /// The process is gone.
    Closed,
}

impl Process {
    fn new(queue: Queue, timeout: Duration) -> Self {
        Self(Arc::new(Shared {
            queue,
            slot: Mutex::new(Slot::Idle),
            ready: AtomicBool::new(false),
            deadline: watch::Sender::new(None),
            timeout,
        }))
    }

    /// Starts the process and waits for its end: of its own, by a timeout, or because the services stop.
    /// Says how it ended.
    async fn run(
        &self,
        function: &Function,
        stopped: &watch::Receiver<bool>,
    ) -> io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut child = function.start(listener.local_addr()?.to_string())?;
        let mut copying = Copying::new();
        let unpiped = || io::Error::other("the function's output is not piped");
        copying.add(&function.log, child.stdout.take().ok_or_else(unpiped)?);
        copying.add(&function.log, child.stderr.take().ok_or_else(unpiped)?);
        let serve = axum::serve(listener, self.clone().router());
        let serve = tokio::spawn(serve.into_future());
        let id = child.id();
        function.processes.lock().extend(id);
        let ended = tokio::select! {
            status = child.wait() => how_it_ended(status?),
            () = self.timeout() => {
                child.kill().await?;
                format!("task timed out after {} seconds", self.0.timeout.as_secs())
            }
            () = is_true(stopped) => {
                child.kill().await?;
                SHUT_DOWN.to_owned()
            }
        };
        copying.finish().await;
        function
            .processes
            .lock()
            .retain(|&process| Some(process) != id);
        serve.abort();
        Ok(ended)
    }

    /// Ends when the process has worked on one event for too long.
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

    /// Answers what the process had in its hands with an error.
    fn close(&self, ended: &str) {
        if let Slot::Busy(invocation) = std::mem::replace(&mut *self.slot(), Slot::Closed) {
            let error = json!({"errorType": "Runtime.ExitError", "errorMessage": ended});
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
            .layer(DefaultBodyLimit::max(MAX_ANSWER))
            .with_state(self)
    }

    /// Hands the function's answer on, where `id` is what it works on.
    fn answer(&self, id: &str, answer: Result<Bytes, Value>) -> Response {
        let mut slot = self.slot();
        match std::mem::replace(&mut *slot, Slot::Idle) {
            Slot::Busy(invocation) if invocation.request_id.to_string() == id => {
                self.0.deadline.send_replace(None);
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

async fn next(State(process): State<Process>) -> Response {
    process.0.ready.store(true, Ordering::Relaxed);
    let Some(invocation) = process.0.queue.next().await else {
        return std::future::pending().await; // closed: the process is about to be ended
    };
    let head = [
        (
            "lambda-runtime-aws-request-id",
            invocation.request_id.to_string(),
        ),
        (
            "lambda-runtime-deadline-ms",
            deadline_ms(process.0.timeout).to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            format!("arn:aws:lambda:{REGION}:000000000000:function:{FUNCTION}"),
        ),
    ];
    let payload = invocation.payload.clone();
    let mut slot = process.slot();
    if let Slot::Closed = *slot {
        process.0.queue.put_back(invocation);
        return StatusCode::GONE.into_response();
    }
    *slot = Slot::Busy(invocation);
    drop(slot);
    process
        .0
        .deadline
        .send_replace(Some(Instant::now() + process.0.timeout));
    (head, payload).into_response()
}

async fn response(
    State(process): State<Process>,
    Path(id): Path<String>,
    answer: Bytes,
) -> Response {
    process.answer(&id, Ok(answer))
}

async fn error(State(process): State<Process>, Path(id): Path<String>, body: Bytes) -> Response {
    let error =
        serde_json::from_slice(&body).unwrap_or_else(|_| json!({"errorMessage": "unknown"}));
    process.answer(&id, Err(error))
}

/// The process ends by itself after this, and its log has the reason.
async fn init_error() -> StatusCode {
    StatusCode::ACCEPTED
}

fn deadline_ms(timeout: Duration) -> u128 {
    let deadline = SystemTime::now() + timeout;
    deadline
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis()
}

fn how_it_ended(status: ExitStatus) -> String {
    format!("the runtime exited: {status}")
}
