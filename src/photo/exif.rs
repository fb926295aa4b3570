//! What EXIF says about the time, the place and the camera of a photo.
//!
//! The block comes from a stranger's file. It is capped, and an entry that cannot be read counts as absent: EXIF never
//! rejects a photo.

use chrono::{FixedOffset, NaiveDate, NaiveDateTime};
use exif::{Error, In, Reader, Tag, Value};

/// Longest EXIF block that is read, in bytes: the segment of a JPEG that has it is not longer. PNG and WebP could have
/// more.
const MAX_EXIF: usize = 64 << 10;

/// Longest text that is kept, in bytes.
const MAX_TEXT: usize = 100;

/// A position in degrees, WGS 84.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// −90 to 90; north is positive.
    pub latitude: f64,
    /// −180 to 180; east is positive.
    pub longitude: f64,
}

/// What EXIF says about a photo. A field is `None` if the entry is absent, blank or unreadable.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exif {
    /// DateTimeOriginal: what the camera's clock showed.
    pub taken: Option<NaiveDateTime>,
    /// OffsetTimeOriginal: the zone of `taken`.
    pub offset: Option<FixedOffset>,
    /// GPSLatitude and GPSLongitude.
    pub position: Option<Position>,
    /// BodySerialNumber; without it, Make and Model.
    pub camera: Option<String>,
    /// Whether there is a block, or an entry of it, that cannot be read.
    pub is_broken: bool,
}

impl Exif {
    /// Reads a TIFF structure, if the file has one.
    pub fn read(tiff: Option<&[u8]>) -> Self {
        let Some(tiff) = tiff else {
            return Self::default();
        };
        let broken = Self {
            is_broken: true,
            ..Self::default()
        };
        if tiff.len() > MAX_EXIF {
            return broken;
        }
        let mut is_broken = false;
        let read = Reader::new()
            .continue_on_error(true)
            .read_raw(tiff.to_vec())
            .or_else(|error| error.distill_partial_result(|_| is_broken = true));
        match read {
            Ok(block) => Self::of(&block, is_broken),
            Err(_) => broken,
        }
    }

    fn of(block: &exif::Exif, is_broken: bool) -> Self {
        let taken = ascii(block, Tag::DateTimeOriginal).map(date_time);
        Self {
            is_broken: is_broken || matches!(taken, Some(Err(()))),
            taken: taken.and_then(|taken| taken.ok().flatten()),
            offset: ascii(block, Tag::OffsetTimeOriginal).and_then(offset),
            position: position(block),
            camera: camera(block),
        }
    }
}

/// The first string of an entry, without the spaces and zeros with which cameras fill it up.
fn ascii(block: &exif::Exif, tag: Tag) -> Option<&[u8]> {
    match &block.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(strings) => {
            let text = strings.first()?.trim_ascii();
            (!text.is_empty()).then_some(text)
        }
        _ => None,
    }
}

/// A time without zone: `2026:05:01 23:58:00`. `Ok(None)` if it is blank or all zeros, as cameras without a clock write.
fn date_time(text: &[u8]) -> Result<Option<NaiveDateTime>, ()> {
    let time = match exif::DateTime::from_ascii(text) {
        Ok(time) => time,
        Err(Error::BlankValue(_)) => return Ok(None),
        Err(_) if text.iter().all(|byte| b" :".contains(byte)) => return Ok(None),
        Err(_) => return Err(()),
    };
    if [time.year, u16::from(time.month), u16::from(time.day)] == [0; 3] {
        return Ok(None);
    }
    let date = NaiveDate::from_ymd_opt(time.year.into(), time.month.into(), time.day.into());
    let [hour, minute, second] = [time.hour, time.minute, time.second].map(u32::from);
    let time = date.and_then(|date| date.and_hms_opt(hour, minute, second));
    time.map(Some).ok_or(())
}

/// An offset from UTC: `+01:00`.
fn offset(text: &[u8]) -> Option<FixedOffset> {
    let mut time = exif::DateTime::from_ascii(b"2000:01:01 00:00:00").ok()?;
    time.parse_offset(text).ok()?;
    FixedOffset::east_opt(i32::from(time.offset?) * 60)
}

fn position(block: &exif::Exif) -> Option<Position> {
    let degrees = |tag: Tag, reference: Tag, [plus, minus]: [&[u8]; 2], limit: f64| {
        let Value::Rational(parts) = &block.get_field(tag, In::PRIMARY)?.value else {
            return None;
        };
        let [degrees, minutes, seconds] = parts.first_chunk()?.map(|part| part.to_f64());
        let value = degrees + minutes / 60.0 + seconds / 3600.0;
        let reference = ascii(block, reference)?;
        let value = match reference {
            _ if reference == plus => value,
            _ if reference == minus => -value,
            _ => return None,
        };
        // A denominator of 0 gives NaN or ∞.
        (value.abs() <= limit).then_some(value)
    };
    let position = Position {
        latitude: degrees(Tag::GPSLatitude, Tag::GPSLatitudeRef, [b"N", b"S"], 90.0)?,
        longitude: degrees(Tag::GPSLongitude, Tag::GPSLongitudeRef, [b"E", b"W"], 180.0)?,
    };
    // Receivers without a fix write zeros. This place is in the Atlantic.
    (position
        != Position {
            latitude: 0.0,
            longitude: 0.0,
        })
    .then_some(position)
}

fn camera(block: &exif::Exif) -> Option<String> {
    let text = |tag| {
        let text = str::from_utf8(ascii(block, tag)?).ok()?;
        let is_plain = text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        is_plain.then(|| text.to_owned())
    };
    let make_and_model = || match (text(Tag::Make), text(Tag::Model)) {
        // Some makers repeat their name in the model.
        (Some(make), Some(model)) if model.starts_with(&make) => Some(model),
        (Some(make), Some(model)) if make.len() + model.len() < MAX_TEXT => {
            Some(format!("{make} {model}"))
        }
        (make, model) => model.or(make),
    };
    text(Tag::BodySerialNumber).or_else(make_and_model)
}

#[cfg(test)]
mod tests {
    use exif::{Field, Rational, experimental::Writer};

    use super::*;

    fn field(tag: Tag, value: Value) -> Field {
        Field {
            tag,
            ifd_num: In::PRIMARY,
            value,
        }
    }

    fn text(tag: Tag, text: &str) -> Field {
        field(tag, Value::Ascii(vec![text.into()]))
    }

    fn tiff(fields: &[Field]) -> Vec<u8> {
        let mut writer = Writer::new();
        for field in fields {
            writer.push_field(field);
        }
        let mut file = std::io::Cursor::new(Vec::new());
        writer.write(&mut file, true).unwrap();
        file.into_inner()
    }

    fn read(fields: &[Field]) -> Exif {
        Exif::read(Some(&tiff(fields)))
    }

    fn degrees(tag: Tag, parts: [(u32, u32); 3]) -> Field {
        let parts = parts.map(|(num, denom)| Rational { num, denom });
        field(tag, Value::Rational(parts.to_vec()))
    }

    #[test]
    fn time_and_offset_are_those_of_the_original() {
        let exif = read(&[
            text(Tag::DateTime, "2020:01:02 03:04:05"),
            text(Tag::OffsetTime, "-09:00"),
            text(Tag::DateTimeOriginal, "2026:05:01 23:58:00"),
            text(Tag::OffsetTimeOriginal, "+01:00"),
        ]);
        let taken = NaiveDate::from_ymd_opt(2026, 5, 1).unwrap();
        assert_eq!(exif.taken, taken.and_hms_opt(23, 58, 0));
        assert_eq!(exif.offset, FixedOffset::east_opt(3600));
        assert!(!exif.is_broken);
        // The offset of another time says nothing.
        let exif = read(&[
            text(Tag::DateTimeOriginal, "2026:05:01 23:58:00"),
            text(Tag::OffsetTime, "-09:00"),
        ]);
        assert!(exif.taken.is_some());
        assert_eq!(exif.offset, None);
    }

    #[test]
    fn a_time_may_be_blank_or_broken() {
        for (written, is_broken) in [
            ("    :  :     :  :  ", false),
            ("                   ", false),
            ("0000:00:00 00:00:00", false),
            (" ", false),
            ("2026:13:01 00:00:00", true),
            ("2026:02:30 00:00:00", true),
            ("2026:05:01 24:00:00", true),
            ("2026-05-01 23:58:00", true),
            ("yesterday", true),
        ] {
            let exif = read(&[text(Tag::DateTimeOriginal, written)]);
            assert_eq!(
                (exif.taken, exif.is_broken),
                (None, is_broken),
                "{written:?}"
            );
        }
    }

    #[test]
    fn a_position_is_in_degrees_with_a_sign() {
        let north = |parts| degrees(Tag::GPSLatitude, parts);
        let east = degrees(Tag::GPSLongitude, [(3, 1), (30, 1), (0, 1)]);
        let lagos = [(6, 1), (27, 1), (1440, 100)];
        let position = |latitude: [(u32, u32); 3], references: [&str; 2]| {
            let [ns, ew] = references;
            let refs = [
                text(Tag::GPSLatitudeRef, ns),
                text(Tag::GPSLongitudeRef, ew),
            ];
            read(&[&[north(latitude), east.clone()], &refs[..]].concat()).position
        };
        let found = position(lagos, ["S", "E"]).unwrap();
        assert!((found.latitude + 6.454).abs() < 1e-9, "{found:?}");
        assert!((found.longitude - 3.5).abs() < 1e-9, "{found:?}");
        assert_eq!(position(lagos, ["X", "E"]), None);
        assert_eq!(position([(91, 1), (0, 1), (0, 1)], ["N", "E"]), None);
        assert_eq!(position([(6, 0), (0, 1), (0, 1)], ["N", "E"]), None);
        assert_eq!(position([(0, 0), (0, 0), (0, 0)], ["N", "E"]), None);
        assert_eq!(read(&[north(lagos), east.clone()]).position, None);
    }

    #[test]
    fn a_camera_is_its_serial_number_or_make_and_model() {
        let make = text(Tag::Make, "Wingscapes\0\0");
        let model = text(Tag::Model, "WCB-00116  ");
        let serial = text(Tag::BodySerialNumber, "A 17");
        for (fields, camera) in [
            (vec![make.clone()], Some("Wingscapes")),
            (
                vec![make.clone(), model.clone()],
                Some("Wingscapes WCB-00116"),
            ),
            (vec![make.clone(), model, serial], Some("A 17")),
            (
                vec![make, text(Tag::Model, "Wingscapes 7")],
                Some("Wingscapes 7"),
            ),
            (vec![text(Tag::Model, "a\u{7}b")], None),
            (vec![text(Tag::Model, &"x".repeat(101))], None),
        ] {
            assert_eq!(read(&fields).camera.as_deref(), camera);
        }
    }

    #[test]
    fn a_broken_block_is_no_reason_to_fail() {
        assert_eq!(Exif::read(None), Exif::default());
        let whole = tiff(&[text(Tag::DateTimeOriginal, "2026:05:01 23:58:00")]);
        for end in 0..whole.len() {
            let exif = Exif::read(Some(&whole[..end]));
            assert!(exif.is_broken || exif.taken.is_some(), "{end}");
        }
        assert!(Exif::read(Some(&vec![b'I'; MAX_EXIF + 1])).is_broken);
        let mut too_long = whole;
        too_long.resize(MAX_EXIF + 1, 0);
        assert!(Exif::read(Some(&too_long)).is_broken);
    }
}
