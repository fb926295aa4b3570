//! What stands on the wire between the function and a service, and breaks what it is told to break.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Past the timeout of an attempt, which is 5 s.
pub const TOO_LATE: Duration = Duration::from_millis(5500);

/// One way in which a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before the service saw the call.
    DropBefore,
    /// The service did its work; the connection breaks before it could answer.
    DropAfter,
    /// The answer comes when nobody waits for it any more.
    Delay,
    /// 500 InternalError.
    ServerError,
    /// 503 SlowDown.
    SlowDown,
    /// 400 ThrottlingException.
    Throttling,
    /// Another transaction has the item in its hands.
    Conflict,
    /// A read in bulk that had no capacity for any of its keys.
    Unprocessed,
    /// Half of the body comes.
    Truncate,
    /// A byte of the body is another.
    Corrupt,
    /// The function's processes are killed before the service saw the call.
    KillBefore,
    /// The service did its work; the function's processes are killed before they hear of it.
    KillAfter,
    /// The function's processes are killed once they have the answer.
    KillAnswered,
}

impl Fault {
    /// Those that leave the function alive.
    pub const WIRE: [Fault; 10] = [
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::Delay,
        Fault::ServerError,
        Fault::SlowDown,
        Fault::Throttling,
        Fault::Conflict,
        Fault::Unprocessed,
        Fault::Truncate,
        Fault::Corrupt,
    ];

    /// Those that kill it.
    pub const KILLS: [Fault; 3] = [Fault::KillBefore, Fault::KillAfter, Fault::KillAnswered];

    /// Whether a service can answer so.
    pub fn happens_to(self, operation: &str) -> bool {
        match self {
            Fault::Conflict => matches!(operation, "TransactWriteItems" | "PutItem"),
            Fault::Unprocessed => operation == "BatchGetItem",
            _ => true,
        }
    }
}

/// What is to go wrong.
#[derive(Default)]
struct Plan {
    /// The next `count` calls of an operation.
    next: Vec<(String, Fault, usize)>,
    /// One call in so many, by chance, goes wrong in one of these ways.
    chance: Option<(u64, Vec<Fault>)>,
    random: u64,
    /// Time on the way to the service and back.
    latency: Duration,
}

struct Shared {
    address: SocketAddr,
    service: OnceLock<SocketAddr>,
    plan: Mutex<Plan>,
    calls: Mutex<BTreeMap<String, usize>>,
    faults: Mutex<BTreeMap<String, usize>>,
    kill: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Closed when the last handle of the proxy is gone.
    _alive: mpsc::Sender<()>,
}

/// A proxy that listens on loopback.
#[derive(Clone)]
pub struct Proxy(Arc<Shared>);

impl Proxy {
    /// Listens; [`connect`](Self::connect) says in front of what.
    pub async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (alive, mut gone) = mpsc::channel(1);
        let proxy = Self(Arc::new(Shared {
            address: listener.local_addr().unwrap(),
            service: OnceLock::new(),
            plan: Mutex::default(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            kill: OnceLock::new(),
            _alive: alive,
        }));
        let weak = Arc::downgrade(&proxy.0);
        tokio::spawn(async move {
            loop {
                let client = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    _ = gone.recv() => return,
                };
                let Some(shared) = weak.upgrade() else { return };
                // A client that is killed breaks its connection: that is no fault of the proxy's.
                tokio::spawn(async move { serve(client, &shared).await.ok() });
            }
        });
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Passes calls on to `service`, and kills the function with `kill`.
    pub fn connect(&self, service: SocketAddr, kill: impl Fn() + Send + Sync + 'static) {
        self.0.service.set(service).unwrap();
        assert!(self.0.kill.set(Box::new(kill)).is_ok());
    }

    /// The next `count` calls of `operation` go wrong.
    pub fn next(&self, operation: &str, fault: Fault, count: usize) {
        let mut plan = self.0.plan.lock().unwrap();
        plan.next.push((operation.to_owned(), fault, count));
    }

    /// One call in `calls` goes wrong in one of the ways of `faults`, from now on, by `seed`.
    pub fn by_chance(&self, calls: u64, faults: &[Fault], seed: u64) {
        let mut plan = self.0.plan.lock().unwrap();
        plan.chance = Some((calls, faults.to_vec()));
        plan.random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }

    /// Every call takes this much longer.
    pub fn latency(&self, latency: Duration) {
        self.0.plan.lock().unwrap().latency = latency;
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        let mut plan = self.0.plan.lock().unwrap();
        plan.next.clear();
        plan.chance = None;
    }

    /// How often each operation was called.
    pub fn calls(&self) -> BTreeMap<String, usize> {
        self.0.calls.lock().unwrap().clone()
    }

    /// How often each fault happened.
    pub fn faults(&self) -> BTreeMap<String, usize> {
        self.0.faults.lock().unwrap().clone()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.0.address)
    }
}

impl Shared {
    /// What is to happen to a call of `operation`.
    fn draw(&self, operation: &str) -> (Option<Fault>, Duration) {
        let mut plan = self.plan.lock().unwrap();
        let next = plan
            .next
            .iter_mut()
            .find(|(of, _, left)| of == operation && *left > 0);
        let mut fault = next.map(|(_, fault, left)| {
            *left -= 1;
            *fault
        });
        if fault.is_none()
            && let Some((calls, faults)) = plan.chance.clone()
            && plan.random().is_multiple_of(calls)
        {
            let which = plan.random() as usize % faults.len();
            fault = Some(faults[which]).filter(|fault| fault.happens_to(operation));
        }
        (fault, plan.latency)
    }

    fn kill(&self) {
        (self.kill.get().unwrap())();
    }
}

impl Plan {
    /// xorshift64: <https://www.jstatsoft.org/article/view/v008i14>.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 16
    }
}

/// One request of one connection, which is closed after it.
async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(request) = Request::read(&mut client).await? else {
        return Ok(());
    };
    let operation = request.operation.as_str();
    let (fault, latency) = shared.draw(operation);
    *shared
        .calls
        .lock()
        .unwrap()
        .entry(operation.to_owned())
        .or_default() += 1;
    if let Some(fault) = fault {
        let name = format!("{operation} {fault:?}");
        *shared.faults.lock().unwrap().entry(name).or_default() += 1;
    }
    match fault {
        Some(Fault::DropBefore) => return Ok(()),
        Some(Fault::KillBefore) => {
            shared.kill();
            return Ok(());
        }
        Some(fault) => {
            if let Some(answer) = refusal(fault, &request) {
                return client.write_all(&answer).await;
            }
        }
        None => {}
    }
    tokio::time::sleep(latency / 2).await;
    let mut answer = request.forward(*shared.service.get().unwrap()).await?;
    tokio::time::sleep(latency / 2).await;
    let head = position(&answer, b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    let middle = head + (answer.len() - head) / 2;
    match fault {
        Some(Fault::DropAfter) => return Ok(()),
        Some(Fault::KillAfter) => {
            shared.kill();
            return Ok(());
        }
        Some(Fault::Delay) => tokio::time::sleep(TOO_LATE).await,
        Some(Fault::Truncate) => answer.truncate(middle),
        Some(Fault::Corrupt) if middle < answer.len() => answer[middle] ^= 0xff,
        _ => {}
    }
    client.write_all(&answer).await?;
    client.shutdown().await?;
    if fault == Some(Fault::KillAnswered) {
        shared.kill();
    }
    Ok(())
}

struct Request {
    /// As the API calls it: GetObject, BatchGetItem, …
    operation: String,
    is_s3: bool,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    async fn read(client: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = position(&bytes, b"\r\n\r\n") {
                break end;
            }
            if client.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        };
        let body = bytes.split_off(head + 4);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let header = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(": "));
            lines
                .find(|(header, _)| header.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        };
        let target = header("x-amz-target").and_then(|target| target.split_once('.'));
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        let operation = match target {
            Some((_, operation)) => operation.to_owned(),
            None if text.starts_with("GET ") => "GetObject".into(),
            None => text.split(' ').next().unwrap_or_default().to_owned(),
        };
        let mut request = Self {
            operation,
            is_s3: target.is_none(),
            head: bytes,
            body,
        };
        while request.body.len() < length {
            if client.read_buf(&mut request.body).await? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(request))
    }

    /// The service's whole answer.
    async fn forward(&self, service: SocketAddr) -> io::Result<Vec<u8>> {
        let mut upstream = TcpStream::connect(service).await?;
        let end = self.head.len() - 2;
        upstream.write_all(&self.head[..end]).await?;
        upstream.write_all(b"Connection: close\r\n\r\n").await?;
        upstream.write_all(&self.body).await?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// The answer of a service that refuses, as it spells it.
fn refusal(fault: Fault, request: &Request) -> Option<Vec<u8>> {
    let xml = |status: &str, code: &str| {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>injected</Message></Error>"
        );
        http(status, "application/xml", &body)
    };
    let json = |status: &str, code: &str, more: Value| {
        let mut body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "injected"});
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        http(status, "application/x-amz-json-1.0", &body.to_string())
    };
    let none = Value::Null;
    Some(match (fault, request.is_s3) {
        (Fault::ServerError, true) => xml("500 Internal Server Error", "InternalError"),
        (Fault::ServerError, false) => {
            json("500 Internal Server Error", "InternalServerError", none)
        }
        (Fault::SlowDown, true) => xml("503 Slow Down", "SlowDown"),
        (Fault::SlowDown, false) => json("503 Service Unavailable", "ServiceUnavailable", none),
        (Fault::Throttling, true) => xml("429 Too Many Requests", "ThrottlingException"),
        (Fault::Throttling, false) => json("400 Bad Request", "ThrottlingException", none),
        (Fault::Conflict, false) if request.operation == "TransactWriteItems" => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let items = body["TransactItems"].as_array().unwrap().len();
            let mut reasons = vec![json!({"Code": "None"}); items];
            reasons[items - 1] = json!({"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"});
            json(
                "400 Bad Request",
                "TransactionCanceledException",
                json!({"CancellationReasons": reasons}),
            )
        }
        (Fault::Unprocessed, false) => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let answer = json!({"Responses": {}, "UnprocessedKeys": body["RequestItems"]});
            http("200 OK", "application/x-amz-json-1.0", &answer.to_string())
        }
        (Fault::Conflict, false) => json("400 Bad Request", "TransactionConflictException", none),
        _ => return None,
    })
}

fn http(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn position(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}
