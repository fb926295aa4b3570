//! Delivers again what the function gave up on.
//!
//! The failure queue of a deployed stack holds two kinds of messages: of direct events, what Lambda writes of an
//! event that failed three times, with the event inside; of the upload queue, messages that failed five times, as
//! S3 wrote them. The function is invoked with each, and a message is deleted only when every photo that it tells
//! of has its outcome. What was counted before is not counted again.

use std::{collections::HashSet, future::Future, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_sqs::types::{Message, QueueAttributeName};
use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::{
    error::{Source, chain},
    event::{self, Event},
    outcome::Report,
    response::{AnswerError, read_outcomes},
    stack::{self, Stack},
};

/// As many messages are worked on at a time as SQS hands out at once.
const BATCH: i32 = 10;
/// An empty answer after a long poll means an empty queue: SQS has asked all its servers.
const LONG_POLL: Duration = Duration::from_secs(3);
/// How long a message that is in hand is hidden from others: the longest invocation, three times.
const HIDDEN: Duration = Duration::from_secs(3 * 930);
/// The cause is not mended when this many messages in a row fail.
const MAX_FAILURES_IN_A_ROW: usize = 10;

/// The failure queue of a stack, and the function that can work on it.
pub struct Redelivery {
    queues: aws_sdk_sqs::Client,
    lambda: aws_sdk_lambda::Client,
    stack: Stack,
    region: String,
}

/// What became of one message.
#[derive(Debug)]
pub struct Redelivered {
    /// Its id.
    pub message_id: String,
    /// The outcomes of its photos, none if it asks for nothing: it is deleted. Or why it is kept.
    pub result: Result<Vec<Report>, Kept>,
}

/// Why a message stays in the failure queue.
#[derive(Debug, thiserror::Error)]
pub enum Kept {
    /// It tells of nothing that this function works on, and never will.
    #[error("{0}: nothing can be delivered, look at it and delete it by hand")]
    Unreadable(String),
    /// The function failed again.
    #[error("the function failed: {0}")]
    Function(String),
    /// The function could not be invoked.
    #[error("cannot invoke the function: {0}")]
    Invoke(String),
    /// The function's answer does not tell of each photo.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// It was worked on, but SQS did not delete it: it comes again, and does no harm.
    #[error("every photo has its outcome, but the message cannot be deleted: {0}")]
    Delete(String),
}

/// Why the queue was not emptied.
#[derive(Debug, thiserror::Error)]
pub enum RedeliverError {
    /// SQS refused or could not be reached.
    #[error("cannot {action} the queue {queue}")]
    Queue {
        /// As in "receive from".
        action: &'static str,
        /// URL of the queue.
        queue: String,
        /// What the client said.
        source: Source,
    },
    /// SQS handed out a message that cannot be named.
    #[error("a message of the queue {0} has no id, receipt handle or body")]
    Message(String),
    /// Everything fails.
    #[error(
        "{MAX_FAILURES_IN_A_ROW} messages in a row failed, so the rest was not tried: mend the cause, then try again. \
         The last one: {0}"
    )]
    NotMended(String),
    /// What became of a message could not be shown.
    #[error("cannot show what became of a message")]
    Show(#[from] std::io::Error),
}

/// A message in hand.
struct InHand {
    id: String,
    receipt: String,
    body: String,
}

impl Redelivery {
    /// Works on the failure queue of `stack`, in `region`.
    pub fn new(stack: Stack, region: String, sdk: &SdkConfig) -> Self {
        Self {
            queues: aws_sdk_sqs::Client::new(sdk),
            lambda: stack::lambda(sdk),
            stack,
            region,
        }
    }

    /// How many messages wait in the failure queue, about.
    ///
    /// # Errors
    ///
    /// Where SQS cannot be asked.
    pub async fn failed(&self) -> Result<u64, RedeliverError> {
        self.waiting(&self.stack.failure_queue).await
    }

    /// How many photos wait in the upload queue, about.
    ///
    /// # Errors
    ///
    /// Where SQS cannot be asked.
    pub async fn uploaded(&self) -> Result<u64, RedeliverError> {
        self.waiting(&self.stack.upload_queue).await
    }

    /// Works on each message once, until the queue has no other, and tells `show` what became of it. Messages
    /// that are kept can be received again afterwards.
    ///
    /// # Errors
    ///
    /// Where SQS cannot be asked, `show` fails, or one message after the other fails.
    pub async fn drain(
        &self,
        mut show: impl FnMut(&Redelivered) -> std::io::Result<()>,
    ) -> Result<(), RedeliverError> {
        let mut kept = Vec::new();
        let mut drained = self.drain_keeping(&mut show, &mut kept).await;
        for receipt in kept {
            drained = drained.and(self.hide(&receipt, Duration::ZERO).await);
        }
        drained
    }

    /// As [`drain`](Self::drain), but leaves the messages that it keeps hidden: `kept` are their receipts.
    async fn drain_keeping(
        &self,
        show: &mut impl FnMut(&Redelivered) -> std::io::Result<()>,
        kept: &mut Vec<String>,
    ) -> Result<(), RedeliverError> {
        let mut seen = HashSet::new();
        let mut failures = 0;
        loop {
            let messages = self.receive().await?;
            if messages.is_empty() {
                return Ok(());
            }
            // One that was kept, and is seen again because this takes longer than it is hidden.
            let (again, new): (Vec<_>, Vec<_>) = messages
                .into_iter()
                .partition(|message| seen.contains(&message.id));
            kept.extend(again.into_iter().map(|message| message.receipt));
            let mut done = stream::iter(new)
                .map(|message| self.redeliver(message))
                .buffer_unordered(BATCH as usize);
            let mut shown = Ok(());
            let mut last_failure = None;
            while let Some((redelivered, receipt)) = done.next().await {
                shown = shown.and(show(&redelivered));
                match redelivered.result {
                    Ok(_) => failures = 0,
                    Err(error) => {
                        seen.insert(redelivered.message_id);
                        kept.push(receipt);
                        // What cannot be read says nothing of the function.
                        if !matches!(error, Kept::Unreadable(_)) {
                            failures += 1;
                            last_failure = Some(error);
                        }
                    }
                }
            }
            shown?;
            if let Some(error) = last_failure
                && failures >= MAX_FAILURES_IN_A_ROW
            {
                return Err(RedeliverError::NotMended(error.to_string()));
            }
        }
    }

    /// Invokes the function with the event in `message`, and deletes the message once its photos have outcomes.
    async fn redeliver(&self, message: InHand) -> (Redelivered, String) {
        let InHand { id, receipt, body } = message;
        let mut result = self.invoke(&body).await;
        if result.is_ok()
            && let Err(error) = self.delete(&receipt).await
        {
            result = Err(Kept::Delete(error));
        }
        let redelivered = Redelivered {
            message_id: id,
            result,
        };
        (redelivered, receipt)
    }

    async fn invoke(&self, body: &str) -> Result<Vec<Report>, Kept> {
        let event = event_in(body).map_err(Kept::Unreadable)?;
        let photos = photos(&event, &self.region).map_err(Kept::Unreadable)?;
        if photos == 0 {
            return Ok(Vec::new());
        }
        let answer = self
            .lambda
            .invoke()
            .function_name(&self.stack.function)
            .payload(Blob::new(event.to_string()))
            .send()
            .await
            .map_err(|error| Kept::Invoke(chain(&error)))?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        match answer.function_error {
            Some(kind) => Err(Kept::Function(function_error(&payload).unwrap_or(kind))),
            None => Ok(read_outcomes(&payload, photos)?),
        }
    }

    async fn receive(&self) -> Result<Vec<InHand>, RedeliverError> {
        let queue = &self.stack.failure_queue;
        let received = self
            .queues
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(BATCH)
            .wait_time_seconds(LONG_POLL.as_secs() as i32)
            .visibility_timeout(HIDDEN.as_secs() as i32)
            .send();
        let received = queued("receive from", queue, received).await?;
        let messages = received.messages.unwrap_or_default().into_iter();
        let in_hand = |message: Message| {
            Some(InHand {
                id: message.message_id?,
                receipt: message.receipt_handle?,
                body: message.body?,
            })
        };
        messages
            .map(|message| in_hand(message).ok_or_else(|| RedeliverError::Message(queue.clone())))
            .collect()
    }

    async fn hide(&self, receipt: &str, time: Duration) -> Result<(), RedeliverError> {
        let queue = &self.stack.failure_queue;
        let change = self
            .queues
            .change_message_visibility()
            .queue_url(queue)
            .receipt_handle(receipt)
            .visibility_timeout(time.as_secs() as i32)
            .send();
        queued("give a message back to", queue, change).await?;
        Ok(())
    }

    async fn delete(&self, receipt: &str) -> Result<(), String> {
        let delete = self.queues.delete_message();
        let delete = delete.queue_url(&self.stack.failure_queue);
        match delete.receipt_handle(receipt).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(chain(&error)),
        }
    }

    async fn waiting(&self, queue: &str) -> Result<u64, RedeliverError> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let attributes = self
            .queues
            .get_queue_attributes()
            .queue_url(queue)
            .attribute_names(name.clone())
            .send();
        let attributes = queued("ask", queue, attributes).await?.attributes;
        let number = attributes.and_then(|attributes| attributes.get(&name)?.parse().ok());
        number.ok_or_else(|| RedeliverError::Queue {
            action: "ask",
            queue: queue.to_owned(),
            source: "the answer has no ApproximateNumberOfMessages".into(),
        })
    }
}

async fn queued<T, E: std::error::Error + Send + Sync + 'static>(
    action: &'static str,
    queue: &str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, RedeliverError> {
    call.await.map_err(|error| RedeliverError::Queue {
        action,
        queue: queue.to_owned(),
        source: error.into(),
    })
}

/// The event in a message's `body`: inside what a Lambda destination writes, or the body itself.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>
fn event_in(body: &str) -> Result<Value, String> {
    let mut body: Value =
        serde_json::from_str(body).map_err(|error| format!("the message is not JSON: {error}"))?;
    Ok(match body.get_mut("requestPayload") {
        Some(event) => event.take(),
        None => body,
    })
}

/// How many photos `event` tells of.
fn photos(event: &Value, region: &str) -> Result<usize, String> {
    let Event { source, parts } = event::parse(event, region);
    if source != event::Source::Notification {
        return Err("the event is of a queue or a batch job, which repeat it themselves".into());
    }
    let mut photos = 0;
    for object in parts.into_iter().flat_map(|part| part.objects) {
        object.map_err(|error| chain(&error))?;
        photos += 1;
    }
    Ok(photos)
}

/// `errorMessage` of the function's error.
fn function_error(payload: &[u8]) -> Option<String> {
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
        photos(&event_in(body)?, "eu-west-1")
    }

    #[test]
    fn both_deliveries_hold_the_event() {
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
    fn what_asks_for_nothing_has_no_photos() {
        let test = json!({"Event": "s3:TestEvent", "Bucket": "moths"});
        assert_eq!(photos_in(&test.to_string()), Ok(0));
    }

    #[test]
    fn what_nobody_can_read_is_named() {
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
    fn the_functions_error_is_its_message() {
        let payload = br#"{"errorType": "Retryable", "errorMessage": "1 of 1 records failed"}"#;
        assert_eq!(function_error(payload).unwrap(), "1 of 1 records failed");
        assert_eq!(function_error(b""), None);
    }
}
