//! `/v1/export`: records for other programs.

use std::{
    io::{BufWriter, Seek},
    sync::Arc,
};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{NaiveDate, Utc};
use futures_util::stream;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use utoipa::IntoParams;

use super::{
    Api,
    access::Principal,
    parameters::Parameters,
    photo_schemas::FileBytes,
    problem::{Kind, Problem},
    record_routes::{label, probability},
};
use crate::{
    error::chain,
    export::{
        CaptureMethod, Export, ExportDaysError, ExportError, Format, Metadata, Progress,
        SamplingDesign, Taxa, spans,
    },
    records::{By, Filter, ReviewFilter},
};

/// Number of records that could not be read. They are named in the log.
const X_DAMAGED_RECORDS: HeaderName = HeaderName::from_static("x-damaged-records");
/// Highest number of characters in a title.
const MAX_TITLE: usize = 200;
/// Bytes of a piece of the response.
const PIECE: usize = 64 << 10;

/// What to export.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportParameters {
    /// csv: a table for spreadsheets. camtrap-dp: a Camtrap DP 1.0.2 package, a zip. training: JSON lines of reviewed
    /// photos.
    #[param(inline)]
    format: Format,
    /// First night or date. By default a year before the last.
    from: Option<NaiveDate>,
    /// Last night or date. By default today.
    to: Option<NaiveDate>,
    /// Whether days are trap nights, which is the default, or dates of upload.
    #[param(inline)]
    by: Option<By>,
    /// The effective class.
    #[param(min_length = 1, max_length = 100, example = "FAW")]
    class: Option<String>,
    /// The station.
    station: Option<String>,
    /// The review.
    #[param(inline)]
    review: Option<ReviewFilter>,
    /// The lowest probability.
    #[param(minimum = 0, maximum = 1)]
    min_probability: Option<f32>,
    /// The highest probability.
    #[param(minimum = 0, maximum = 1)]
    max_probability: Option<f32>,
    /// The model version.
    model: Option<String>,
    /// Title of a Camtrap DP package.
    #[param(min_length = 1, max_length = 200, default = "Moth photos")]
    title: Option<String>,
}

/// Export records
#[utoipa::path(get, path = "/v1/export", tag = "Records", operation_id = "exportRecords",
    params(ExportParameters),
    responses(
        (status = 200, description = "The file", content(
            (String = "text/csv"), (FileBytes = "application/zip"), (String = "application/jsonl")
        )),
        (status = 303, description = "Where the file is, if it is too large for a response", headers(("Location" = String))),
    ))]
pub(super) async fn export(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Parameters(parameters): Parameters<ExportParameters>,
) -> Result<Response, Problem> {
    let store = api.store()?;
    let by = parameters.by.unwrap_or(By::Night);
    let class = parameters.class.map(|class| label("class", class));
    let title = parameters.title.unwrap_or_else(|| "Moth photos".to_owned());
    if !(1..=MAX_TITLE).contains(&title.chars().count()) {
        return Err(Problem::malformed(format!(
            "title must have 1 to {MAX_TITLE} characters"
        )));
    }
    let export = Export {
        format: parameters.format,
        spans: spans(by, parameters.from, parameters.to, store.today())?,
        filter: Filter {
            class: class.transpose()?,
            station: principal.station_of(parameters.station)?,
            review: parameters.review,
            min_probability: probability("minProbability", parameters.min_probability)?,
            max_probability: probability("maxProbability", parameters.max_probability)?,
            model_version: parameters.model,
        },
        taxa: api.taxa()?,
        metadata: Metadata {
            title,
            contact: principal.name.to_string(),
            sampling_design: SamplingDesign::Targeted,
            capture_method: CaptureMethod::TimeLapse,
            licences: None,
            created: Utc::now(),
        },
    };
    if let Some(class) = &export.filter.class {
        api.check_class(class, api.deadline()).await?;
    }
    let _permit = api.admission.read_long()?;
    // Written to a file first: an export that fails half-way is a problem, not a short file.
    // It has no name, so nothing is left if the process is killed.
    let mut file = tempfile::tempfile().map_err(cannot_write)?;
    let mut damaged = 0_u64;
    let written = export.write(
        &store.ledger,
        BufWriter::new(&mut file),
        || api.deadline(),
        |progress| {
            if let Progress::Damaged(error) = progress {
                damaged += 1;
                tracing::error!(reason = chain(error), "a record is not in the export");
            }
        },
    );
    written.await?;
    let bytes = file.metadata().map_err(cannot_write)?.len();
    file.rewind().map_err(cannot_write)?;
    let file = tokio::fs::File::from_std(file);
    let kind = FileKind::of(export.format);
    let mut response = match api.settings.max_response {
        Some(limit) if bytes > limit => api.keep_export(file, kind).await?,
        _ => {
            let mut response = response(kind, file);
            let length = HeaderValue::from(bytes);
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
            response
        }
    };
    if damaged > 0 {
        let damaged = HeaderValue::from(damaged);
        response.headers_mut().insert(X_DAMAGED_RECORDS, damaged);
    }
    Ok(response)
}

/// Media type and name of a file.
#[derive(Debug, Clone, Copy)]
struct FileKind {
    media_type: &'static str,
    name: &'static str,
}

impl FileKind {
    fn of(format: Format) -> Self {
        let (media_type, name) = match format {
            Format::Csv => ("text/csv; charset=utf-8", "records.csv"),
            Format::CamtrapDp => ("application/zip", "camtrap-dp.zip"),
            Format::Training => ("application/jsonl", "training.jsonl"),
        };
        Self { media_type, name }
    }

    fn disposition(self) -> String {
        format!("attachment; filename=\"{}\"", self.name)
    }
}

impl Api {
    /// Puts an export that is too large for a response into the bucket, and answers with its URL.
    async fn keep_export(
        &self,
        file: tokio::fs::File,
        kind: FileKind,
    ) -> Result<Response, Problem> {
        let thumbnails = self.photos()?.thumbnails.as_ref().ok_or_else(|| {
            Problem::new(
                Kind::NotPossible,
                "the export is too large for a response: export fewer days, or ask the operator to set THUMBNAILS_BUCKET",
            )
        })?;
        let url = thumbnails
            .keep_export(file, kind.name, kind.media_type, kind.disposition())
            .await?;
        Ok((StatusCode::SEE_OTHER, [(header::LOCATION, url)]).into_response())
    }

    /// Scientific names in the manifests of all models.
    fn taxa(&self) -> Result<Taxa, Problem> {
        let serving = self.models.loaded()?;
        let taxa = serving
            .all()
            .flat_map(|named| named.manifest().taxa.clone());
        Ok(taxa.collect())
    }
}

fn cannot_write(error: std::io::Error) -> Problem {
    tracing::error!(%error, "cannot write a temporary file");
    Problem::new(
        Kind::Internal,
        "the server cannot write a temporary file: its TMPDIR must be a folder with space",
    )
}

fn response(kind: FileKind, file: tokio::fs::File) -> Response {
    let pieces = stream::unfold(Some(file), async |file| {
        let mut file = file?;
        let mut piece = Vec::with_capacity(PIECE);
        match (&mut file).take(PIECE as u64).read_to_end(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Bytes::from(piece)), Some(file))),
            // The connection is cut, so that nobody takes the short file for a whole one.
            Err(error) => Some((Err(error), None)),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, kind.media_type.to_owned()),
        (header::CONTENT_DISPOSITION, kind.disposition()),
    ];
    (StatusCode::OK, headers, Body::from_stream(pieces)).into_response()
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::List(error) => error.into(),
            ExportError::Ledger(error) => error.into(),
            ExportError::Camtrap(
                error @ (crate::export::CamtrapError::NoDeployment(_)
                | crate::export::CamtrapError::NoRecord),
            ) => Self::new(Kind::NotPossible, error.to_string()),
            ExportError::Camtrap(_) | ExportError::Deployments(_) | ExportError::Write(_) => {
                tracing::error!(reason = chain(&error), "the export failed");
                Self::new(Kind::Internal, error.to_string())
            }
        }
    }
}

impl From<ExportDaysError> for Problem {
    fn from(error: ExportDaysError) -> Self {
        Self::new(Kind::NotPossible, format!("from, to: {error}"))
    }
}
