//! Tells who sent a request, and refuses those whose role is too small.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{Extensions, HeaderMap, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    Api,
    access::{ApiKeys, Principal, Role},
    origin::{is_cross_site, is_forwarded, names_loopback},
    problem::{Kind, Problem},
    rate::{Peer, RateKey, Rates},
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

/// Who sent a request, by the token that API Gateway's authorizer has checked.
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
    // A browser adds no API key by itself, so another site's page can only forge requests without one.
    let headers = request.headers();
    if matches!(caller, Caller::Known(_))
        && !has_credentials(headers)
        && is_cross_site(request.method(), headers)
    {
        return Problem::new(
            Kind::Forbidden,
            "the request comes from a page of another site: open the page of this server",
        )
        .into_response();
    }
    request.extensions_mut().insert(caller);
    if let Some(rates) = &api.rates {
        request.extensions_mut().insert(Arc::clone(rates));
    }
    next.run(request).await
}

/// Whose requests the one with these `extensions` counts among.
fn rate_key(principal: &Principal, headers: &HeaderMap, extensions: &Extensions) -> RateKey {
    match has_credentials(headers) {
        true => RateKey::Name(principal.name.to_string()),
        false => RateKey::Address(extensions.get::<Peer>().map(|Peer(address)| *address)),
    }
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

/// Whether the request has credentials that this server or API Gateway checks.
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

/// Middleware of routes that need a role: refuses callers whose role is smaller than `role`, and those who have sent too many
/// requests. Adds the [`Principal`] for the handler.
pub(super) async fn require(role: Role, mut request: Request, next: Next) -> Response {
    let caller = request.extensions_mut().remove::<Caller>();
    let problem = match caller {
        Some(Caller::Known(principal)) => {
            if let Some(rates) = request.extensions().get::<Arc<Rates>>() {
                let key = rate_key(&principal, request.headers(), request.extensions());
                if let Err(problem) = rates.count(&key) {
                    return problem.into_response();
                }
            }
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
    fn requests_of_this_machine_name_it() {
        let access = Access {
            keys: ApiKeys::default(),
            anonymous: Anonymous::ThisMachine(local()),
        };
        let is_known = |pairs: &[(&'static str, &'static str)]| {
            let caller = caller(&access, &headers(pairs), &Uri::from_static("/"));
            matches!(caller, Caller::Known(_))
        };
        assert!(is_known(&[("host", "127.0.0.1:8080")]));
        assert!(!is_known(&[("host", "evil.example")]));
        assert!(!is_known(&[
            ("host", "127.0.0.1:8080"),
            ("via", "1.1 proxy")
        ]));
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
}
