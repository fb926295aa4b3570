//! `/problems/{kind}`: what a problem's `type` resolves to.

use axum::response::Html;

use super::{Kind, Problem};
use crate::http::parameters::Segment;

/// Describes a kind of problem.
pub(in crate::http) async fn page(Segment(kind): Segment) -> Result<Html<String>, Problem> {
    let kind: Kind = kind.parse().map_err(|_| {
        Problem::new(
            Kind::NotFound,
            "there is no such type of problem: take `type` of a problem",
        )
    })?;
    // All of it comes from this program, so nothing needs to be escaped.
    Ok(Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{kind}</title>\
         <h1>{title}</h1><p>HTTP status {status}.</p><p>{advice}</p></html>\n",
        title = kind.title(),
        status = kind.status(),
        advice = kind.advice(),
    )))
}
