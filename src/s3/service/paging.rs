//! The parameters that all listings have.

use s3s::dto::EncodingType;
use s3s::{S3Result, s3_error};

use crate::key_encoding::form_encode;

/// The most entries on a page, from 0 to 1000.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PageSize(u16);

impl PageSize {
    /// S3's maximum, and its default.
    const MAX: u16 = 1000;

    pub(crate) fn parse(requested: Option<i32>) -> S3Result<Self> {
        match requested {
            None => Ok(Self(Self::MAX)),
            Some(size) if size < 0 => Err(s3_error!(InvalidArgument, "the page size is negative")),
            Some(size) => Ok(Self(
                u16::try_from(size).map_or(Self::MAX, |size| size.min(Self::MAX)),
            )),
        }
    }
}

impl From<PageSize> for usize {
    fn from(size: PageSize) -> Self {
        Self::from(size.0)
    }
}

impl From<PageSize> for i32 {
    fn from(size: PageSize) -> Self {
        Self::from(size.0)
    }
}

/// Cuts `entries` to a page, and returns whether entries were cut off. S3 does not truncate a page of no entries.
pub(crate) fn cut_page<T>(entries: &mut Vec<T>, size: PageSize) -> bool {
    let size = usize::from(size);
    let truncated = size > 0 && entries.len() > size;
    entries.truncate(size);
    truncated
}

/// How a listing writes keys: as they are, or with `encoding-type=url` form-encoded, because XML cannot carry every
/// character.
pub(crate) fn key_encoder(encoding: Option<&EncodingType>) -> S3Result<fn(&str) -> String> {
    match encoding.map(EncodingType::as_str) {
        None => Ok(str::to_owned),
        Some(EncodingType::URL) => Ok(form_encode),
        Some(_) => Err(s3_error!(InvalidArgument, "encoding type is not url")),
    }
}

/// Clients send an empty parameter for an absent one.
pub(crate) fn none_if_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use s3s::dto::EncodingType;

    use super::{PageSize, cut_page, key_encoder};

    #[test]
    fn page_size_is_0_to_1000() {
        for (requested, size) in [
            (None, 1000),
            (Some(0), 0),
            (Some(7), 7),
            (Some(1001), 1000),
            (Some(i32::MAX), 1000),
        ] {
            assert_eq!(PageSize::parse(requested).unwrap(), PageSize(size));
        }
        PageSize::parse(Some(-1)).unwrap_err();
    }

    #[test]
    fn page_is_truncated_only_if_entries_follow_it() {
        for (size, left, truncated) in [(0, 0, false), (2, 2, true), (3, 3, false), (4, 3, false)] {
            let mut entries = vec!['a', 'b', 'c'];
            assert_eq!(cut_page(&mut entries, PageSize(size)), truncated);
            assert_eq!(entries.len(), left);
        }
    }

    #[test]
    fn keys_are_encoded_on_request() {
        assert_eq!(key_encoder(None).unwrap()("a b"), "a b");
        let url = EncodingType::from_static(EncodingType::URL);
        assert_eq!(key_encoder(Some(&url)).unwrap()("a b"), "a+b");
        let other = EncodingType::from_static("base64");
        key_encoder(Some(&other)).unwrap_err();
    }
}
