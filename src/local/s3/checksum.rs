//! The checksums SDKs send with uploads (`x-amz-checksum-…`, as header or trailer) and check on downloads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// What S3 computes when the client names none.
    pub(super) const DEFAULT: Self = Self::Crc64Nvme;

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => dto::ChecksumAlgorithm::CRC32,
            Self::Crc32c => dto::ChecksumAlgorithm::CRC32C,
            Self::Crc64Nvme => dto::ChecksumAlgorithm::CRC64NVME,
            Self::Sha1 => dto::ChecksumAlgorithm::SHA1,
            Self::Sha256 => dto::ChecksumAlgorithm::SHA256,
        }
    }

    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn hasher(self) -> Hasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Self::Crc32 => hasher.crc32 = Some(Crc32::new()),
            Self::Crc32c => hasher.crc32c = Some(Crc32c::new()),
            Self::Crc64Nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
            Self::Sha1 => hasher.sha1 = Some(Sha1::new()),
            Self::Sha256 => hasher.sha256 = Some(Sha256::new()),
        }
        Hasher {
            algorithm: self,
            hasher,
        }
    }

    /// This algorithm's field of what a client or the hasher stated.
    pub(super) fn stated(self, stated: &dto::Checksum) -> Option<&str> {
        match self {
            Self::Crc32 => stated.checksum_crc32.as_deref(),
            Self::Crc32c => stated.checksum_crc32c.as_deref(),
            Self::Crc64Nvme => stated.checksum_crc64nvme.as_deref(),
            Self::Sha1 => stated.checksum_sha1.as_deref(),
            Self::Sha256 => stated.checksum_sha256.as_deref(),
        }
    }
}

pub(super) struct Hasher {
    algorithm: Algorithm,
    hasher: ChecksumHasher,
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(super) fn finish(self) -> Checksum {
        let digests = self.hasher.finalize();
        Checksum {
            algorithm: self.algorithm,
            value: self
                .algorithm
                .stated(&digests)
                .unwrap_or_default()
                .to_owned(),
            composite: false,
        }
    }
}

/// The checksum of a version or part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksum {
    pub(super) algorithm: Algorithm,
    /// Base64; with `-N` behind it where composite.
    pub(super) value: String,
    /// Of the checksums of N parts instead of the whole object's bytes.
    pub(super) composite: bool,
}

impl Checksum {
    /// The checksum of checksums that S3 gives a multipart object.
    pub(super) fn composite(algorithm: Algorithm, parts: &[&Checksum]) -> Option<Self> {
        let mut hasher = algorithm.hasher();
        for part in parts {
            if part.algorithm != algorithm {
                return None;
            }
            hasher.update(&STANDARD.decode(&part.value).ok()?);
        }
        let mut checksum = hasher.finish();
        checksum.value = format!("{}-{}", checksum.value, parts.len());
        checksum.composite = true;
        Some(checksum)
    }

    pub(super) fn kind(&self) -> dto::ChecksumType {
        dto::ChecksumType::from_static(if self.composite {
            dto::ChecksumType::COMPOSITE
        } else {
            dto::ChecksumType::FULL_OBJECT
        })
    }
}

impl From<&Checksum> for dto::Checksum {
    fn from(checksum: &Checksum) -> Self {
        let value = Some(checksum.value.clone());
        let mut stated = dto::Checksum {
            checksum_type: Some(checksum.kind()),
            ..Self::default()
        };
        match checksum.algorithm {
            Algorithm::Crc32 => stated.checksum_crc32 = value,
            Algorithm::Crc32c => stated.checksum_crc32c = value,
            Algorithm::Crc64Nvme => stated.checksum_crc64nvme = value,
            Algorithm::Sha1 => stated.checksum_sha1 = value,
            Algorithm::Sha256 => stated.checksum_sha256 = value,
        }
        stated
    }
}

/// The five checksum fields that many of s3s's inputs have, taken out as one struct.
macro_rules! stated_checksums {
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

/// Sets the five checksum fields that many of s3s's outputs have.
macro_rules! show_checksum {
    ($output:expr, $checksum:expr) => {{
        let stated = s3s::dto::Checksum::from($checksum);
        $output.checksum_crc32 = stated.checksum_crc32;
        $output.checksum_crc32c = stated.checksum_crc32c;
        $output.checksum_crc64nvme = stated.checksum_crc64nvme;
        $output.checksum_sha1 = stated.checksum_sha1;
        $output.checksum_sha256 = stated.checksum_sha256;
    }};
}

pub(super) use {show_checksum, stated_checksums};
