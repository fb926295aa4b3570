//! Who may ask: the one key pair that requests are signed with.

use axum::extract::Request;
use percent_encoding::percent_decode_str;
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

/// The one key pair that requests must be signed with.
#[derive(Clone)]
pub struct Credentials {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
}

#[async_trait::async_trait]
impl S3Auth for Credentials {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key != self.access_key {
            return Err(s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records. \
                 Set AWS_ACCESS_KEY_ID to {}.",
                self.access_key
            ));
        }
        Ok(SecretKey::from(self.secret_key.as_str()))
    }
}

/// Refuses a presigned request with an `x-amz-…` header that its signature does not cover: whoever was given the
/// URL could otherwise name an `x-amz-copy-source` and read any object with a URL to write one.
pub(super) fn check_presigned(request: &Request) -> S3Result<()> {
    let query = request.uri().query().unwrap_or_default();
    let Some(signed) = query
        .split('&')
        .find_map(|parameter| parameter.strip_prefix("X-Amz-SignedHeaders="))
    else {
        return Ok(());
    };
    let signed = percent_decode_str(signed).decode_utf8_lossy();
    let unsigned = request.headers().keys().find(|name| {
        name.as_str().starts_with("x-amz-")
            // The signature covers its value as part of the request.
            && *name != "x-amz-content-sha256"
            && !signed.split(';').any(|signed| *name == signed)
    });
    match unsigned {
        None => Ok(()),
        Some(name) => Err(s3_error!(
            AccessDenied,
            "There were headers present in the request which were not signed: {name}. Name it when you presign."
        )),
    }
}
