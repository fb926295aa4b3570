//! The HTTP server: accepts connections, prepares requests for s3s, and completes its responses.

mod auth;
mod form;
mod host;
mod range;
mod response;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::error::error_chain;
use crate::service::Service;
use crate::store::Store;
use crate::store::notification::Caller;
use auth::check_presigned;
use form::substitute_filename;
use host::LocalHost;
use range::RangeRoute;
use response::{RequestInfo, complete};

pub use auth::Credentials;

/// How long open requests may take after the shutdown began.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// Serves the store over HTTP, with path-style and virtual-hosted-style addresses, until `shutdown` resolves. Then
/// answers the open requests, for at most 5 seconds.
///
/// # Errors
///
/// The error of the listener.
pub async fn serve(
    listener: TcpListener,
    store: Store,
    credentials: Credentials,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = Router::new()
        .fallback(handle)
        .with_state(service(&store, credentials))
        .into_make_service_with_connect_info::<SocketAddr>();
    let (began, begun) = oneshot::channel();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        shutdown.await;
        // Fails only if the server has ended already.
        let _ = began.send(());
    });
    tokio::select! {
        result = async { server.await } => result,
        () = async {
            match begun.await {
                Ok(()) => tokio::time::sleep(GRACE_PERIOD).await,
                Err(_) => std::future::pending().await,
            }
        } => Ok(()),
    }
}

fn service(store: &Store, credentials: Credentials) -> S3Service {
    let builder = || {
        let mut builder = S3ServiceBuilder::new(Service::new(store.clone()));
        builder.set_host(LocalHost);
        builder
    };
    let mut authenticated = builder();
    authenticated.set_auth(credentials);
    authenticated.set_route(RangeRoute {
        unauthenticated: builder().build(),
    });
    authenticated.build()
}

/// Handles one request. Its failure is logged and answered `500 Internal Server Error`.
async fn handle(
    State(service): State<S3Service>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Result<Response, Infallible> {
    let request_id = request_id();
    request.extensions_mut().insert(Caller {
        address: peer.ip(),
        request_id: request_id.clone(),
    });
    let mut response = respond(&service, request).await.unwrap_or_else(|error| {
        tracing::error!(
            error = error_chain(error.as_ref()),
            "the embedded S3 could not respond"
        );
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    #[expect(
        clippy::expect_used,
        reason = "every hexadecimal digit is valid in a header"
    )]
    let request_id = HeaderValue::try_from(request_id).expect("request id is hexadecimal");
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-amz-request-id"), request_id);
    Ok(response)
}

/// 16 random upper-case hexadecimal digits, as S3 has them.
fn request_id() -> String {
    let mut id = Uuid::new_v4().simple().to_string().to_uppercase();
    id.truncate(16);
    id
}

async fn respond(
    service: &S3Service,
    request: Request,
) -> Result<Response, Box<dyn Error + Send + Sync>> {
    let info = RequestInfo::new(&request);
    let checked = match check_presigned(&request) {
        Ok(()) => substitute_filename(request).await,
        Err(refusal) => Err(refusal),
    };
    let response = match checked {
        Ok(request) => {
            let request = request.map(s3s::Body::http_body_unsync);
            service.call(request).await?
        }
        Err(refusal) => refusal.to_http_response()?,
    };
    Ok(complete(&info, response.map(Body::new)).await?)
}
