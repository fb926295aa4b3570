//! A time in a file name, as cameras and phones write it.

use std::sync::LazyLock;

use chrono::{NaiveDate, NaiveDateTime};
use regex_lite::Regex;

/// `20260501235800`, `IMG_20260501_235800`, `20260501-235800`, `2026-05-01_23-58-00`; not a part of a longer number.
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    let compact = r"(\d{4})(\d{2})(\d{2})[-_T]?(\d{2})(\d{2})(\d{2})";
    let separated = r"(\d{4})-(\d{2})-(\d{2})[-_T ](\d{2})[-.:](\d{2})[-.:](\d{2})";
    let pattern = format!(r"(?:^|\D)(?:{compact}|{separated})(?:\D|$)");
    #[expect(clippy::expect_used, reason = "a test compiles the pattern")]
    Regex::new(&pattern).expect("a valid pattern")
});

/// The first time in the file name of a key.
pub(super) fn time(key: &str) -> Option<NaiveDateTime> {
    let name = key.rsplit('/').next()?;
    let mut from = 0;
    while let Some(found) = TIME.captures_at(name, from) {
        let numbers: Vec<u32> = found
            .iter()
            .skip(1)
            .flatten()
            .filter_map(|number| number.as_str().parse().ok())
            .collect();
        let [year, month, day, hour, minute, second] = numbers[..] else {
            return None;
        };
        let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day);
        if let Some(time) = date.and_then(|date| date.and_hms_opt(hour, minute, second)) {
            return Some(time);
        }
        // A number of 14 digits that is no time.
        from = found.get(0)?.start() + 1;
        while !name.is_char_boundary(from) {
            from += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_write_times_in_several_ways() {
        for name in [
            "20260501235800.jpg",
            "IMG_20260501_235800.jpg",
            "20260501-235800-snapshot.jpg",
            "PXL_20260501T235800.jpg",
            "2026-05-01_23-58-00.jpg",
            "Signal-2026-05-01-23-58-00.jpg",
            "Photo 2026-05-01 23.58.00.jpg",
            "cam7_99999999999999_20260501235800.jpg",
            "é_20260501235800é.jpg",
        ] {
            let key = format!("20200101000000/{name}");
            assert_eq!(
                time(&key).unwrap().to_string(),
                "2026-05-01 23:58:00",
                "{name}"
            );
        }
    }

    #[test]
    fn other_numbers_are_no_times() {
        for name in [
            "IMG_0001.jpg",
            "20260501.jpg",
            "20261301235800.jpg",
            "20260501245800.jpg",
            "1202605012358001.jpg",
            "120260501235800.jpg",
            "",
        ] {
            assert_eq!(time(name), None, "{name}");
        }
    }
}
