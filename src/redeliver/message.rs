//! Messages of the failure queue, and errors of the function.

use serde_json::Value;

use crate::{
    event::{self, Event, EventError},
    object::ObjectVersion,
};

/// Why no photo of a message can be redelivered. A retry does not help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The message is not JSON.
    #[error("the message is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The message has the event of a source that delivers it again by itself.
    #[error("the event is of a queue or a batch job, which repeat it themselves")]
    OtherSource,
    /// No record of the event can be understood.
    #[error(transparent)]
    Event(#[from] EventError),
}

/// The event in a message's `body`: the `requestPayload` of a Lambda failure record, or the body itself.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>
pub(super) fn event_in(body: &str) -> Result<Value, Unreadable> {
    let mut body: Value = serde_json::from_str(body)?;
    Ok(match body.get_mut("requestPayload") {
        Some(event) => event.take(),
        None => body,
    })
}

/// The photos of `event`, if at least one of its records can be read. The function then counts those, and fails
/// because of the others, so that the message is kept.
pub(super) fn photos(event: &Value) -> Result<Vec<ObjectVersion>, Unreadable> {
    // Only events of batch jobs lack the region, and these are refused here.
    let Event { source, parts } = event::parse(event, "");
    if source != event::Source::Notification {
        return Err(Unreadable::OtherSource);
    }
    let (mut photos, mut malformed) = (Vec::new(), None);
    for object in parts.into_iter().flat_map(|part| part.records) {
        match object {
            Ok(created) => photos.push(created.object),
            Err(error) => malformed = Some(error),
        }
    }
    match malformed {
        Some(error) if photos.is_empty() => Err(error.into()),
        _ => Ok(photos),
    }
}

/// `errorMessage` in the function's error.
pub(super) fn function_error(payload: &[u8]) -> Option<String> {
    let error: Value = serde_json::from_slice(payload).ok()?;
    Some(error.get("errorMessage")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn s3_event() -> Value {
        json!({"Records": [{
            "eventName": "ObjectCreated:Put",
            "awsRegion": "eu-west-1",
            "s3": {"bucket": {"name": "moths"}, "object": {"key": "a.jpg", "versionId": "v1"}},
        }]})
    }

    fn photos_in(body: &str) -> Result<usize, Unreadable> {
        Ok(photos(&event_in(body)?)?.len())
    }

    #[test]
    fn both_kinds_of_messages_contain_the_event() {
        let direct = json!({
            "version": "1.0",
            "requestContext": {"condition": "RetriesExhausted"},
            "requestPayload": s3_event(),
            "responsePayload": {"errorMessage": "1 of 1 records failed"},
        });
        assert_eq!(event_in(&direct.to_string()).unwrap(), s3_event());
        assert_eq!(event_in(&s3_event().to_string()).unwrap(), s3_event());
        assert_eq!(photos_in(&direct.to_string()).unwrap(), 1);
        let topic = json!({"TopicArn": "arn", "Message": s3_event().to_string()});
        assert_eq!(photos_in(&topic.to_string()).unwrap(), 1);
    }

    #[test]
    fn a_test_event_has_no_photos() {
        let test = json!({"Event": "s3:TestEvent", "Bucket": "moths"});
        assert_eq!(photos_in(&test.to_string()).unwrap(), 0);
    }

    #[test]
    fn a_malformed_record_does_not_affect_the_others() {
        let mut event = s3_event();
        let bad = json!({"eventName": "ObjectCreated:Put"});
        event["Records"].as_array_mut().unwrap().push(bad);
        assert_eq!(photos_in(&event.to_string()).unwrap(), 1);
    }

    #[test]
    fn an_unreadable_message_is_described() {
        for (body, said) in [
            ("oops", "not JSON"),
            (r#"{"requestPayload": {}}"#, "got an empty object"),
            (r#"{"requestPayload": null}"#, "got null"),
            (
                r#"{"Records": [{"eventName": "ObjectCreated:Put"}]}"#,
                "record 0",
            ),
        ] {
            let error = photos_in(body).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_error_of_the_function_is_its_message() {
        let payload = br#"{"errorType": "Retryable", "errorMessage": "1 of 1 records failed"}"#;
        assert_eq!(function_error(payload).unwrap(), "1 of 1 records failed");
        assert_eq!(function_error(b""), None);
    }
}
