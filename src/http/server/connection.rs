//! One connection, and the order in which connections make room.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{Request, Response},
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, interval, sleep_until},
};
use tower::ServiceExt;

use crate::http::rate::Peer;

/// Time limit of a request's headers, and of a connection that waits for the next request.
const HEADERS: Duration = Duration::from_secs(10);
/// Bytes of a request's headers.
const MAX_HEADERS: usize = 32 << 10;
/// Highest number of headers.
const MAX_HEADER_COUNT: usize = 64;
/// Time in which a client that reads a response takes a piece of it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a piece of a response.
const PIECE: usize = 64 << 10;
/// Time to send the rest of a response on a connection that makes room for another.
const FLUSH: Duration = Duration::from_secs(2);

/// The connections that wait for a request, the one that has waited longest first.
#[derive(Default)]
pub(super) struct Connections {
    idle: Mutex<BTreeMap<u64, Arc<Notify>>>,
    next: AtomicU64,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection that has waited longest.
    pub(super) fn evict_one(&self) {
        if let Some((_, evict)) = self.lock().pop_first() {
            evict.notify_one();
        }
    }
}

/// One connection.
pub(super) struct Connection {
    all: Arc<Connections>,
    evict: Arc<Notify>,
    /// Its key among those that wait.
    place: AtomicU64,
    /// Whether it had a request.
    was_used: AtomicBool,
    /// Whether a request is in flight.
    is_in_flight: AtomicBool,
    /// Whether a response is being written.
    is_responding: AtomicBool,
    /// Number of pieces of responses that the client took.
    pieces: AtomicU64,
}

impl Connection {
    /// A connection among `all`.
    pub(super) fn new(all: Arc<Connections>) -> Self {
        Self {
            all,
            evict: Arc::default(),
            place: AtomicU64::new(0),
            was_used: AtomicBool::new(false),
            is_in_flight: AtomicBool::new(false),
            is_responding: AtomicBool::new(false),
            pieces: AtomicU64::new(0),
        }
    }

    /// Serves requests until the client or the server ends the connection. Once `closing` is true, it ends after the request in
    /// flight.
    pub(super) async fn serve(
        self,
        stream: TcpStream,
        router: Router,
        mut closing: watch::Receiver<bool>,
    ) {
        // A small response must not wait for the acknowledgement of the one before. Failing is no harm.
        let _ = stream.set_nodelay(true);
        let peer = stream.peer_addr().ok().map(|address| Peer(address.ip()));
        let this = Arc::new(self);
        this.wait();
        let service = service_fn(|mut request: Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            let (in_flight, router) = (InFlight::start(&this), router.clone());
            async move {
                let response: Result<Response<Body>, Infallible> = router.oneshot(request).await;
                response.map(|response| response.map(|body| TrackedBody::new(body, in_flight)))
            }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(MAX_HEADERS)
            .max_headers(MAX_HEADER_COUNT);
        {
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let mut is_closing = false;
            let mut checks = interval(READ_TIMEOUT);
            let mut taken = None;
            let mut end = None;
            loop {
                tokio::select! {
                    // An error is the client's: it went away, or sent no HTTP.
                    _ = connection.as_mut() => break,
                    () = this.evict.notified() => {
                        if !this.was_used.load(Ordering::Relaxed) {
                            break;
                        }
                        // The last response may not be sent yet, and a request may have come meanwhile.
                        if !this.is_in_flight.load(Ordering::Relaxed) {
                            end = Some(Instant::now() + FLUSH);
                        }
                        connection.as_mut().graceful_shutdown();
                    }
                    () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => break,
                    _ = checks.tick() => {
                        let is_responding = this.is_responding.load(Ordering::Relaxed);
                        let pieces = is_responding.then(|| this.pieces.load(Ordering::Relaxed));
                        if is_responding && pieces == taken {
                            break;
                        }
                        taken = pieces;
                    }
                    _ = closing.wait_for(|closing| *closing), if !is_closing => {
                        is_closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
        // The last request ended with the connection.
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

/// A request in flight, until it is dropped: at the end of its response.
struct InFlight(Arc<Connection>);

impl InFlight {
    fn start(connection: &Arc<Connection>) -> Self {
        connection.was_used.store(true, Ordering::Relaxed);
        connection.is_in_flight.store(true, Ordering::Relaxed);
        connection.work();
        Self(Arc::clone(connection))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.is_responding.store(false, Ordering::Relaxed);
        self.0.is_in_flight.store(false, Ordering::Relaxed);
        self.0.wait();
    }
}

/// The body of a response, in pieces of up to [`PIECE`] bytes: so it ends when the client has taken nearly all of it, and not
/// when the rest waits in a buffer.
struct TrackedBody {
    body: Body,
    rest: Bytes,
    in_flight: InFlight,
}

impl TrackedBody {
    fn new(body: Body, in_flight: InFlight) -> Self {
        in_flight.0.is_responding.store(true, Ordering::Relaxed);
        Self {
            body,
            rest: Bytes::new(),
            in_flight,
        }
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.in_flight.0.pieces.fetch_add(1, Ordering::Relaxed);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        let upper = hint.upper().map(|upper| upper + rest);
        hint.set_lower(hint.lower() + rest);
        if let Some(upper) = upper {
            hint.set_upper(upper);
        }
        hint
    }
}
