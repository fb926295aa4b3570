//! Messages of the failure queue, and errors of the function.

use serde_json::Value;

use crate::{
    error::chain,
    event::{self, Event},
    object::ObjectVersion,
};

/// The event in a message's `body`: the `requestPayload` of a Lambda failure record, or the body itself.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>
pub(super) fn event_in(body: &str) -> Result<Value, String> {
    let mut body: Value =
        serde_json::from_str(body).map_err(|error| format!("the message is not JSON: {error}"))?;
    Ok(match body.get_mut("requestPayload") {
        Some(event) => event.take(),
        None => body,
    })
}

/// The photos of `event`, if at least one of its records can be read. The function then counts those, and fails
/// because of the others, so that the message is kept.
pub(super) fn photos(event: &Value) -> Result<Vec<ObjectVersion>, String> {
    // Only events of batch jobs lack the region, and these are refused here.
    let Event { source, parts } = event::parse(event, "");
    if source != event::Source::Notification {
        return Err("the event is of a queue or a batch job, which repeat it themselves".into());
    }
    let (mut photos, mut malformed) = (Vec::new(), None);
    for object in parts.into_iter().flat_map(|part| part.records) {
        match object {
            Ok(created) => photos.push(created.object),
            Err(error) => malformed = Some(error),
        }
    }
    match malformed {
        Some(error) if photos.is_empty() => Err(chain(&error)),
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

    fn photos_in(body: &str) -> Result<usize, String> {
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
        assert_eq!(event_in(&direct.to_string()), Ok(s3_event()));
        assert_eq!(event_in(&s3_event().to_string()), Ok(s3_event()));
        assert_eq!(photos_in(&direct.to_string()), Ok(1));
        let topic = json!({"TopicArn": "arn", "Message": s3_event().to_string()});
        assert_eq!(photos_in(&topic.to_string()), Ok(1));
    }

    #[test]
    fn a_test_event_has_no_photos() {
        let test = json!({"Event": "s3:TestEvent", "Bucket": "moths"});
        assert_eq!(photos_in(&test.to_string()), Ok(0));
    }

    #[test]
    fn a_malformed_record_does_not_affect_the_others() {
        let mut event = s3_event();
        let bad = json!({"eventName": "ObjectCreated:Put"});
        event["Records"].as_array_mut().unwrap().push(bad);
        assert_eq!(photos_in(&event.to_string()), Ok(1));
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
            let error = photos_in(body).unwrap_err();
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
