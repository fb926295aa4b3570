//! The form encoding of object keys.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Every character but RFC 3986's unreserved ones, the slash, and the space, which becomes `+`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b' ');

/// Encodes a key as S3 does in events, and in listings with `encoding-type=url`.
pub(crate) fn form_encode(key: &str) -> String {
    utf8_percent_encode(key, ENCODED)
        .to_string()
        .replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use super::form_encode;

    #[test]
    fn only_unreserved_characters_and_slashes_stay() {
        for (key, encoded) in [
            ("a-Z_0.9~/b", "a-Z_0.9~/b"),
            (
                "moths/a b+c%ö~(1).jpg",
                "moths/a+b%2Bc%25%C3%B6~%281%29.jpg",
            ),
            ("\n&=?", "%0A%26%3D%3F"),
            ("", ""),
        ] {
            assert_eq!(form_encode(key), encoded);
        }
    }
}
