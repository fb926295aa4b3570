//! When and where a photo was taken.
//!
//! Everything here is a pure function of an immutable object version, the configuration and the deployments table, so
//! that a retry and a backfill agree.

mod camera_clock;
mod clock;
mod file_name;
mod place;

use std::collections::HashMap;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;

use self::camera_clock::CameraClock;
pub(crate) use self::clock::in_zone;
pub use self::{
    clock::{CaptureDoubt, CaptureSource},
    place::{KeyPattern, KeyPatternError},
};
use crate::{
    deployments::Deployments,
    photo::{Exif, Position},
};

/// What an object version says about its photo.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Object metadata, by name without `x-amz-meta-`.
    pub metadata: &'a HashMap<String, String>,
    /// EXIF of the photo.
    pub exif: &'a Exif,
    /// Object key.
    pub key: &'a str,
    /// When the version was created.
    pub last_modified: DateTime<Utc>,
}

/// How evidence is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// TIME_ZONE: the zone of clocks that do not name one, and of nights, where no deployment has another.
    pub time_zone: Tz,
    /// NIGHT_STARTS: when a night begins. A photo before it belongs to the night of the day before.
    pub night_starts: NaiveTime,
    /// KEY_PATTERN: where station and camera are in the key.
    pub key_pattern: KeyPattern,
}

/// When and where a photo was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture {
    /// When it was taken.
    pub at: DateTime<FixedOffset>,
    /// What says so.
    pub source: CaptureSource,
    /// Why the camera's clock was not believed, if `source` is the upload.
    pub doubt: Option<CaptureDoubt>,
    /// Trap night: the date on which the night began.
    pub night: NaiveDate,
    /// The station at which the camera is.
    pub station: Option<String>,
    /// The camera.
    pub camera: Option<String>,
    /// Position from EXIF.
    pub position: Option<Position>,
}

impl Rules {
    /// Reads the evidence. `deployments` say which zone the clock of a camera shows, and how wrong it is.
    pub fn read(&self, evidence: Evidence, deployments: Option<&Deployments>) -> Capture {
        let (station, camera) = place::read(evidence, &self.key_pattern);
        let clock = CameraClock {
            zone: self.time_zone,
            deployments: deployments.zip(station.as_deref()),
            camera: camera.as_deref(),
        };
        let (at, source, doubt) = clock::read(evidence, clock);
        Capture {
            night: self.night_in(clock.zone_at(at), at),
            at,
            source,
            doubt,
            station,
            camera,
            position: evidence.exif.position,
        }
    }

    /// The night in TIME_ZONE to which a time belongs.
    pub fn night(&self, at: DateTime<FixedOffset>) -> NaiveDate {
        self.night_in(self.time_zone, at)
    }

    fn night_in(&self, zone: Tz, at: DateTime<FixedOffset>) -> NaiveDate {
        let local = at.with_timezone(&zone).naive_local();
        (local - (self.night_starts - NaiveTime::MIN)).date()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(night_starts: (u32, u32)) -> Rules {
        Rules {
            time_zone: Tz::Africa__Lagos,
            night_starts: NaiveTime::from_hms_opt(night_starts.0, night_starts.1, 0).unwrap(),
            key_pattern: KeyPattern::default(),
        }
    }

    fn night(night_starts: (u32, u32), at: &str) -> String {
        let at = DateTime::parse_from_rfc3339(at).unwrap();
        rules(night_starts).night(at).to_string()
    }

    #[test]
    fn a_night_is_from_noon_to_noon() {
        for (at, expected) in [
            ("2026-05-01T11:59:59+01:00", "2026-04-30"),
            ("2026-05-01T12:00:00+01:00", "2026-05-01"),
            ("2026-05-01T23:58:00+01:00", "2026-05-01"),
            ("2026-05-02T00:03:00+01:00", "2026-05-01"),
            // The same moment in the zone of another clock.
            ("2026-05-01T23:03:00Z", "2026-05-01"),
            ("2026-05-02T08:03:00+09:00", "2026-05-01"),
        ] {
            assert_eq!(night((12, 0), at), expected, "{at}");
        }
    }

    #[test]
    fn a_trap_that_is_emptied_in_the_morning_has_dates() {
        assert_eq!(night((0, 0), "2026-05-02T00:03:00+01:00"), "2026-05-02");
        assert_eq!(night((0, 0), "2026-05-02T23:59:00+01:00"), "2026-05-02");
    }

    #[test]
    fn evidence_becomes_a_capture() {
        let metadata = HashMap::from([("station".into(), "field-2".into())]);
        let evidence = Evidence {
            metadata: &metadata,
            exif: &Exif::default(),
            key: "field-1/cam-3/IMG_20260502_000300.jpg",
            last_modified: "2026-05-03T10:00:00Z".parse().unwrap(),
        };
        let capture = rules((12, 0)).read(evidence, None);
        assert_eq!(capture.at.to_rfc3339(), "2026-05-02T00:03:00+01:00");
        assert_eq!(capture.source, CaptureSource::FileName);
        assert_eq!(capture.night.to_string(), "2026-05-01");
        assert_eq!(capture.station.as_deref(), Some("field-2"));
        assert_eq!(capture.camera.as_deref(), Some("cam-3"));
        assert_eq!(capture.doubt, None);
    }
}
