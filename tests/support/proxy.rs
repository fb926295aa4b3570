//! A proxy between the function and a service, which injects faults.
//!
//! `benches/contention.rs` includes this file too.

#[path = "proxy/fault.rs"]
mod fault;
#[path = "proxy/plan.rs"]
mod plan;
#[path = "proxy/refusal.rs"]
mod refusal;
#[path = "proxy/request.rs"]
mod request;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

pub(crate) use fault::Fault;
use plan::Plan;
use request::Request;

/// Delay of a late answer: longer than the SDK waits for an attempt, which is 5 s.
const TOO_LATE: Duration = Duration::from_millis(5500);

/// A proxy that listens on loopback. Clones are handles of the same proxy.
#[derive(Clone)]
pub(crate) struct Proxy(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    service: OnceLock<SocketAddr>,
    plan: Mutex<Plan>,
    /// Number of calls, by operation.
    calls: Mutex<BTreeMap<String, usize>>,
    /// Number of injected faults, by operation and fault.
    faults: Mutex<BTreeMap<String, usize>>,
    /// Consumed write units, by table and index.
    capacity: Mutex<BTreeMap<String, f64>>,
    /// Kills the function's processes.
    kill: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Closed when the last handle of the proxy is dropped.
    _alive: mpsc::Sender<()>,
}

impl Proxy {
    /// Listens on a free port. [`connect`](Self::connect) names the service.
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (alive, mut gone) = mpsc::channel(1);
        let proxy = Self(Arc::new(Shared {
            address: listener.local_addr().unwrap(),
            service: OnceLock::new(),
            plan: Mutex::default(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            capacity: Mutex::default(),
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
                // A killed client breaks its connection, which is no failure of the test.
                tokio::spawn(async move { serve(client, &shared).await.ok() });
            }
        });
        proxy
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Forwards calls to `service`. `kill` kills the function's processes.
    pub(crate) fn connect(&self, service: SocketAddr, kill: impl Fn() + Send + Sync + 'static) {
        self.0.service.set(service).unwrap();
        assert!(self.0.kill.set(Box::new(kill)).is_ok());
    }

    /// Injects `fault` into the next `count` calls of `operation`.
    pub(crate) fn next(&self, operation: &str, fault: Fault, count: usize) {
        self.plan(|plan| plan.next(operation, fault, count));
    }

    /// From now on injects one of `faults` into one call in `calls`, chosen at random by `seed`.
    pub(crate) fn by_chance(&self, calls: u64, faults: &[Fault], seed: u64) {
        self.plan(|plan| plan.by_chance(calls, faults, seed));
    }

    /// From now on delays every call by `latency`.
    #[allow(dead_code, reason = "the benchmark calls it")]
    pub(crate) fn latency(&self, latency: Duration) {
        self.plan(|plan| plan.latency = latency);
    }

    /// From now on asks DynamoDB what each transaction consumes.
    #[allow(dead_code, reason = "the benchmark does not call it")]
    pub(crate) fn measure_capacity(&self) {
        self.plan(|plan| plan.measures_capacity = true);
    }

    /// Write units that the transactions consumed since the last call, by table, and by index with the table's name
    /// before it.
    #[allow(dead_code, reason = "the benchmark does not call it")]
    pub(crate) fn take_capacity(&self) -> BTreeMap<String, f64> {
        std::mem::take(&mut *self.0.capacity.lock().unwrap())
    }

    /// From now on answers a GetObject of `key` with `date` as its Last-Modified.
    pub(crate) fn last_modified(&self, key: &str, date: &str) {
        self.plan(|plan| plan.dates.insert(key.to_owned(), date.to_owned()));
    }

    /// From now on injects no faults.
    pub(crate) fn heal(&self) {
        self.plan(Plan::heal);
    }

    fn plan<T>(&self, change: impl FnOnce(&mut Plan) -> T) {
        change(&mut self.0.plan.lock().unwrap());
    }

    /// Number of calls, by operation.
    pub(crate) fn calls(&self) -> BTreeMap<String, usize> {
        self.0.calls.lock().unwrap().clone()
    }

    /// Number of injected faults, by operation and fault.
    pub(crate) fn faults(&self) -> BTreeMap<String, usize> {
        self.0.faults.lock().unwrap().clone()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.0.address)
    }
}

impl Shared {
    /// Draws the fault of a call, and counts both.
    fn draw(&self, operation: &str) -> Option<Fault> {
        let fault = self.plan.lock().unwrap().draw(operation);
        let count = |counts: &Mutex<BTreeMap<String, usize>>, name: String| {
            *counts.lock().unwrap().entry(name).or_default() += 1;
        };
        count(&self.calls, operation.to_owned());
        if let Some(fault) = fault {
            count(&self.faults, format!("{operation} {fault:?}"));
        }
        fault
    }

    /// Adds the capacity in the answer to a transaction.
    fn add_capacity(&self, body: &[u8]) {
        let answer: Value = serde_json::from_slice(body).unwrap();
        let mut capacity = self.capacity.lock().unwrap();
        for table in answer["ConsumedCapacity"].as_array().into_iter().flatten() {
            let name = table["TableName"].as_str().unwrap();
            let mut add = |name: &str, units: &Value| {
                *capacity.entry(name.to_owned()).or_default() +=
                    units["CapacityUnits"].as_f64().unwrap();
            };
            add(name, &table["Table"]);
            for (index, units) in table["GlobalSecondaryIndexes"]
                .as_object()
                .into_iter()
                .flatten()
            {
                add(&format!("{name}/{index}"), units);
            }
        }
    }

    fn kill(&self) {
        (self.kill.get().unwrap())();
    }
}

/// Serves one request of a connection, then closes it.
async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(mut request) = Request::read(&mut client).await? else {
        return Ok(());
    };
    let fault = shared.draw(&request.operation);
    match fault {
        Some(Fault::DropBefore) => return Ok(()),
        Some(Fault::KillBefore) => {
            shared.kill();
            return Ok(());
        }
        Some(fault) => {
            if let Some(answer) = refusal::refusal(fault, &request) {
                return client.write_all(&answer).await;
            }
        }
        None => {}
    }
    let (latency, date) = {
        let plan = shared.plan.lock().unwrap();
        (plan.latency, plan.date_of(&request))
    };
    tokio::time::sleep(latency / 2).await;
    let measures = shared.plan.lock().unwrap().measures_capacity;
    let measures = measures && request.operation == "TransactWriteItems";
    if measures {
        request.ask_for_capacity();
    }
    let mut answer = request.forward(*shared.service.get().unwrap()).await?;
    if measures {
        shared.add_capacity(&answer[request::body_start(&answer)..]);
    }
    tokio::time::sleep(latency / 2).await;
    if let Some(date) = date {
        request::replace_header(&mut answer, "last-modified", &date);
    }
    let body = request::body_start(&answer);
    let middle = body + (answer.len() - body) / 2;
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
