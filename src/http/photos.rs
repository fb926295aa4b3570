//! The photos in a request: a raw body, a form, or JSON.

use std::{borrow::Cow, fmt};

use axum::{
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request},
    http::HeaderMap,
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use utoipa::ToSchema;

use super::{
    body::ReceivedBody,
    media_types::content_type,
    parameters::whole_or_none,
    problem::{Kind, Problem},
};
use crate::error::Error;

/// Highest number of photos in a batch.
pub(super) const MAX_BATCH: usize = 32;
/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A photo in a request.
#[derive(Debug)]
pub(super) enum PhotoSource {
    /// Its bytes.
    Bytes {
        /// Name of the file, if the form says one.
        name: Option<String>,
        bytes: Bytes,
    },
    /// An object of the bucket.
    Object(ObjectReference),
    /// A photo of a batch that cannot be read.
    Unreadable(Problem),
}

/// An object in the bucket of this server.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ObjectReference {
    /// Object key.
    #[schema(min_length = 1, max_length = 1024, example = "field-1/IMG_0001.JPG")]
    pub(super) key: String,
    /// Version id; the current version if it is absent.
    #[schema(max_length = 1024)]
    pub(super) version_id: Option<String>,
}

/// The content of a body.
#[derive(Debug, Default)]
struct PhotosBody {
    /// In the order of the body.
    photos: Vec<PhotoSource>,
    options: BodyOptions,
}

/// Options that a form or JSON has beside its photos.
#[derive(Debug, Default)]
pub(super) struct BodyOptions {
    /// Name of the model.
    pub(super) model: Option<String>,
    /// Number of predictions.
    pub(super) top: Option<u64>,
}

/// The JSON of one photo. Either `image` or `object` is there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OnePhoto {
    image: Option<String>,
    object: Option<ObjectReference>,
    model: Option<String>,
    #[serde(default, deserialize_with = "whole_or_none")]
    top: Option<u64>,
}

/// The JSON of several photos.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ManyPhotos<'a> {
    #[serde(borrow, deserialize_with = "images")]
    images: Vec<Cow<'a, str>>,
    model: Option<String>,
    #[serde(default, deserialize_with = "whole_or_none")]
    top: Option<u64>,
}

/// Reads the photos of a batch, and stops after the first that is one too many: a body of 64 MiB can have millions.
fn images<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Cow<'de, str>>, D::Error> {
    struct Images;
    impl<'de> Visitor<'de> for Images {
        type Value = Vec<Cow<'de, str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an array of up to {MAX_BATCH} photos in base64")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            #[derive(Deserialize)]
            struct Image<'a>(#[serde(borrow)] Cow<'a, str>);
            let mut images = Vec::new();
            while let Some(Image(image)) = seq.next_element()? {
                if images.len() == MAX_BATCH {
                    return Err(A::Error::custom(format!(
                        "there are more than {MAX_BATCH} photos: send several batches"
                    )));
                }
                images.push(image);
            }
            Ok(images)
        }
    }
    deserializer.deserialize_seq(Images)
}

/// Number of photos that a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PhotoCount {
    One,
    Batch,
}

/// How a body is encoded, by its content type.
enum Content {
    Raw,
    Form,
    Json,
}

impl Content {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(content_type) = content_type(headers) else {
            return Ok(Self::Raw);
        };
        match content_type.as_str() {
            "multipart/form-data" => Ok(Self::Form),
            "application/json" => Ok(Self::Json),
            "application/octet-stream" | "application/x-image" => Ok(Self::Raw),
            image if image.starts_with("image/") => Ok(Self::Raw),
            _ => Err(unsupported(
                "send a photo as image/jpeg, image/png or image/webp, a form as multipart/form-data, or JSON as application/json (curl: -H 'Content-Type: image/jpeg' --data-binary @photo.jpg)",
            )),
        }
    }
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(Kind::UnsupportedMediaType, detail)
}

/// Fails if a route for this `count` of photos does not read the content type. It is called before the body is read.
pub(super) fn check_content(headers: &HeaderMap, count: PhotoCount) -> Result<(), Problem> {
    match (Content::of(headers)?, count) {
        (Content::Raw, PhotoCount::Batch) => Err(unsupported(
            "a batch is a form with several `files`, as multipart/form-data, or JSON with `images`, as application/json",
        )),
        _ => Ok(()),
    }
}

/// Reads the photo of a body.
pub(super) async fn read_one(
    headers: &HeaderMap,
    body: &mut ReceivedBody,
) -> Result<(PhotoSource, BodyOptions), Problem> {
    let PhotosBody { photos, options } = read(headers, body, PhotoCount::One).await?;
    match <[PhotoSource; 1]>::try_from(photos) {
        Ok([photo]) => Ok((photo, options)),
        Err(photos) if photos.is_empty() => Err(no_photo()),
        Err(photos) => Err(Problem::malformed(format!(
            "the body has {} photos: send one, or a batch to /v1/classify/batch",
            photos.len()
        ))),
    }
}

/// Reads the photos of a batch: 1 to [`MAX_BATCH`].
pub(super) async fn read_batch(
    headers: &HeaderMap,
    body: &mut ReceivedBody,
) -> Result<(Vec<PhotoSource>, BodyOptions), Problem> {
    let PhotosBody { photos, options } = read(headers, body, PhotoCount::Batch).await?;
    match photos.len() {
        0 => Err(no_photo()),
        1..=MAX_BATCH => Ok((photos, options)),
        _ => Err(too_many_photos()),
    }
}

fn no_photo() -> Problem {
    Problem::malformed(
        "the body has no photo: send it in a form's part `file`, or in `image` of the JSON (of a batch: `files`, `images`)",
    )
}

fn too_many_photos() -> Problem {
    Problem::malformed(format!(
        "the body has more than {MAX_BATCH} photos: send several batches"
    ))
}

async fn read(
    headers: &HeaderMap,
    received: &mut ReceivedBody,
    count: PhotoCount,
) -> Result<PhotosBody, Problem> {
    let body = received.bytes.clone();
    match Content::of(headers)? {
        Content::Raw => Ok(PhotosBody {
            photos: vec![PhotoSource::Bytes {
                name: None,
                bytes: body,
            }],
            ..PhotosBody::default()
        }),
        Content::Form => {
            // multer copies the body into its buffer, and each part out of it.
            received.memory.grow_to(3 * body.len())?;
            form(headers, body).await
        }
        Content::Json => {
            // The decoded photos.
            received.memory.grow_to(2 * body.len())?;
            // Megabytes take a while, and other requests wait for this thread.
            let read = tokio::task::spawn_blocking(move || match count {
                PhotoCount::One => one_photo(&body),
                PhotoCount::Batch => many_photos(&body),
            });
            read.await.map_err(|error| Error::Aborted(error.into()))?
        }
    }
}

async fn form(headers: &HeaderMap, body: Bytes) -> Result<PhotosBody, Problem> {
    let failed = |error: &dyn std::fmt::Display| {
        Problem::malformed(format!("the form cannot be read: {error}"))
    };
    let mut request = Request::new(Body::from(body));
    *request.headers_mut() = headers.clone();
    // The body was read within its limit. Without this, axum applies one of 2 MB.
    DefaultBodyLimit::disable().apply(&mut request);
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| failed(&error.body_text()))?;
    let mut read = PhotosBody::default();
    while let Some(part) = form
        .next_field()
        .await
        .map_err(|error| failed(&error.body_text()))?
    {
        let name = part.name().unwrap_or("").to_owned();
        let file = part.file_name().map(ToOwned::to_owned);
        let bytes = part
            .bytes()
            .await
            .map_err(|error| failed(&error.body_text()))?;
        let text = || {
            let text = std::str::from_utf8(&bytes).ok().map(str::trim);
            text.ok_or_else(|| {
                Problem::malformed(format!(
                    "the part {name:?} of the form is not UTF-8: send it as text"
                ))
            })
        };
        let PhotosBody { photos, options } = &mut read;
        match name.as_str() {
            "file" | "files" | "image" if photos.len() == MAX_BATCH => {
                return Err(too_many_photos());
            }
            "file" | "files" | "image" => photos.push(PhotoSource::Bytes { name: file, bytes }),
            "model" => set("model", &mut options.model, text()?.to_owned())?,
            "top" => set("top", &mut options.top, number("top", text()?)?)?,
            _ => {
                return Err(Problem::malformed(format!(
                    "the form has an unknown part {name:?}: its parts are file, files, image, model and top"
                )));
            }
        }
    }
    Ok(read)
}

/// Sets the option of a form that has no value yet.
fn set<T>(name: &str, option: &mut Option<T>, value: T) -> Result<(), Problem> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::malformed(format!(
            "the form has two parts {name}: send one"
        ))),
    }
}

fn number(name: &str, text: &str) -> Result<u64, Problem> {
    text.parse()
        .map_err(|_| Problem::malformed(format!("{name} is {text:?}, not a whole number")))
}

fn one_photo(body: &[u8]) -> Result<PhotosBody, Problem> {
    let OnePhoto {
        image,
        object,
        model,
        top,
    } = parse_json(body)?;
    let photo = match (image, object) {
        (Some(image), None) => decoded(&image, "image")?,
        (None, Some(object)) => PhotoSource::Object(object),
        (None, None) | (Some(_), Some(_)) => {
            return Err(Problem::malformed(
                "the JSON must have either `image`, a photo in base64, or `object`, the key of an object in the bucket",
            ));
        }
    };
    Ok(PhotosBody {
        photos: vec![photo],
        options: BodyOptions { model, top },
    })
}

fn many_photos(body: &[u8]) -> Result<PhotosBody, Problem> {
    let ManyPhotos { images, model, top } = parse_json(body)?;
    let photos = images.iter().enumerate();
    let photos = photos.map(|(index, image)| {
        decoded(image, &format!("images[{index}]")).unwrap_or_else(PhotoSource::Unreadable)
    });
    Ok(PhotosBody {
        photos: photos.collect(),
        options: BodyOptions { model, top },
    })
}

/// Decodes base64, or a data: URI with base64. No other address is ever read.
fn decoded(text: &str, name: &str) -> Result<PhotoSource, Problem> {
    let encoded = match text.strip_prefix("data:") {
        Some(uri) => uri.split_once(";base64,").map(|(_, encoded)| encoded),
        None => Some(text),
    };
    let bytes = encoded.and_then(|encoded| BASE64.decode(encoded).ok());
    let bytes = bytes.ok_or_else(|| {
        Problem::malformed(format!(
            "{name} is neither base64 nor a data: URI with base64: encode the photo, because other URIs are not read"
        ))
    })?;
    Ok(PhotoSource::Bytes {
        name: None,
        bytes: bytes.into(),
    })
}

/// Parses a JSON body, which is an object.
pub(super) fn parse_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    // serde would read an array as the members of an object in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::malformed(
            "the body is not a JSON object: see /docs/ for its members",
        ));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::malformed(format!("the JSON cannot be read: {error}")))
}
