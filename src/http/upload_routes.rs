//! `/v1/uploads`: URLs to which clients send photos, and what became of them.
//!
//! A photo goes straight to the bucket, so neither its size nor a bad link is a matter of this API. The URL is signed with
//! `If-None-Match: *`: a client whose connection was cut sends the same request again, and gets 412 if the first one has arrived.
//! So no photo is stored, or counted, twice. With the SHA-256 of the photo, the key follows from the photo, and so this is true of a
//! client that has lost the URL, too.

use std::{sync::Arc, time::Duration};

use aws_sdk_s3::presigning::PresigningConfig;
use axum::{Extension, Json, body::Body, extract::State, http::HeaderMap};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    access::Principal,
    body::BodyKind,
    media_types::{JSON, check_content_type},
    parameters::Segment,
    photos::parse_json,
    problem::{Kind, Problem, ProblemJson},
    store::{Photos, check_key},
    upload_file::{CheckedFile, UploadFile},
};
use crate::{
    error::chain,
    records::{ChangeError, Record, RecordJson},
};

/// Highest number of files in one request.
const MAX_FILES: usize = 50;
/// Bytes of the request.
const MAX_REQUEST: u64 = 256 << 10;
/// How long a URL may be used.
const VALID: Duration = Duration::from_secs(3600);

/// Files that a client wants to upload.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UploadRequest)]
pub(super) struct UploadRequest {
    /// The files.
    #[schema(min_items = 1, max_items = 50)]
    files: Vec<UploadFile>,
}

/// What to do with each file.
#[derive(Serialize, ToSchema)]
pub(super) struct Uploads {
    /// One item for each file, in their order.
    items: Vec<UploadItem>,
}

/// What to do with a file.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UploadItem {
    /// Position of the file, from 0.
    index: usize,
    /// The status that the file alone would have had.
    #[schema(minimum = 200, maximum = 599)]
    status: u16,
    /// The request to send, if the status is 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<Upload>,
    /// What is wrong with the file, otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProblemJson>)]
    problem: Option<Problem>,
}

/// The request that uploads a file. 412 means that it has arrived before.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Upload {
    /// For GET /v1/uploads/{token}.
    token: String,
    /// Object key that the photo gets.
    key: String,
    /// Method of the request.
    #[schema(example = "PUT")]
    method: String,
    /// URL of the request.
    url: String,
    /// Headers of the request: all of them, with these values. Content-Length follows from the body.
    headers: std::collections::BTreeMap<String, String>,
    /// When the URL becomes invalid.
    expires_at: DateTime<Utc>,
}

/// What became of an upload.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UploadStatus {
    /// How far it is.
    status: Stage,
    /// The record, if it is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RecordJson>)]
    record: Option<Record>,
    /// Why the photo was refused, if it is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Stage {
    /// The bucket does not have the photo yet.
    Pending,
    /// The bucket does not have the photo, and the URL is no longer valid.
    Expired,
    /// The bucket has the photo, and it waits to be classified.
    Uploaded,
    /// It has a record.
    Recorded,
    /// It was refused.
    Rejected,
    /// Its record was deleted.
    Deleted,
}

/// The content of a token. It is no secret, and gives no right: a poll checks role and station as every other read does.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    /// Object key.
    k: String,
    /// When the URL becomes invalid, in seconds since 1970.
    e: i64,
}

impl Token {
    fn read(text: &str) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(text).ok()?;
        serde_json::from_slice(&json).ok()
    }

    #[expect(clippy::expect_used, reason = "a text and a number have a JSON form")]
    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("a token has a JSON form"))
    }
}

impl Photos {
    /// Signs the request that uploads a file.
    async fn sign_upload(&self, file: CheckedFile) -> Result<Upload, Problem> {
        let now = Utc::now().trunc_subsecs(0);
        let expires_at = now + VALID;
        let mut put = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(&file.key)
            .content_length(file.bytes)
            .content_type(file.content_type)
            .if_none_match("*");
        for (name, value) in file.metadata {
            put = put.metadata(name, value);
        }
        if let Some(hash) = file.sha256 {
            put = put.checksum_sha256(STANDARD.encode(hash));
        }
        let signed = match PresigningConfig::expires_in(VALID) {
            Ok(config) => put.presigned(config).await,
            Err(error) => return Err(cannot_sign(&error)),
        };
        let signed = signed.map_err(|error| cannot_sign(&error))?;
        let headers = signed
            .headers()
            .filter(|(name, _)| *name != "content-length");
        let token = Token {
            k: file.key.clone(),
            e: expires_at.timestamp(),
        };
        Ok(Upload {
            token: token.text(),
            key: file.key,
            method: signed.method().to_owned(),
            url: signed.uri().to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            expires_at,
        })
    }
}

impl Principal {
    /// Fails for a key of another station than that of the upload with this object key.
    fn must_see_upload(&self, key: &str) -> Result<(), Problem> {
        let is_own = |own: &String| {
            key.strip_prefix(own.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        };
        match &self.station {
            Some(own) if !is_own(own) => Err(self.other_station()),
            _ => Ok(()),
        }
    }
}

/// Signing fails without credentials.
pub(super) fn cannot_sign(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(reason = chain(error), "cannot sign a URL");
    Problem::new(
        Kind::Unavailable,
        "the server cannot sign URLs of its bucket: tell the operator that its AWS credentials are missing",
    )
}

/// Get requests that upload photos
///
/// Send each photo with its `upload.method`, `upload.url` and `upload.headers`, then ask for its outcome. If a connection is cut,
/// send the same request again: 412 says that the photo has arrived.
#[utoipa::path(post, path = "/v1/uploads", tag = "Uploads", operation_id = "createUploads",
    request_body = UploadRequest,
    responses((status = 200, description = "One item for each file", body = Uploads)))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Uploads>, Problem> {
    check_content_type(&headers, JSON)?;
    let received = api
        .receive(&headers, body, BodyKind::Document(MAX_REQUEST))
        .await?;
    let UploadRequest { files } = parse_json(&received.bytes)?;
    if !(1..=MAX_FILES).contains(&files.len()) {
        return Err(Problem::malformed(format!(
            "there are {} files, not 1 to {MAX_FILES}",
            files.len()
        )));
    }
    let photos = api.photos()?;
    let mut items = Vec::with_capacity(files.len());
    for (index, file) in files.into_iter().enumerate() {
        let upload = match file.check(&principal, api.settings.max_photo) {
            Ok(checked) => photos.sign_upload(checked).await,
            Err(problem) => Err(problem),
        };
        let (status, upload, problem) = match upload {
            Ok(upload) => (200, Some(upload), None),
            Err(problem) => (problem.status().as_u16(), None, Some(problem)),
        };
        items.push(UploadItem {
            index,
            status,
            upload,
            problem,
        });
    }
    Ok(Json(Uploads { items }))
}

/// Ask what became of an upload
#[utoipa::path(get, path = "/v1/uploads/{token}", tag = "Uploads", operation_id = "getUpload",
    params(("token" = String, Path, description = "The token of the upload")),
    responses((status = 200, description = "How far it is", body = UploadStatus)))]
pub(super) async fn status(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Segment(token): Segment,
) -> Result<Json<UploadStatus>, Problem> {
    let token = Token::read(&token).filter(|token| check_key(&token.k).is_ok());
    let token = token.ok_or_else(|| {
        Problem::new(
            Kind::NotFound,
            "this is not the token of an upload: POST /v1/uploads gives one for each file",
        )
    })?;
    principal.must_see_upload(&token.k)?;
    let photos = api.photos()?;
    let deadline = api.deadline();
    let stage = |status| UploadStatus {
        status,
        record: None,
        reason: None,
    };
    let found = photos
        .bucket
        .current_version(&photos.name, &token.k, deadline);
    let Some(id) = found.await? else {
        let is_expired = token.e < Utc::now().timestamp();
        return Ok(Json(stage(if is_expired {
            Stage::Expired
        } else {
            Stage::Pending
        })));
    };
    let status = match api.store()?.ledger.record(id, deadline).await {
        Ok(record) => {
            principal.must_see(&record)?;
            UploadStatus {
                record: Some(record),
                ..stage(Stage::Recorded)
            }
        }
        Err(ChangeError::Rejected { reason, .. }) => UploadStatus {
            reason: Some(reason),
            ..stage(Stage::Rejected)
        },
        Err(ChangeError::NoRecord(_)) => stage(Stage::Uploaded),
        Err(ChangeError::Deleted { .. } | ChangeError::Expired(_)) => stage(Stage::Deleted),
        Err(error) => return Err(error.into()),
    };
    Ok(Json(status))
}
