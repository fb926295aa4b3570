//! The listener: HTTP connections in, S3 answers out.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use s3s::HttpError;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::answer::{Asked, complete};
use super::auth::{Credentials, check_presigned};
use super::form::substitute_filename;
use super::host::LocalHost;
use super::notification::Caller;
use super::range::RangeRoute;
use super::service::Service;
use super::store::Store;
use crate::error::{Source, chain};

/// How long requests under way may take after the shutdown began.
const GRACE: Duration = Duration::from_secs(5);

/// Serves the store over HTTP, path style and virtual-hosted style, until `shutdown` resolves and the requests under
/// way are answered.
///
/// # Errors
///
/// That the listener failed.
pub async fn serve(
    listener: TcpListener,
    store: Store,
    credentials: Credentials,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = Router::new()
        .fallback(answer)
        .with_state(service(&store, credentials))
        .into_make_service_with_connect_info::<SocketAddr>();
    let (began, begun) = oneshot::channel();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        shutdown.await;
        // Nobody waits only when the server is gone.
        let _ = began.send(());
    });
    tokio::select! {
        result = async { server.await } => result,
        () = async {
            match begun.await {
                Ok(()) => tokio::time::sleep(GRACE).await,
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

async fn answer(
    State(service): State<S3Service>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Result<Response, Infallible> {
    let mut request_id = Uuid::new_v4().simple().to_string().to_uppercase();
    request_id.truncate(16);
    let header = HeaderValue::from_str(&request_id);
    request.extensions_mut().insert(Caller {
        address: peer.ip(),
        request_id,
    });
    let asked = Asked::of(&request);
    let checked = match check_presigned(&request) {
        Ok(()) => substitute_filename(request).await,
        Err(refused) => Err(refused),
    };
    let answered = match checked {
        Ok(request) => service.call(request.map(s3s::Body::http_body_unsync)).await,
        Err(refused) => refused
            .to_http_response()
            .map_err(|error| HttpError::new(Box::new(error))),
    };
    let answered = match answered {
        Ok(response) => complete(asked, response.map(Body::new))
            .await
            .map_err(Into::into),
        Err(error) => Err(Source::from(error)),
    };
    let mut response = answered.unwrap_or_else(|error| {
        tracing::error!(
            error = chain(error.as_ref()),
            "the embedded S3 could not answer"
        );
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    if let Ok(header) = header {
        response
            .headers_mut()
            .insert(HeaderName::from_static("x-amz-request-id"), header);
    }
    Ok(response)
}
