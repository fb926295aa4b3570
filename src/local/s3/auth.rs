//! Who may ask: the one key pair that requests are signed with.

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
