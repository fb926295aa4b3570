//! What the clock of a camera shows, by the deployments table.

use chrono::{DateTime, FixedOffset, NaiveDateTime};
use chrono_tz::Tz;

use super::clock::{at_offset, in_zone};
use crate::deployments::{Deployment, Deployments};

/// The clock of the camera that took a photo.
#[derive(Debug, Clone, Copy)]
pub(super) struct CameraClock<'a> {
    /// The zone without a deployment.
    pub(super) zone: Tz,
    /// The deployments table, and the photo's station. `None` if either is missing.
    pub(super) deployments: Option<(&'a Deployments, &'a str)>,
    /// The camera.
    pub(super) camera: Option<&'a str>,
}

impl CameraClock<'_> {
    /// The true time when the clock shows `local`, with the offset that the photo has if any. The deployment in force is
    /// the one that covers the time that it gives. `None` at the ends of time.
    pub(super) fn time(
        self,
        local: NaiveDateTime,
        offset: Option<FixedOffset>,
    ) -> Option<DateTime<FixedOffset>> {
        let by = |deployment: Option<&Deployment>| {
            let at = match offset {
                Some(offset) => at_offset(local, offset)?,
                None => in_zone(local, self.zone_of(deployment))?,
            };
            match deployment {
                Some(deployment) => at.checked_sub_signed(deployment.clock_offset),
                None => Some(at),
            }
        };
        let in_force = self.find(|row| by(Some(row)).is_some_and(|at| row.covers(at)));
        by(in_force)
    }

    /// The time at which a right clock in the camera's zone shows `local`.
    pub(super) fn zone_time(self, local: NaiveDateTime) -> Option<DateTime<FixedOffset>> {
        let by = |deployment: Option<&Deployment>| in_zone(local, self.zone_of(deployment));
        let in_force = self.find(|row| by(Some(row)).is_some_and(|at| row.covers(at)));
        by(in_force)
    }

    /// The zone of the camera at a time.
    pub(super) fn zone_at(self, at: DateTime<FixedOffset>) -> Tz {
        self.zone_of(self.find(|row| row.covers(at)))
    }

    fn zone_of(self, deployment: Option<&Deployment>) -> Tz {
        deployment
            .and_then(|deployment| deployment.time_zone)
            .unwrap_or(self.zone)
    }

    fn find(&self, in_force: impl FnMut(&Deployment) -> bool) -> Option<&Deployment> {
        let (deployments, station) = self.deployments?;
        deployments.find(station, self.camera, in_force)
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz::{Africa__Lagos, Africa__Nairobi};

    use super::*;

    const TABLE: &str = "deploymentID,locationID,cameraID,latitude,longitude,deploymentStart,deploymentEnd,timeZone,clockOffsetSeconds
d1,field-1,,0,0,2026-05-01T00:00:00Z,2026-05-31T23:59:59Z,Africa/Nairobi,
d2,field-1,c7,0,0,2026-05-01T00:00:00Z,2026-05-31T23:59:59Z,,3600
d3,field-2,,0,0,2026-05-01T00:00:00Z,2026-05-31T23:59:59Z,Africa/Nairobi,-86400
";

    /// The time at a station with a camera when its clock shows `local`.
    fn time(station: &str, camera: &str, local: &str, hours: Option<i32>) -> String {
        let table = Deployments::parse(TABLE.as_bytes()).unwrap();
        let clock = CameraClock {
            zone: Africa__Lagos,
            deployments: Some((&table, station)),
            camera: Some(camera),
        };
        let offset = hours.and_then(|hours| FixedOffset::east_opt(hours * 3600));
        clock
            .time(local.parse().unwrap(), offset)
            .unwrap()
            .to_rfc3339()
    }

    #[test]
    fn a_deployment_has_the_zone_and_the_error_of_the_clock() {
        for (station, camera, local, hours, expected) in [
            // Nairobi is three hours ahead of UTC, Lagos one.
            (
                "field-1",
                "c1",
                "2026-05-10T22:00:00",
                None,
                "2026-05-10T22:00:00+03:00",
            ),
            (
                "field-9",
                "c1",
                "2026-05-10T22:00:00",
                None,
                "2026-05-10T22:00:00+01:00",
            ),
            // Before the deployment the clock was in TIME_ZONE.
            (
                "field-1",
                "c1",
                "2026-04-10T22:00:00",
                None,
                "2026-04-10T22:00:00+01:00",
            ),
            // The deployment of the camera itself: its clock is an hour fast.
            (
                "field-1",
                "c7",
                "2026-05-10T22:00:00",
                None,
                "2026-05-10T21:00:00+01:00",
            ),
            (
                "field-1",
                "c7",
                "2026-05-10T22:00:00",
                Some(2),
                "2026-05-10T21:00:00+02:00",
            ),
            // A clock that is a day slow shows the day before the deployment.
            (
                "field-2",
                "c1",
                "2026-04-30T22:00:00",
                None,
                "2026-05-01T22:00:00+03:00",
            ),
        ] {
            assert_eq!(
                time(station, camera, local, hours),
                expected,
                "{station} {camera} {local}"
            );
        }
    }

    #[test]
    fn a_right_clock_has_the_zone_alone() {
        let table = Deployments::parse(TABLE.as_bytes()).unwrap();
        let clock = CameraClock {
            zone: Africa__Lagos,
            deployments: Some((&table, "field-2")),
            camera: None,
        };
        let at = clock
            .zone_time("2026-05-10T22:00:00".parse().unwrap())
            .unwrap();
        assert_eq!(at.to_rfc3339(), "2026-05-10T22:00:00+03:00");
        assert_eq!(clock.zone_at(at), Africa__Nairobi);
    }
}
