//! Configuration of the HTTP API.

use std::ffi::OsString;

use super::{ConfigError, Environment};
use crate::http::{ApiKeys, SignIn};

/// What the HTTP API needs beside the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// API_KEYS: who may use it.
    pub keys: ApiKeys,
    /// PHOTOS_BUCKET: the bucket of the photos.
    pub photos_bucket: Option<String>,
    /// THUMBNAILS_BUCKET: the bucket of thumbnails and of large exports.
    pub thumbnails_bucket: Option<String>,
    /// OIDC_ISSUER and OIDC_CLIENT_ID: where people sign in.
    pub sign_in: Option<SignIn>,
}

impl ApiConfig {
    /// Reads the configuration, like [`ComputeConfig::read`](super::ComputeConfig::read).
    ///
    /// # Errors
    ///
    /// All problems at once, each with the name of its variable.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut environment = Environment::new(&variable);
        let config = Self {
            keys: environment.api_keys(),
            photos_bucket: environment.bucket("PHOTOS_BUCKET"),
            thumbnails_bucket: environment.bucket("THUMBNAILS_BUCKET"),
            sign_in: environment.sign_in(),
        };
        environment.finish(config)
    }

    /// The environment variables from which [`read`](Self::read) gives this configuration again.
    pub fn to_env(&self) -> Vec<(&'static str, OsString)> {
        let mut env = vec![("API_KEYS", self.keys.entries().into())];
        for (name, bucket) in [
            ("PHOTOS_BUCKET", &self.photos_bucket),
            ("THUMBNAILS_BUCKET", &self.thumbnails_bucket),
        ] {
            env.extend(bucket.as_ref().map(|bucket| (name, bucket.into())));
        }
        if let Some(SignIn { issuer, client_id }) = &self.sign_in {
            env.push(("OIDC_ISSUER", issuer.into()));
            env.push(("OIDC_CLIENT_ID", client_id.into()));
        }
        env
    }
}

impl Environment<'_> {
    fn api_keys(&mut self) -> ApiKeys {
        let text = self.text("API_KEYS").unwrap_or_default();
        text.parse().unwrap_or_else(|error| {
            self.problems.push(format!("API_KEYS: {error}"));
            ApiKeys::default()
        })
    }

    fn sign_in(&mut self) -> Option<SignIn> {
        match (self.text("OIDC_ISSUER"), self.text("OIDC_CLIENT_ID")) {
            (Some(issuer), Some(client_id)) => Some(SignIn { issuer, client_id }),
            (None, None) => None,
            (Some(_), None) => {
                self.problems.push("OIDC_CLIENT_ID is not set".into());
                None
            }
            (None, Some(_)) => {
                self.problems.push("OIDC_ISSUER is not set".into());
                None
            }
        }
    }

    fn bucket(&mut self, name: &str) -> Option<String> {
        let value = self.text(name)?;
        if !is_bucket_name(&value) {
            self.problems.push(format!(
                "{name} is {value:?}, but a bucket name has 3 to 63 of a–z 0–9 - ."
            ));
        }
        Some(value)
    }
}

/// S3's naming rules, without the finer ones.
fn is_bucket_name(name: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
    };
    (3..=63).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<ApiConfig, ConfigError> {
        ApiConfig::read(|name| {
            let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
            Some(value.into())
        })
    }

    #[test]
    fn keys_and_buckets_are_checked() {
        let none = read(&[("API_KEYS", ""), ("PHOTOS_BUCKET", "")]).unwrap();
        assert!(none.keys.is_empty() && none.photos_bucket.is_none());
        let issuer = ("OIDC_ISSUER", "https://id.example");
        assert!(
            read(&[issuer])
                .unwrap_err()
                .to_string()
                .contains("OIDC_CLIENT_ID")
        );
        let with_sign_in = read(&[issuer, ("OIDC_CLIENT_ID", "page")]).unwrap();
        let env = with_sign_in.to_env();
        let again = ApiConfig::read(|name| {
            let (_, value) = env.iter().find(|(variable, _)| *variable == name)?;
            Some(value.clone())
        });
        assert_eq!(again.unwrap(), with_sign_in);
        let error = read(&[("API_KEYS", "a:admin:x"), ("PHOTOS_BUCKET", "Moths/")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("API_KEYS: entry 1 (a)"), "{error}");
        assert!(error.contains("PHOTOS_BUCKET is \"Moths/\""), "{error}");
    }
}
