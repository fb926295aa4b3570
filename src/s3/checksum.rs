//! The checksums that SDKs send with uploads (`x-amz-checksum-…`, as header or trailer) and verify on downloads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// A checksum algorithm. The names of the variants are stored in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The algorithm that S3 uses when the client names none.
    pub(crate) const DEFAULT: Self = Self::Crc64Nvme;

    /// The name in XML and in `x-amz-checksum-algorithm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => dto::ChecksumAlgorithm::CRC32,
            Self::Crc32c => dto::ChecksumAlgorithm::CRC32C,
            Self::Crc64Nvme => dto::ChecksumAlgorithm::CRC64NVME,
            Self::Sha1 => dto::ChecksumAlgorithm::SHA1,
            Self::Sha256 => dto::ChecksumAlgorithm::SHA256,
        }
    }

    /// The header or trailer that carries the value.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn hasher(self) -> Hasher {
        match self {
            Self::Crc32 => Hasher::Crc32(Crc32::new()),
            Self::Crc32c => Hasher::Crc32c(Crc32c::new()),
            Self::Crc64Nvme => Hasher::Crc64Nvme(Crc64Nvme::new()),
            Self::Sha1 => Hasher::Sha1(Sha1::new()),
            Self::Sha256 => Hasher::Sha256(Sha256::new()),
        }
    }

    /// The value that `values` has for this algorithm.
    pub(crate) fn value_in(self, values: &dto::Checksum) -> Option<&str> {
        match self {
            Self::Crc32 => values.checksum_crc32.as_deref(),
            Self::Crc32c => values.checksum_crc32c.as_deref(),
            Self::Crc64Nvme => values.checksum_crc64nvme.as_deref(),
            Self::Sha1 => values.checksum_sha1.as_deref(),
            Self::Sha256 => values.checksum_sha256.as_deref(),
        }
    }
}

/// A checksum in progress.
pub(crate) enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(hasher) => hasher.update(bytes),
            Self::Crc32c(hasher) => hasher.update(bytes),
            Self::Crc64Nvme(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        let (algorithm, value) = match self {
            Self::Crc32(hasher) => (Algorithm::Crc32, STANDARD.encode(hasher.finalize())),
            Self::Crc32c(hasher) => (Algorithm::Crc32c, STANDARD.encode(hasher.finalize())),
            Self::Crc64Nvme(hasher) => (Algorithm::Crc64Nvme, STANDARD.encode(hasher.finalize())),
            Self::Sha1(hasher) => (Algorithm::Sha1, STANDARD.encode(hasher.finalize())),
            Self::Sha256(hasher) => (Algorithm::Sha256, STANDARD.encode(hasher.finalize())),
        };
        Checksum {
            algorithm,
            value,
            composite: false,
        }
    }
}

/// The checksum of a version or part. Stored in the database as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksum {
    pub(crate) algorithm: Algorithm,
    /// Base64. A composite checksum has the suffix `-N`, where N is the number of parts.
    pub(crate) value: String,
    /// Whether this is the checksum of the parts' checksums instead of the object's bytes.
    pub(crate) composite: bool,
}

impl Checksum {
    /// The composite checksum of a multipart object: the checksum of the parts' binary checksums.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if a part has a checksum of another algorithm, or one that is not base64.
    pub(crate) fn composite(algorithm: Algorithm, parts: &[&Checksum]) -> Result<Self, StoreError> {
        let mut hasher = algorithm.hasher();
        for part in parts {
            if part.algorithm != algorithm {
                return Err(StoreError::damaged(format!(
                    "a part has a {} checksum, its upload requires {}",
                    part.algorithm.name(),
                    algorithm.name()
                )));
            }
            let digest = STANDARD
                .decode(&part.value)
                .map_err(StoreError::unparsable(
                    "the checksum of a part is not base64",
                ))?;
            hasher.update(&digest);
        }
        let mut checksum = hasher.finish();
        checksum.value = format!("{}-{}", checksum.value, parts.len());
        checksum.composite = true;
        Ok(checksum)
    }

    /// Whether `stated` is this checksum. Clients may omit the `-N` of a composite one.
    pub(crate) fn equals(&self, stated: &str) -> bool {
        let without_count = match self.value.split_once('-') {
            Some((value, _)) if self.composite => value,
            _ => &self.value,
        };
        stated == self.value || stated == without_count
    }

    pub(crate) fn kind(&self) -> dto::ChecksumType {
        kind(self.composite)
    }
}

pub(crate) fn kind(composite: bool) -> dto::ChecksumType {
    dto::ChecksumType::from_static(match composite {
        true => dto::ChecksumType::COMPOSITE,
        false => dto::ChecksumType::FULL_OBJECT,
    })
}

impl From<&Checksum> for dto::Checksum {
    fn from(checksum: &Checksum) -> Self {
        let value = Some(checksum.value.clone());
        let mut values = dto::Checksum {
            checksum_type: Some(checksum.kind()),
            ..Self::default()
        };
        match checksum.algorithm {
            Algorithm::Crc32 => values.checksum_crc32 = value,
            Algorithm::Crc32c => values.checksum_crc32c = value,
            Algorithm::Crc64Nvme => values.checksum_crc64nvme = value,
            Algorithm::Sha1 => values.checksum_sha1 = value,
            Algorithm::Sha256 => values.checksum_sha256 = value,
        }
        values
    }
}

/// Takes the five checksum fields out of an input of s3s, as one struct.
macro_rules! take_checksums {
    ($input:expr) => {
        s3s::dto::Checksum {
            checksum_crc32: $input.checksum_crc32.take(),
            checksum_crc32c: $input.checksum_crc32c.take(),
            checksum_crc64nvme: $input.checksum_crc64nvme.take(),
            checksum_sha1: $input.checksum_sha1.take(),
            checksum_sha256: $input.checksum_sha256.take(),
            ..Default::default()
        }
    };
}

/// Sets the five checksum fields of an output of s3s.
macro_rules! set_checksums {
    ($output:expr, $checksum:expr) => {{
        let values = s3s::dto::Checksum::from($checksum);
        $output.checksum_crc32 = values.checksum_crc32;
        $output.checksum_crc32c = values.checksum_crc32c;
        $output.checksum_crc64nvme = values.checksum_crc64nvme;
        $output.checksum_sha1 = values.checksum_sha1;
        $output.checksum_sha256 = values.checksum_sha256;
    }};
}

pub(crate) use {set_checksums, take_checksums};

#[cfg(test)]
mod tests {
    use s3s::dto;

    use super::{Algorithm, Checksum};
    use crate::StoreError;

    fn checksum(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = algorithm.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn checksums_equal_the_published_check_values() {
        // CRCs: the check values of "123456789" in the catalogue of CRC algorithms, in base64.
        for (algorithm, value) in [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
            (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (
                Algorithm::Sha256,
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
            ),
        ] {
            let checksum = checksum(algorithm, b"123456789");
            let values = dto::Checksum::from(&checksum);
            assert_eq!(checksum.value, value, "{algorithm:?}");
            assert_eq!(algorithm.value_in(&values), Some(&*checksum.value));
            let mut others = Algorithm::ALL.into_iter().filter(|one| *one != algorithm);
            assert!(others.all(|other| other.value_in(&values).is_none()));
            assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::parse("crc32C"), Some(Algorithm::Crc32c));
        assert_eq!(Algorithm::parse("MD5"), None);
    }

    #[test]
    fn composite_checksum_hashes_the_binary_checksums_of_the_parts() {
        let parts = [b"a", b"b"].map(|part| checksum(Algorithm::Crc32, part));
        let composite = Checksum::composite(Algorithm::Crc32, &[&parts[0], &parts[1]]).unwrap();
        // CRC32 of "a" is E8B7BE43, of "b" 71BEEFF9.
        let whole = checksum(Algorithm::Crc32, b"\xe8\xb7\xbe\x43\x71\xbe\xef\xf9");
        assert_eq!(composite.value, format!("{}-2", whole.value));
        assert!(composite.equals(&composite.value) && composite.equals(&whole.value));
        assert!(!composite.equals("") && !composite.equals(&parts[0].value));
        assert!(whole.equals(&whole.value) && !whole.equals(&composite.value));
    }

    #[test]
    fn composite_checksum_refuses_parts_that_do_not_fit() {
        let part = checksum(Algorithm::Sha1, b"a");
        let mixed = Checksum::composite(Algorithm::Sha256, &[&part]);
        assert!(matches!(mixed, Err(StoreError::Damaged { .. })));
        let part = Checksum {
            value: "no base64".to_owned(),
            ..part
        };
        let malformed = Checksum::composite(Algorithm::Sha1, &[&part]);
        assert!(matches!(malformed, Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn stored_checksums_keep_their_json() {
        let json = r#"{"algorithm":"Crc64Nvme","value":"AA==","composite":false}"#;
        let checksum: Checksum = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&checksum).unwrap(), json);
    }
}
