//! Authentication with one key pair.

use axum::extract::Request;
use percent_encoding::percent_decode_str;
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

/// The key pair with which every request must be signed.
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

/// Refuses a presigned request with an `x-amz-…` header that its signature does not cover. Otherwise the holder of
/// a URL for a write could add `x-amz-copy-source`, and read any object.
pub(crate) fn check_presigned(request: &Request) -> S3Result<()> {
    let Some(query) = request.uri().query() else {
        return Ok(());
    };
    let Some(signed) = query
        .split('&')
        .find_map(|parameter| parameter.strip_prefix("X-Amz-SignedHeaders="))
    else {
        return Ok(());
    };
    // Text that is not UTF-8 names no header, so every header counts as unsigned.
    let signed = percent_decode_str(signed).decode_utf8_lossy();
    let unsigned = request.headers().keys().find(|name| {
        name.as_str().starts_with("x-amz-")
            // The signature covers the value of this header: it is the payload hash of the signed request.
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;

    use super::check_presigned;

    #[test]
    fn presigned_request_has_no_unsigned_amz_header() {
        let presigned = "/moths/a?X-Amz-SignedHeaders=host%3Bx-amz-acl&X-Amz-Signature=1";
        for (uri, header, valid) in [
            (presigned, "x-amz-acl", true),
            (presigned, "x-amz-content-sha256", true),
            (presigned, "range", true),
            (presigned, "x-amz-copy-source", false),
            ("/moths/a?X-Amz-SignedHeaders=%ff", "x-amz-acl", false),
            ("/moths/a?versionId=null", "x-amz-copy-source", true),
            ("/moths/a", "x-amz-copy-source", true),
        ] {
            let request = Request::builder().uri(uri).header(header, "1");
            let checked = check_presigned(&request.body(Body::empty()).unwrap());
            assert_eq!(checked.is_ok(), valid, "{uri} {header}");
        }
    }
}
