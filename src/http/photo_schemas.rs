//! Schemas of request bodies with photos, for the reference. `photos.rs` reads the bodies: it tells better what is wrong.

#![expect(dead_code, reason = "the fields are read by the reference alone")]

use serde::Deserialize;
use utoipa::ToSchema;

use super::photos::ObjectReference;

/// A photo as JSON.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = PhotoJson)]
pub(super) enum PhotoSchema {
    /// A photo in the request.
    Image(ImageSchema),
    /// A photo in the bucket.
    Object(ObjectSchema),
}

/// A photo in the request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PhotoInBase64)]
pub(super) struct ImageSchema {
    /// The photo in base64, or as a data: URI.
    #[schema(
        pattern = r"^(data:image/[a-z]+;base64,)?([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}(==)?|[A-Za-z0-9+/]{3}=?)?$"
    )]
    image: String,
    /// Name of the model.
    model: Option<String>,
    /// Number of predictions in the response.
    #[schema(minimum = 1, maximum = 1000)]
    top: Option<usize>,
}

/// A photo in the bucket.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PhotoInBucket)]
pub(super) struct ObjectSchema {
    object: ObjectReference,
    /// Name of the model.
    model: Option<String>,
    /// Number of predictions in the response.
    #[schema(minimum = 1, maximum = 1000)]
    top: Option<usize>,
}

/// A photo as a form.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PhotoForm)]
pub(super) struct FormSchema {
    /// The photo. The names `image` and `files` are read too.
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    file: String,
    /// Name of the model.
    #[schema(nullable = false)]
    model: Option<String>,
    /// Number of predictions in the response.
    #[schema(minimum = 1, maximum = 1000, nullable = false)]
    top: Option<usize>,
}

/// Photos as JSON.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchJson)]
pub(super) struct BatchSchema {
    /// The photos in base64, or as data: URIs.
    #[schema(min_items = 1, max_items = 32)]
    images: Vec<String>,
    /// Name of the model.
    model: Option<String>,
    /// Number of predictions in each response.
    #[schema(minimum = 1, maximum = 1000)]
    top: Option<usize>,
}

/// Photos as a form.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchForm)]
pub(super) struct BatchFormSchema {
    /// The photos.
    #[schema(min_items = 1, max_items = 32, format = Binary)]
    files: Vec<String>,
    /// Name of the model.
    #[schema(nullable = false)]
    model: Option<String>,
    /// Number of predictions in each response.
    #[schema(minimum = 1, maximum = 1000, nullable = false)]
    top: Option<usize>,
}

/// The bytes of a file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(super) struct FileBytes(Vec<u8>);
