//! `serve`: the router on a socket.
//!
//! A connection without a request in flight is closed after a while. At the limit of connections the one that has been idle
//! longest makes room for a new one, so that idle connections keep nobody out. If none is idle, new ones wait in the kernel's
//! queue. A request is in flight until its response is written, or its client has stopped reading.

mod connection;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use self::connection::{Connection, Connections};
use super::{Api, router};

/// Highest number of connections.
const MAX_CONNECTIONS: usize = 900;
/// Files that are no connections: logs, models, temporary files, and connections to tables and bucket.
const OTHER_FILES: usize = 100;
/// How long a server that stops still accepts connections: until load balancers have seen it.
const LAME_DUCK: Duration = Duration::from_secs(1);
/// How long requests in flight may take after that. Kubernetes and SageMaker kill a process after 30 s.
const GRACE: Duration = Duration::from_secs(25);
/// Pause before the next accept, if there are no more file descriptors, or no more connections are allowed.
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

    /// Serves until `stop` ends. Then requests in flight have 25 s to finish.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let connections = Arc::new(Connections::default());
        let router = router(Arc::clone(&self.api));
        let (close, closing) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let start = |stream, tasks: &mut JoinSet<()>| {
            let connection = Connection::new(Arc::clone(&connections));
            tasks.spawn(connection.serve(stream, router.clone(), closing.clone()));
        };
        let most = max_connections();
        let mut stop = pin!(stop);
        loop {
            let is_full = tasks.len() >= most;
            if is_full {
                connections.evict_one();
            }
            tokio::select! {
                () = &mut stop => break,
                // If none was idle, this waits until one is, or ends.
                () = sleep(ACCEPT_PAUSE), if is_full => {}
                stream = accept(&self.listener, &connections), if !is_full => start(stream, &mut tasks),
                Some(_) = tasks.join_next() => {}
            }
        }
        self.api.draining.start();
        let end = Instant::now() + LAME_DUCK;
        loop {
            tokio::select! {
                () = sleep_until(end) => break,
                stream = accept(&self.listener, &connections) => start(stream, &mut tasks),
                Some(_) = tasks.join_next() => {}
            }
        }
        // Those that the kernel has accepted already.
        while let Ok(Ok((stream, _))) = timeout(Duration::ZERO, self.listener.accept()).await {
            start(stream, &mut tasks);
        }
        drop(self.listener);
        // Connections that wait for another request end now, new ones after their first.
        close.send_replace(true);
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "requests were cut off: they took too long"
            );
        }
    }
}

/// Highest number of connections, within the files that this process may have.
fn max_connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let files = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    match files {
        // With few files, half of them.
        Some(files) => files
            .saturating_sub(OTHER_FILES)
            .max(files / 2)
            .clamp(1, MAX_CONNECTIONS),
        // It is unlimited.
        None => MAX_CONNECTIONS,
    }
}

/// Accepts a connection. An error is that of one connection, or there are no more files: then an idle one makes room.
async fn accept(listener: &TcpListener, connections: &Connections) -> TcpStream {
    let mut was_logged = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                if !was_logged {
                    tracing::warn!(%error, "cannot accept a connection");
                    was_logged = true;
                }
                connections.evict_one();
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
