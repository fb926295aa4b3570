//! Tells who sent a request, and refuses those whose role is too small.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    Api,
    access::{ApiKeys, Principal, Role},
    problem::{Kind, Problem},
    rate::{Counted, Peer},
};

/// Who gets in without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anonymous {
    /// Nobody.
    Nobody,
    /// Everybody, as this principal.
    Everybody(Principal),
    /// Whoever uses this machine, as this principal. Requests must name a loopback host, so that a web page that points its
    /// own name at 127.0.0.1 is refused.
    ThisMachine(Principal),
}

/// Who may use the API.
#[derive(Debug, Clone)]
pub struct Access {
    /// The API keys.
    pub keys: ApiKeys,
    /// Who gets in without one.
    pub anonymous: Anonymous,
}

/// Who sent a request, as its door has checked: API Gateway's authorizer.
#[derive(Debug, Clone)]
pub(super) enum Vouched {
    /// This principal.
    As(Principal),
    /// Somebody who is in no group.
    WithoutRole,
}

/// Who sent the request, as far as it can be told.
#[derive(Debug, Clone)]
enum Caller {
    Known(Principal),
    /// Somebody who is in no group.
    WithoutRole,
    /// There are no credentials.
    Anonymous,
    /// The credentials are wrong; the text says how.
    Refused(&'static str),
}

/// Middleware: adds the [`Principal`] to the request.
pub(super) async fn identify(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match request.extensions_mut().remove::<Vouched>() {
        Some(Vouched::As(principal)) => Caller::Known(principal),
        Some(Vouched::WithoutRole) => Caller::WithoutRole,
        None => caller(&api.access, request.headers(), request.uri()),
    };
    if is_forged(&caller, request.method(), request.headers()) {
        return Problem::new(
            Kind::Forbidden,
            "the request comes from a page of another site: open the page of this server",
        )
        .into_response();
    }
    if let Err(problem) = count(&api, &caller, &request) {
        return problem.into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Counts the request. Probes and pages are free.
fn count(api: &Api, caller: &Caller, request: &Request) -> Result<(), Problem> {
    let (Some(rates), Caller::Known(principal)) = (&api.rates, caller) else {
        return Ok(());
    };
    if request
        .extensions()
        .get::<MatchedPath>()
        .is_none_or(|path| !is_api(path.as_str()))
    {
        return Ok(());
    }
    let counted = match has_credentials(request.headers()) {
        true => Counted::Name(principal.name.to_string()),
        false => Counted::Address(
            request
                .extensions()
                .get::<Peer>()
                .map(|Peer(address)| *address),
        ),
    };
    rates.count(&counted)
}

/// Whether this is a route that needs a role.
fn is_api(path: &str) -> bool {
    let aliases = [
        "/classify",
        "/batch-classify",
        "/invocations",
        "/endpoints/",
    ];
    path.starts_with("/v1/") || aliases.iter().any(|alias| path.starts_with(alias))
}

fn caller(access: &Access, headers: &HeaderMap, uri: &Uri) -> Caller {
    let values = headers.get_all(header::AUTHORIZATION).iter();
    // AWS's clients sign every request. Only AWS can check that, so here it says nothing.
    let mut values = values.filter(|value| !value.as_bytes().starts_with(AWS_SIGNATURE));
    match (values.next(), values.next()) {
        (None, _) => match &access.anonymous {
            Anonymous::Nobody => Caller::Anonymous,
            Anonymous::Everybody(principal) => Caller::Known(principal.clone()),
            Anonymous::ThisMachine(_) if is_forwarded(headers) => Caller::Refused(
                "a proxy passes requests of others on: start the server with API_KEYS, or with --open",
            ),
            Anonymous::ThisMachine(principal) => match names_loopback(headers, uri) {
                true => Caller::Known(principal.clone()),
                false => Caller::Refused(
                    "the header Host names no loopback address: use http://127.0.0.1, or start the server with API_KEYS",
                ),
            },
        },
        (Some(value), None) => {
            let key = value.to_str().ok().and_then(bearer);
            match key.and_then(|key| access.keys.find(key)) {
                Some(principal) => Caller::Known(principal.clone()),
                None => Caller::Refused("the API key is unknown, or it was revoked"),
            }
        }
        (Some(_), Some(_)) => Caller::Refused("there are two Authorization headers: send one"),
    }
}

/// Whether there are credentials that this server or its door checks.
fn has_credentials(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    values.any(|value| !value.as_bytes().starts_with(AWS_SIGNATURE))
}

/// Beginning of an Authorization header that signs the request for AWS.
const AWS_SIGNATURE: &[u8] = b"AWS4-HMAC-SHA256 ";

/// The token of `Bearer TOKEN`. The scheme may have any case: RFC 9110, section 11.1.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

/// Whether a proxy says that the request is somebody else's.
fn is_forwarded(headers: &HeaderMap) -> bool {
    let names = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-real-ip",
        "via",
    ];
    names.iter().any(|name| headers.contains_key(*name))
}

/// Whether the host of the request is a loopback address.
fn names_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(host) = uri.authority().map(|authority| authority.as_str()).or(host) else {
        // A browser always names a host. HTTP/1.0 clients may not.
        return true;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = name
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    is_loopback || name.eq_ignore_ascii_case("localhost")
}

/// Whether a page of another site may have made a browser send this. A browser adds no API key by itself, so only requests
/// without one can be forged.
fn is_forged(caller: &Caller, method: &Method, headers: &HeaderMap) -> bool {
    let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if is_read || !matches!(caller, Caller::Known(_)) || has_credentials(headers) {
        return false;
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        // A browser without Sec-Fetch-Site.
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host != text("host")
        }
        // Not a browser.
        (None, None) => false,
    }
}

impl Principal {
    /// Fails if its role is smaller than `role`.
    pub(super) fn must_have(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        let detail = format!(
            "{} has the role {}, and this needs the role {role}",
            self.name, self.role
        );
        Err(Problem::new(Kind::Forbidden, detail))
    }
}

/// Middleware: refuses callers whose role is smaller than `role`. Adds the [`Principal`] for the handler.
pub(super) async fn require(role: Role, mut request: Request, next: Next) -> Response {
    let caller = request.extensions_mut().remove::<Caller>();
    let problem = match caller {
        Some(Caller::Known(principal)) => {
            if let Err(problem) = principal.must_have(role) {
                return problem.into_response();
            }
            request.extensions_mut().insert(principal.clone());
            let mut response = next.run(request).await;
            // For the log.
            response.extensions_mut().insert(principal);
            return response;
        }
        Some(Caller::WithoutRole) => Problem::new(
            Kind::Forbidden,
            "you are signed in, and in no group: ask an administrator to add you to reader, uploader, reviewer or admin",
        ),
        Some(Caller::Refused(reason)) => Problem::new(Kind::Unauthorized, reason),
        Some(Caller::Anonymous) | None => Problem::new(
            Kind::Unauthorized,
            "there are no credentials: send `Authorization: Bearer KEY`",
        ),
    };
    problem.into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn local() -> Principal {
        Principal {
            name: "local".parse().unwrap(),
            role: Role::Admin,
            station: None,
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn only_loopback_hosts_are_this_machine() {
        let access = Access {
            keys: ApiKeys::default(),
            anonymous: Anonymous::ThisMachine(local()),
        };
        for (host, is_known) in [
            ("127.0.0.1:8080", true),
            ("127.0.0.1", true),
            ("localhost:1", true),
            ("[::1]:8080", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example:80", false),
            ("localhost.evil.example", false),
        ] {
            let host = headers(&[("host", host)]);
            let caller = caller(&access, &host, &Uri::from_static("/"));
            assert_eq!(matches!(caller, Caller::Known(_)), is_known, "{host:?}");
        }
    }

    #[test]
    fn a_wrong_key_is_never_anonymous() {
        let access = Access {
            keys: ApiKeys::default(),
            anonymous: Anonymous::Everybody(local()),
        };
        for value in ["Bearer x", "Bearer", "Basic eDp5", "", "bearer  "] {
            let headers = headers(&[("authorization", value)]);
            let caller = caller(&access, &headers, &Uri::from_static("/"));
            assert!(matches!(caller, Caller::Refused(_)), "{value}");
        }
        let signed = headers(&[("authorization", "AWS4-HMAC-SHA256 Credential=x")]);
        let caller = caller(&access, &signed, &Uri::from_static("/"));
        assert!(matches!(caller, Caller::Known(_)));
        assert_eq!(bearer("bEARER  abc "), Some("abc"));
    }

    #[test]
    fn pages_of_other_sites_cannot_change_anything() {
        let known = Caller::Known(local());
        let forged = |method, pairs: &[(&'static str, &'static str)]| {
            is_forged(&known, &method, &headers(pairs))
        };
        assert!(forged(Method::POST, &[("sec-fetch-site", "cross-site")]));
        assert!(forged(Method::DELETE, &[("sec-fetch-site", "same-site")]));
        assert!(!forged(Method::POST, &[("sec-fetch-site", "same-origin")]));
        let host = ("host", "127.0.0.1:8080");
        assert!(forged(
            Method::POST,
            &[("origin", "http://evil.example"), host]
        ));
        assert!(forged(Method::POST, &[("origin", "null"), host]));
        assert!(!forged(
            Method::POST,
            &[("origin", "http://127.0.0.1:8080"), host]
        ));
        assert!(!forged(Method::GET, &[("sec-fetch-site", "cross-site")]));
        assert!(!forged(Method::POST, &[]));
        let key = ("authorization", "Bearer x");
        assert!(!forged(
            Method::POST,
            &[("sec-fetch-site", "cross-site"), key]
        ));
    }
}
