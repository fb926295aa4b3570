//! Reads a record from its item.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, NaiveDate, Utc};

use super::{
    Captured, MAX_REVISION, REVIEW_STATUS, REVIEWED_AT, REVIEWED_BY, REVIEWED_CLASS, REVISION,
    Record, Review,
};
use crate::{
    error::Error,
    ledger::{
        BY_NIGHT, CLASS_PREDICTION_ID, PREDICTION_DATE, TO_REVIEW,
        item::{self, Item},
    },
    model::Label,
    object::{ObjectId, ObjectVersion, VersionId},
    photo::Position,
    prediction::PhotoFile,
};

impl Record {
    /// Reads an item of the predictions table, which an older version of this program may have written.
    ///
    /// # Errors
    ///
    /// [`Error::RecordItem`] if an attribute is missing or malformed.
    pub(in crate::records) fn read(item: &Item) -> Result<Self, Error> {
        let reader = Reader(item);
        let class: Label = reader.label("ClassName")?;
        let id: ObjectId = reader.parsed(CLASS_PREDICTION_ID, |text| text.parse().ok())?;
        reader.expect(CLASS_PREDICTION_ID, &format!("{class}-{id}"))?;
        let captured = match item.contains_key(BY_NIGHT.partition_key) {
            true => Some(Captured {
                at: reader.parsed("CapturedAt", |text| DateTime::parse_from_rfc3339(text).ok())?,
                source: reader.parsed("CaptureSource", |text| text.parse().ok())?,
                doubt: reader.optional("CaptureDoubt", |text| text.parse().ok())?,
                night: reader.date(BY_NIGHT.partition_key)?,
            }),
            false => None,
        };
        if let Some(captured) = &captured {
            let key = item::captured_key(captured.at.to_utc(), id);
            reader.expect(BY_NIGHT.sort_key, &key)?;
        }
        if item.contains_key(TO_REVIEW.partition_key) {
            reader.expect(TO_REVIEW.partition_key, class.as_str())?;
            reader.text(TO_REVIEW.sort_key)?;
        }
        let review = match item.contains_key(REVIEWED_CLASS) {
            true => Some(Review {
                status: reader.parsed(REVIEW_STATUS, |text| text.parse().ok())?,
                class: reader.label(REVIEWED_CLASS)?,
                by: reader.text(REVIEWED_BY)?,
                at: reader.time(REVIEWED_AT)?,
            }),
            false => None,
        };
        let version = reader.optional("VersionId", |text| VersionId::new(text))?;
        let station = reader.optional("Station", |text| Some(text.to_owned()))?;
        Ok(Self {
            id,
            date: reader.date(PREDICTION_DATE)?,
            time: reader.parsed("CaptureTime", |text| text.parse().ok())?,
            count: reader.number("Count_ClassName")?,
            predicted: match item.contains_key("PredictedClass") {
                true => reader.label("PredictedClass")?,
                false => class.clone(),
            },
            class,
            probability: Some(reader.number("Probability")?)
                .filter(|probability| (0.0..=1.0).contains(probability))
                .ok_or_else(|| reader.invalid("Probability"))?,
            probabilities: reader.probabilities()?,
            model_version: reader.parsed("ModelVersion", model_version)?,
            predicted_at: reader.time("PredictedAt")?,
            object: ObjectVersion {
                bucket: reader.text("Bucket")?,
                key: reader.text("ObjectKey")?,
                version,
            },
            captured,
            station,
            camera: reader.optional("Camera", |text| Some(text.to_owned()))?,
            position: reader.position()?,
            file: reader.file()?,
            review,
            revision: match item.contains_key(REVISION) {
                true => Some(reader.number(REVISION)?)
                    .filter(|revision| *revision <= MAX_REVISION)
                    .ok_or_else(|| reader.invalid(REVISION))?,
                false => 0,
            },
            waits_for_review: item.contains_key(TO_REVIEW.partition_key),
        })
    }
}

/// The version of a model: hexadecimal digits. It is part of the names of counters' attributes.
fn model_version(text: &str) -> Option<String> {
    let is_version = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_version.then(|| text.to_owned())
}

/// Reads attributes, and names the record in errors.
struct Reader<'a>(&'a Item);

impl Reader<'_> {
    fn invalid(&self, attribute: &'static str) -> Error {
        let key = |name| match self.0.get(name) {
            Some(AttributeValue::S(text)) => text.as_str(),
            _ => "?",
        };
        Error::RecordItem {
            record: format!("{} {}", key(PREDICTION_DATE), key(CLASS_PREDICTION_ID)),
            attribute,
        }
    }

    fn text(&self, attribute: &'static str) -> Result<String, Error> {
        self.parsed(attribute, |text| Some(text.to_owned()))
    }

    /// Fails if the attribute is not `text`.
    fn expect(&self, attribute: &'static str, text: &str) -> Result<(), Error> {
        self.parsed(attribute, |found| (found == text).then_some(()))
    }

    /// A date in the form in which it is a key: 2026-05-01.
    fn date(&self, attribute: &'static str) -> Result<NaiveDate, Error> {
        self.parsed(attribute, |text| {
            let date = text.parse::<NaiveDate>().ok();
            date.filter(|date| date.to_string() == text)
        })
    }

    fn label(&self, attribute: &'static str) -> Result<Label, Error> {
        self.parsed(attribute, |text| Label::try_from(text.to_owned()).ok())
    }

    fn time(&self, attribute: &'static str) -> Result<DateTime<Utc>, Error> {
        self.parsed(attribute, |text| text.parse().ok())
    }

    fn parsed<T>(
        &self,
        attribute: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let read = self.optional(attribute, parse)?;
        read.ok_or_else(|| self.invalid(attribute))
    }

    /// `None` if the attribute is absent.
    fn optional<T>(
        &self,
        attribute: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.0.get(attribute) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => match parse(text) {
                Some(value) => Ok(Some(value)),
                None => Err(self.invalid(attribute)),
            },
            Some(_) => Err(self.invalid(attribute)),
        }
    }

    fn number<T: std::str::FromStr>(&self, attribute: &'static str) -> Result<T, Error> {
        match self.0.get(attribute) {
            Some(AttributeValue::N(text)) => text.parse().map_err(|_| self.invalid(attribute)),
            _ => Err(self.invalid(attribute)),
        }
    }

    fn probabilities(&self) -> Result<Vec<(Label, f32)>, Error> {
        const NAME: &str = "Probabilities";
        let Some(AttributeValue::M(map)) = self.0.get(NAME) else {
            return Err(self.invalid(NAME));
        };
        let mut all = Vec::with_capacity(map.len());
        for (label, probability) in map {
            let label = Label::try_from(label.clone()).map_err(|_| self.invalid(NAME))?;
            let probability = probability.as_n().ok().and_then(|text| text.parse().ok());
            let probability: f32 = probability.ok_or_else(|| self.invalid(NAME))?;
            all.push((label, probability));
        }
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(all)
    }

    fn position(&self) -> Result<Option<Position>, Error> {
        match self.0.contains_key("Latitude") {
            true => Ok(Some(Position {
                latitude: self.number("Latitude")?,
                longitude: self.number("Longitude")?,
            })),
            false => Ok(None),
        }
    }

    fn file(&self) -> Result<Option<PhotoFile>, Error> {
        if !self.0.contains_key("Sha256") {
            return Ok(None);
        }
        let mut sha256 = [0; 32];
        let digits = self.text("Sha256")?;
        hex::decode_to_slice(digits, &mut sha256).map_err(|_| self.invalid("Sha256"))?;
        Ok(Some(PhotoFile {
            width: self.number("Width")?,
            height: self.number("Height")?,
            bytes: self.number("Bytes")?,
            sha256,
        }))
    }
}
