//! `/openapi.json`: the reference of all routes, from the types of the code; and `/docs`, which shows it.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderValue, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder, SecurityRequirement,
        path::Operation,
        security::{Http, HttpAuthScheme, OpenIdConnect, SecurityScheme},
    },
};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

use super::{
    Api, SignIn,
    parameters::Segment,
    problem::{Kind, PROBLEM_JSON, Problem, ProblemJson},
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "moth-classifier",
        description = "Classifies photos, and shows, reviews and exports the records of those that were counted. Every error is a problem of RFC 9457.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(ProblemJson))
)]
struct Reference;

/// Security scheme of API keys.
const BEARER: &str = "bearer";
/// Security scheme of people.
const SIGN_IN: &str = "signIn";

/// The reference without routes.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    let mut openapi = Reference::openapi();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = openapi.components.get_or_insert_default();
    components.add_security_scheme(BEARER, scheme);
    openapi
}

/// The routes of the reference itself.
pub(super) fn routes(
    mut openapi: utoipa::openapi::OpenApi,
    sign_in: Option<&SignIn>,
) -> Router<Arc<Api>> {
    let sign_in = sign_in.cloned();
    // A function on Lambda starts for one photo, so the JSON is written when it is first asked for.
    let reference = Arc::new(LazyLock::new(move || {
        if let Some(sign_in) = &sign_in {
            add_sign_in(&mut openapi, sign_in);
        }
        complete(&mut openapi, sign_in.is_some());
        match openapi.to_json() {
            Ok(json) => Ok(Bytes::from(json)),
            Err(error) => Err(Problem::new(Kind::Internal, error.to_string())),
        }
    }));
    let reference = async move || {
        let json = (**reference).clone()?;
        Ok::<_, Problem>(([(header::CONTENT_TYPE, "application/json")], json))
    };
    Router::new()
        .route("/openapi.json", get(reference))
        .route("/docs", get(index))
        .route("/docs/", get(index))
        .route("/docs/{file}", get(file))
}

fn add_sign_in(openapi: &mut utoipa::openapi::OpenApi, SignIn { issuer, client_id }: &SignIn) {
    let issuer = issuer.trim_end_matches('/');
    let url = format!("{issuer}/.well-known/openid-configuration");
    let description = format!("Authorization Code with PKCE, as the client {client_id}");
    let scheme = SecurityScheme::OpenIdConnect(OpenIdConnect::with_description(url, description));
    let components = openapi.components.get_or_insert_default();
    components.add_security_scheme(SIGN_IN, scheme);
}

/// Adds to each operation what all have: the problems, and the security of those that are not open.
fn complete(openapi: &mut utoipa::openapi::OpenApi, has_sign_in: bool) {
    for (path, item) in &mut openapi.paths.paths {
        let is_open = !path.starts_with("/v1/");
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            if !is_open {
                let needs_key = SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, []);
                let security = operation.security.get_or_insert_default();
                security.push(needs_key);
                if has_sign_in {
                    security.push(SecurityRequirement::new::<_, [&str; 0], &str>(SIGN_IN, []));
                }
            }
            add_problems(operation, path, is_open);
        }
    }
}

fn add_problems(operation: &mut Operation, path: &str, is_open: bool) {
    let mut kinds = vec![Kind::Internal, Kind::Unavailable];
    if !is_open {
        kinds.extend([
            Kind::Malformed,
            Kind::Unauthorized,
            Kind::Forbidden,
            Kind::NotFound,
            Kind::NotAcceptable,
            Kind::NotPossible,
            Kind::Busy,
            Kind::Deadline,
        ]);
    }
    if operation.request_body.is_some() {
        kinds.extend([
            Kind::SlowBody,
            Kind::TooManyBytes,
            Kind::UnsupportedMediaType,
        ]);
    }
    if path.contains("{id}") {
        kinds.extend([Kind::Deleted, Kind::Conflict, Kind::RevisionMismatch]);
    }
    if path == "/v1/deployments" {
        kinds.push(Kind::RevisionMismatch);
    }
    for kind in kinds {
        let status = kind.status().as_u16().to_string();
        let responses = &mut operation.responses.responses;
        responses.entry(status).or_insert_with(|| problem(kind));
    }
}

fn problem(kind: Kind) -> RefOr<utoipa::openapi::Response> {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let response = ResponseBuilder::new()
        .description(kind.title())
        .content(PROBLEM_JSON, content);
    RefOr::T(response.build())
}

/// Swagger UI's page.
const INDEX: &str = r##"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>moth-classifier: HTTP API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/swagger-initializer.js"></script></body></html>
"##;
/// Starts it with this server's reference.
const INITIALIZER: &str = r##"window.ui = SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
"##;
/// Swagger UI sets styles from its script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn index() -> impl IntoResponse {
    let policy = HeaderValue::from_static(POLICY);
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(INDEX))
}

async fn file(Segment(name): Segment) -> Result<Response, Problem> {
    let media_type = match name.as_str() {
        "swagger-ui.css" => "text/css; charset=utf-8",
        "swagger-ui-bundle.js" | "swagger-initializer.js" => "text/javascript; charset=utf-8",
        "favicon-32x32.png" => "image/png",
        _ => {
            return Err(Problem::new(
                Kind::NotFound,
                "there is no such file in /docs",
            ));
        }
    };
    let bytes = match name.as_str() {
        "swagger-initializer.js" => Bytes::from_static(INITIALIZER.as_bytes()),
        _ => swagger_ui(&name).map_err(|error| Problem::new(Kind::Internal, error.to_string()))?,
    };
    Ok(([(header::CONTENT_TYPE, media_type)], bytes).into_response())
}

/// A file of the vendored Swagger UI. It is decompressed when it is first asked for.
fn swagger_ui(name: &str) -> zip::result::ZipResult<Bytes> {
    static FILES: Mutex<BTreeMap<String, Bytes>> = Mutex::new(BTreeMap::new());
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = files.get(name) {
        return Ok(bytes.clone());
    }
    let bytes = Bytes::from(decompressed(name)?);
    files.insert(name.to_owned(), bytes.clone());
    Ok(bytes)
}

fn decompressed(name: &str) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    let path = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|path| path.ends_with(&format!("/dist/{name}")) && !path.contains("/flavors/"))
        .map(std::borrow::Cow::into_owned)
        .ok_or(zip::result::ZipError::FileNotFound)?;
    let mut bytes = Vec::new();
    archive.by_name(&path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_says_where_people_sign_in() {
        let sign_in = SignIn {
            issuer: "https://id.example/".to_owned(),
            client_id: "page".to_owned(),
        };
        let mut openapi = super::super::routes().into_openapi();
        add_sign_in(&mut openapi, &sign_in);
        complete(&mut openapi, true);
        let json = serde_json::to_value(&openapi).unwrap();
        let scheme = &json["components"]["securitySchemes"]["signIn"];
        assert_eq!(
            scheme["openIdConnectUrl"],
            "https://id.example/.well-known/openid-configuration"
        );
        assert_eq!(
            json["paths"]["/v1/counts"]["get"]["security"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        assert!(json["paths"]["/livez"]["get"].get("security").is_none());
    }

    #[test]
    fn the_vendored_files_are_there() {
        for name in [
            "swagger-ui.css",
            "swagger-ui-bundle.js",
            "favicon-32x32.png",
        ] {
            assert!(!swagger_ui(name).unwrap().is_empty(), "{name}");
        }
    }
}
