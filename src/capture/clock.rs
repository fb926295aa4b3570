//! When a photo was taken: the first of several clocks that is plausible.

use chrono::{
    DateTime, Datelike, Days, FixedOffset, MappedLocalTime, NaiveDateTime, Offset, TimeDelta,
    TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;

use super::{CameraClock, Evidence, file_name};

/// Metadata that says when the photo was taken: RFC 3339, or the same without offset.
const CAPTURED_AT: &str = "captured-at";
/// How far a camera's clock may be ahead of S3's.
const AHEAD: TimeDelta = TimeDelta::hours(1);
/// How long before the upload a photo may have been taken, in days.
const MAX_AGE: i64 = 400;
/// Digital cameras with a clock that counts from earlier reset to a year before this one.
const FIRST_YEAR: i32 = 2010;

/// What says when a photo was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum CaptureSource {
    /// Object metadata `x-amz-meta-captured-at`.
    Metadata,
    /// EXIF DateTimeOriginal.
    Exif,
    /// A time in the file name.
    FileName,
    /// Nothing better than the time of the upload: the version's Last-Modified.
    Upload,
}

/// Why a camera's clock is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum CaptureDoubt {
    /// More than an hour after the upload.
    Future,
    /// Before 2010.
    Ancient,
    /// In the first ten minutes of a year: the clock was reset when the battery was empty.
    ResetClock,
    /// More than 400 days before the upload.
    FarFromUpload,
    /// The metadata is no time, or the EXIF block is broken.
    Unreadable,
}

/// The first plausible time, and its source. If no clock is plausible: the upload, and the doubt about the first of them.
pub(super) fn read(
    evidence: Evidence,
    clock: CameraClock,
) -> (DateTime<FixedOffset>, CaptureSource, Option<CaptureDoubt>) {
    let exif = evidence.exif;
    let metadata = evidence.metadata.get(CAPTURED_AT);
    let named = file_name::time(evidence.key);
    // Source, what the camera's clock showed, and the time.
    let clocks = [
        (
            CaptureSource::Metadata,
            None,
            metadata.map(|text| written(text, clock).ok_or(CaptureDoubt::Unreadable)),
        ),
        (
            CaptureSource::Exif,
            exif.taken,
            match (exif.taken, exif.is_broken) {
                (Some(taken), _) => {
                    let at = clock.time(taken, exif.offset);
                    Some(at.ok_or(CaptureDoubt::Unreadable))
                }
                (None, true) => Some(Err(CaptureDoubt::Unreadable)),
                (None, false) => None,
            },
        ),
        (
            CaptureSource::FileName,
            named,
            named.map(|taken| clock.time(taken, None).ok_or(CaptureDoubt::Unreadable)),
        ),
    ];
    let mut first_doubt = None;
    for (source, shown, clock) in clocks {
        let checked = clock.map(|at| plausible(at?, shown, evidence.last_modified));
        match checked {
            None => {}
            Some(Ok(at)) => return (at, source, None),
            Some(Err(doubt)) => {
                first_doubt.get_or_insert(doubt);
            }
        }
    }
    let uploaded = evidence.last_modified.fixed_offset();
    let upload = evidence
        .last_modified
        .with_timezone(&clock.zone_at(uploaded));
    (upload.fixed_offset(), CaptureSource::Upload, first_doubt)
}

fn plausible(
    at: DateTime<FixedOffset>,
    shown: Option<NaiveDateTime>,
    last_modified: DateTime<Utc>,
) -> Result<DateTime<FixedOffset>, CaptureDoubt> {
    // A camera whose clock was reset shows this, whatever its zone and its error. A person or a program may well mean it.
    let is_reset =
        shown.is_some_and(|shown| shown.ordinal() == 1 && shown.hour() == 0 && shown.minute() < 10);
    if at.signed_duration_since(last_modified) > AHEAD {
        Err(CaptureDoubt::Future)
    } else if at.year() < FIRST_YEAR {
        Err(CaptureDoubt::Ancient)
    } else if is_reset {
        Err(CaptureDoubt::ResetClock)
    } else if last_modified.signed_duration_since(at).num_days() >= MAX_AGE {
        Err(CaptureDoubt::FarFromUpload)
    } else {
        Ok(at)
    }
}

/// A time in RFC 3339. A person or a program wrote it, whose clock is right. Without offset it is in the camera's zone.
fn written(text: &str, clock: CameraClock) -> Option<DateTime<FixedOffset>> {
    let text = text.trim();
    DateTime::parse_from_rfc3339(text).ok().or_else(|| {
        let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
        clock.zone_time(local)
    })
}

/// `None` at the ends of time.
pub(super) fn at_offset(
    local: NaiveDateTime,
    offset: FixedOffset,
) -> Option<DateTime<FixedOffset>> {
    let utc = local.checked_sub_offset(offset)?;
    Some(DateTime::from_naive_utc_and_offset(utc, offset))
}

/// The moment at which a clock in `zone` shows `local`. If the clock shows it twice, as it is set back, the first. If it
/// never does, as it is set forward, the camera's clock was not: the moment by the offset of the day before. `None` at the
/// ends of time.
pub(crate) fn in_zone(local: NaiveDateTime, zone: Tz) -> Option<DateTime<FixedOffset>> {
    // Offsets are less than a day: beyond this, chrono would overflow.
    let day_before = local.checked_sub_days(Days::new(2))? + Days::new(1);
    local.checked_add_days(Days::new(1))?;
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => Some(at.fixed_offset()),
        MappedLocalTime::None => {
            let before = zone.from_local_datetime(&day_before).latest()?;
            let at = at_offset(local, before.offset().fix())?;
            Some(at.with_timezone(&zone).fixed_offset())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use chrono::NaiveDate;

    use super::*;
    use crate::photo::Exif;

    fn local(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    fn exif(taken: &str, offset: Option<i32>) -> Exif {
        Exif {
            taken: Some(local(taken)),
            offset: offset.and_then(|hours| FixedOffset::east_opt(hours * 3600)),
            ..Exif::default()
        }
    }

    /// Time, source and doubt of a photo that was uploaded on 3 May 2026 at 10:00 UTC.
    fn read_with(captured_at: Option<&str>, exif: &Exif, key: &str, zone: Tz) -> String {
        let metadata = captured_at.map(|at| (CAPTURED_AT.to_owned(), at.to_owned()));
        let evidence = Evidence {
            metadata: &metadata.into_iter().collect::<HashMap<_, _>>(),
            exif,
            key,
            last_modified: "2026-05-03T10:00:00Z".parse().unwrap(),
        };
        let clock = CameraClock {
            zone,
            deployments: None,
            camera: None,
        };
        let (at, source, doubt) = read(evidence, clock);
        let doubt = doubt.map_or(String::new(), |doubt| format!(" {doubt}"));
        format!("{} {source}{doubt}", at.to_rfc3339())
    }

    fn of(captured_at: Option<&str>, exif: &Exif, key: &str) -> String {
        read_with(captured_at, exif, key, Tz::Africa__Lagos)
    }

    #[test]
    fn the_first_plausible_clock_is_believed() {
        let taken = exif("2026-05-01T23:58:00", None);
        let named = "a/20260430_210000.jpg";
        let metadata = Some("2026-05-02T20:00:00Z");
        assert_eq!(
            of(metadata, &taken, named),
            "2026-05-02T20:00:00+00:00 metadata"
        );
        assert_eq!(of(None, &taken, named), "2026-05-01T23:58:00+01:00 exif");
        let elsewhere = exif("2026-05-01T23:58:00", Some(-9));
        assert_eq!(
            of(None, &elsewhere, named),
            "2026-05-01T23:58:00-09:00 exif"
        );
        let none = Exif::default();
        assert_eq!(of(None, &none, named), "2026-04-30T21:00:00+01:00 filename");
        assert_eq!(of(None, &none, "a.jpg"), "2026-05-03T11:00:00+01:00 upload");
        let without_offset = Some("2026-05-02T20:00:00");
        assert_eq!(
            of(without_offset, &none, named),
            "2026-05-02T20:00:00+01:00 metadata"
        );
    }

    #[test]
    fn a_clock_that_is_wrong_is_a_doubt() {
        for (taken, doubt) in [
            ("2026-05-03T12:00:01", "future"),
            ("2000-01-01T00:00:10", "ancient"),
            ("2009-12-31T23:59:59", "ancient"),
            ("2026-01-01T00:09:59", "reset-clock"),
            ("2025-03-29T10:59:59", "far-from-upload"),
        ] {
            let expected = format!("2026-05-03T11:00:00+01:00 upload {doubt}");
            assert_eq!(of(None, &exif(taken, None), "a.jpg"), expected, "{taken}");
        }
        for taken in [
            "2026-05-03T12:00:00",
            "2026-01-01T00:10:00",
            "2025-03-29T11:00:01",
        ] {
            let expected = format!("{taken}+01:00 exif");
            assert_eq!(of(None, &exif(taken, None), "a.jpg"), expected);
        }
    }

    #[test]
    fn a_later_clock_may_be_right_where_an_earlier_one_is_wrong() {
        let reset = exif("2026-01-01T00:00:00", None);
        let named = "20260501235800.jpg";
        assert_eq!(
            of(None, &reset, named),
            "2026-05-01T23:58:00+01:00 filename"
        );
        // A sender may well mean the first minutes of the year.
        let metadata = Some("2026-01-01T00:00:00+01:00");
        assert_eq!(
            of(metadata, &reset, named),
            "2026-01-01T00:00:00+01:00 metadata"
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_doubt_and_the_first_doubt_is_kept() {
        let broken = Exif {
            is_broken: true,
            ..Exif::default()
        };
        let upload = "2026-05-03T11:00:00+01:00 upload";
        assert_eq!(of(None, &broken, "a.jpg"), format!("{upload} unreadable"));
        assert_eq!(
            of(Some("soon"), &Exif::default(), "a.jpg"),
            format!("{upload} unreadable")
        );
        let future = Some("2027-01-01T00:00:00Z");
        assert_eq!(of(future, &broken, "a.jpg"), format!("{upload} future"));
        // A broken entry beside a good time.
        let taken = Exif {
            is_broken: true,
            ..exif("2026-05-01T23:58:00", None)
        };
        assert_eq!(of(None, &taken, "a.jpg"), "2026-05-01T23:58:00+01:00 exif");
    }

    #[test]
    fn a_clock_that_is_set_shows_some_times_twice_or_never() {
        let zone = Tz::Europe__Berlin;
        let at = |taken: &str| in_zone(local(taken), zone).unwrap().to_rfc3339();
        assert_eq!(at("2025-10-26T02:30:00"), "2025-10-26T02:30:00+02:00");
        assert_eq!(at("2025-10-26T03:30:00"), "2025-10-26T03:30:00+01:00");
        // 2:30 by a clock that was not set forward is 3:30.
        assert_eq!(at("2026-03-29T02:30:00"), "2026-03-29T03:30:00+02:00");
        assert_eq!(at("2026-03-29T01:59:59"), "2026-03-29T01:59:59+01:00");
        // Samoa had no 30 December 2011.
        let never = in_zone(local("2011-12-30T12:00:00"), Tz::Pacific__Apia).unwrap();
        assert_eq!(never.to_rfc3339(), "2011-12-31T12:00:00+14:00");
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let last = NaiveDate::MAX.and_hms_opt(23, 59, 59).unwrap();
        let first = NaiveDate::MIN.and_hms_opt(0, 0, 0).unwrap();
        for taken in [first, last] {
            for offset in [
                None,
                FixedOffset::east_opt(-50_000),
                FixedOffset::east_opt(50_000),
            ] {
                let exif = Exif {
                    taken: Some(taken),
                    offset,
                    ..Exif::default()
                };
                assert!(of(None, &exif, "a.jpg").contains("upload"));
                let metadata = taken.format("%Y-%m-%dT%H:%M:%S").to_string();
                assert!(of(Some(&metadata), &exif, "a.jpg").contains("upload"));
            }
        }
    }
}
