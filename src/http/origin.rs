//! Where a request comes from: this machine, a proxy, or a page of another site.

use axum::http::{HeaderMap, Method, Uri, header};

/// Whether a proxy forwarded the request for somebody else.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
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
pub(super) fn names_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
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

/// Whether a page of another site made a browser send this change. Programs other than browsers send neither `Sec-Fetch-Site`
/// nor `Origin`.
pub(super) fn is_cross_site(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        // Browsers before 2023 do not send Sec-Fetch-Site.
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host != text("host")
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn only_loopback_hosts_are_loopback() {
        for (host, is_loopback) in [
            ("127.0.0.1:8080", true),
            ("127.0.0.1", true),
            ("localhost:1", true),
            ("[::1]:8080", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example:80", false),
            ("localhost.evil.example", false),
        ] {
            let named = names_loopback(&headers(&[("host", host)]), &Uri::from_static("/"));
            assert_eq!(named, is_loopback, "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_cannot_change_anything() {
        let is_refused = |method, pairs: &[(&'static str, &'static str)]| {
            is_cross_site(&method, &headers(pairs))
        };
        assert!(is_refused(
            Method::POST,
            &[("sec-fetch-site", "cross-site")]
        ));
        assert!(is_refused(
            Method::DELETE,
            &[("sec-fetch-site", "same-site")]
        ));
        assert!(!is_refused(
            Method::POST,
            &[("sec-fetch-site", "same-origin")]
        ));
        let host = ("host", "127.0.0.1:8080");
        for origin in ["http://evil.example", "null"] {
            assert!(is_refused(Method::POST, &[("origin", origin), host]));
        }
        assert!(!is_refused(
            Method::POST,
            &[("origin", "http://127.0.0.1:8080"), host]
        ));
        assert!(!is_refused(
            Method::GET,
            &[("sec-fetch-site", "cross-site")]
        ));
        assert!(!is_refused(Method::POST, &[]));
    }
}
