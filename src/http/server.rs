//! `serve`: the router on a socket.
//!
//! A connection without a request in flight is closed after a while. At the limit of connections the one that has been idle
//! longest makes room for a new one, so that idle connections keep nobody out.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::ServiceExt;

use super::{Api, rate::Peer, router};

/// Time limit of a request's headers, and of a connection that waits for the next request.
const HEADERS: Duration = Duration::from_secs(10);
/// Bytes of a request's headers.
const MAX_HEADERS: usize = 32 << 10;
/// Highest number of headers.
const MAX_HEADER_COUNT: usize = 64;
/// Highest number of connections. Many systems let a process have 1,024 files.
const MAX_CONNECTIONS: usize = 900;
/// How long a server that stops still accepts connections: until load balancers have seen it.
const LAME_DUCK: Duration = Duration::from_secs(1);
/// How long requests in flight may take after that. Kubernetes and SageMaker kill a process after 30 s.
const GRACE: Duration = Duration::from_secs(25);
/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    api: Arc<Api>,
}

/// The server cannot listen: the address is in use or not permitted.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: choose another with --host and --port")]
pub struct ListenError {
    address: String,
    source: io::Error,
}

impl From<ListenError> for io::Error {
    fn from(error: ListenError) -> Self {
        error.source
    }
}

impl Server {
    /// Listens on `port` of `host`; 0 means any free port.
    ///
    /// # Errors
    ///
    /// If the address cannot be used.
    pub async fn bind(host: &str, port: u16, api: Arc<Api>) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            address: format!("{host}:{port}"),
            source,
        };
        let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            api,
        })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` ends. Then requests in flight have [`GRACE`] to finish.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let connections = Arc::new(Connections::default());
        let router = router(Arc::clone(&self.api));
        let (close, closing) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let start = |stream, tasks: &mut JoinSet<()>| {
            let connection = Connection {
                all: Arc::clone(&connections),
                evict: Arc::default(),
                place: AtomicU64::new(0),
            };
            tasks.spawn(connection.serve(stream, router.clone(), closing.clone()));
        };
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                stream = accept(&self.listener) => {
                    if tasks.len() >= MAX_CONNECTIONS {
                        connections.evict_one();
                    }
                    start(stream, &mut tasks);
                }
                Some(_) = tasks.join_next() => {}
            }
        }
        self.api.draining.start();
        let end = Instant::now() + LAME_DUCK;
        loop {
            tokio::select! {
                () = sleep_until(end) => break,
                stream = accept(&self.listener) => start(stream, &mut tasks),
                Some(_) = tasks.join_next() => {}
            }
        }
        // Those that the kernel has accepted already.
        while let Ok(Ok((stream, _))) = timeout(Duration::ZERO, self.listener.accept()).await {
            start(stream, &mut tasks);
        }
        drop(self.listener);
        close.send_replace(true);
        connections.evict_all();
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "requests were cut off: they took too long"
            );
        }
    }
}

/// Accepts a connection. An error is that of one connection, or passes, so this goes on.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connections that wait for a request, the one that has waited longest first.
#[derive(Default)]
struct Connections {
    idle: Mutex<BTreeMap<u64, Arc<Notify>>>,
    next: AtomicU64,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection that has waited longest.
    fn evict_one(&self) {
        if let Some((_, evict)) = self.lock().pop_first() {
            evict.notify_one();
        }
    }

    /// Closes all that wait.
    fn evict_all(&self) {
        for evict in std::mem::take(&mut *self.lock()).into_values() {
            evict.notify_one();
        }
    }
}

/// One connection.
struct Connection {
    all: Arc<Connections>,
    evict: Arc<Notify>,
    /// Its key among those that wait.
    place: AtomicU64,
}

impl Connection {
    async fn serve(self, stream: TcpStream, router: Router, mut closing: watch::Receiver<bool>) {
        // A small response must not wait for the acknowledgement of the one before. Failing is no harm.
        let _ = stream.set_nodelay(true);
        let peer = stream.peer_addr().ok().map(|address| Peer(address.ip()));
        let this = Arc::new(self);
        this.wait();
        let service = service_fn(|mut request: Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            let (this, router) = (Arc::clone(&this), router.clone());
            async move {
                this.work();
                let response: Result<Response<Body>, Infallible> = router.oneshot(request).await;
                this.wait();
                response
            }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(MAX_HEADERS)
            .max_headers(MAX_HEADER_COUNT);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut is_closing = false;
        loop {
            tokio::select! {
                // An error is the client's: it went away, or sent no HTTP.
                _ = connection.as_mut() => break,
                () = this.evict.notified() => break,
                _ = closing.wait_for(|closing| *closing), if !is_closing => {
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
        this.work();
    }

    /// It waits for a request, and may be closed.
    fn wait(&self) {
        let place = self.all.next.fetch_add(1, Ordering::Relaxed);
        self.place.store(place, Ordering::Relaxed);
        self.all.lock().insert(place, Arc::clone(&self.evict));
    }

    /// It has a request, and may not be closed.
    fn work(&self) {
        let place = self.place.load(Ordering::Relaxed);
        self.all.lock().remove(&place);
    }
}
