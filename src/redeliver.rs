//! Redelivers the events that the function gave up on.
//!
//! A stack's failure queue holds two kinds of messages: failure records that Lambda writes for asynchronous events
//! after three attempts, with the event in `requestPayload`; and events that the upload queue dead-lettered after
//! five receives. [`Redelivery`] invokes the function with each event. It deletes a message only when every photo
//! in it has an outcome. The function counts no photo twice.

mod message;

use std::{collections::HashMap, future::Future, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_sqs::types::{Message, QueueAttributeName};
use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use crate::{
    aws::stack::{self, Stack},
    error::{Source, chain},
    respond::{AnswerError, Report, read_outcomes},
};
use message::{Unreadable, event_in, function_error, photos};

/// Messages in flight at a time: the maximum of one `ReceiveMessage`.
const BATCH: i32 = 10;
/// Long-poll wait. A long poll asks every SQS server, so an empty response means that no message is visible.
const LONG_POLL: Duration = Duration::from_secs(3);
/// Visibility timeout of a message in flight: it outlasts the longest invocation.
const HIDDEN: Duration = stack::INVOKE_LIMIT;
/// [`Redelivery::drain`] gives up after this many failures in a row.
const MAX_FAILURES_IN_A_ROW: usize = 10;

/// The failure queue of a stack, and the function that can work on it.
pub(crate) struct Redelivery {
    queues: aws_sdk_sqs::Client,
    lambda: aws_sdk_lambda::Client,
    stack: Stack,
}

/// Result of one message.
#[derive(Debug)]
pub(crate) struct Redelivered {
    /// Message id.
    pub message_id: String,
    /// The outcomes of its photos, if the message is deleted; none if it names no photo. Or why it is kept.
    pub result: Result<Vec<Report>, Kept>,
}

/// Why a message stays in the failure queue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Kept {
    /// No record in it can be read, so a retry cannot help.
    #[error(
        "{0}: redeliver cannot deliver this message, so look at its body before you delete it by hand"
    )]
    Unreadable(#[from] Unreadable),
    /// The function failed again.
    #[error("the function failed: {0}")]
    Function(String),
    /// Lambda returned no payload.
    #[error("Lambda returned no answer of the function: try again")]
    NoAnswer,
    /// The function could not be invoked.
    #[error("cannot invoke the function: {0}")]
    Invoke(String),
    /// The function's answer does not have an outcome for each photo.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// Every photo has its outcome, but SQS did not delete the message. Another delivery does no harm.
    #[error("every photo has its outcome, but the message cannot be deleted: {0}")]
    Delete(String),
}

/// Why the queue could not be emptied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedeliverError {
    /// SQS refuses or cannot be reached.
    #[error("cannot {action} the queue {queue}")]
    Queue {
        /// The call, such as "receive from".
        action: &'static str,
        /// URL of the queue.
        queue: String,
        /// The client's error.
        source: Source,
    },
    /// SQS returned a message without id, receipt handle or body.
    #[error(
        "a message of the queue {0} has no id, receipt handle or body: look at it in the SQS console"
    )]
    Message(String),
    /// `MAX_FAILURES_IN_A_ROW` messages failed in a row.
    #[error(
        "{MAX_FAILURES_IN_A_ROW} messages in a row failed, so the others were not tried. Fix the cause of the last \
         failure, then run redeliver again: {0}"
    )]
    NotMended(String),
    /// Standard output failed.
    #[error("cannot print the result of a message")]
    Show(#[from] std::io::Error),
}

/// A message in flight.
struct InFlight {
    id: String,
    receipt: String,
    body: String,
}

impl Redelivery {
    /// Works on the failure queue of `stack`.
    pub(crate) fn new(stack: Stack, sdk: &SdkConfig) -> Self {
        Self {
            queues: aws_sdk_sqs::Client::new(sdk),
            lambda: stack::lambda(sdk),
            stack,
        }
    }

    /// Messages in the failure queue, in flight or not.
    ///
    /// # Errors
    ///
    /// If SQS refuses or cannot be reached.
    pub(crate) async fn failed(&self) -> Result<u64, RedeliverError> {
        self.waiting(&self.stack.failure_queue).await
    }

    /// Messages in the upload queue, in flight or not.
    ///
    /// # Errors
    ///
    /// If SQS refuses or cannot be reached.
    pub(crate) async fn uploaded(&self) -> Result<u64, RedeliverError> {
        self.waiting(&self.stack.upload_queue).await
    }

    /// Redelivers each message once, until the queue has no other or `stopped` is true, and passes each result to
    /// `show`. Messages in flight are finished. Messages that are kept become visible again afterwards.
    ///
    /// # Errors
    ///
    /// If SQS refuses or cannot be reached, `show` fails, or too many messages in a row fail.
    pub(crate) async fn drain(
        &self,
        stopped: &watch::Receiver<bool>,
        mut show: impl FnMut(&Redelivered) -> std::io::Result<()>,
    ) -> Result<(), RedeliverError> {
        let mut kept = HashMap::new();
        let mut drained = self.drain_keeping(stopped, &mut show, &mut kept).await;
        for receipt in kept.values() {
            drained = drained.and(self.give_back(receipt).await);
        }
        drained
    }

    /// Like [`drain`](Self::drain), but the kept messages stay hidden. `kept` gets the newest receipt handle of each
    /// message id.
    async fn drain_keeping(
        &self,
        stopped: &watch::Receiver<bool>,
        show: &mut impl FnMut(&Redelivered) -> std::io::Result<()>,
        kept: &mut HashMap<String, String>,
    ) -> Result<(), RedeliverError> {
        let mut failures = 0;
        while !*stopped.borrow() {
            let messages = self.receive().await?;
            // A kept message is received again if the drain outlasts its visibility timeout.
            let (again, new): (Vec<_>, Vec<_>) = messages
                .into_iter()
                .partition(|message| kept.contains_key(&message.id));
            kept.extend(
                again
                    .into_iter()
                    .map(|message| (message.id, message.receipt)),
            );
            if new.is_empty() {
                return Ok(());
            }
            let mut done = stream::iter(new)
                .map(|message| self.redeliver(message))
                .buffer_unordered(BATCH as usize);
            let mut shown = Ok(());
            let mut last_failure = None;
            while let Some((redelivered, receipt)) = done.next().await {
                shown = shown.and(show(&redelivered));
                match redelivered.result {
                    // A message without photos tells nothing about the function.
                    Ok(reports) if reports.is_empty() => {}
                    Ok(_) => failures = 0,
                    Err(error) => {
                        kept.insert(redelivered.message_id, receipt);
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
        Ok(())
    }

    /// Invokes the function with the event in `message`, and deletes the message once its photos have outcomes.
    async fn redeliver(&self, message: InFlight) -> (Redelivered, String) {
        let InFlight { id, receipt, body } = message;
        let mut result = self.invoke(&body).await;
        if result.is_ok()
            && let Err(error) = self.delete(&receipt).await
        {
            result = Err(error);
        }
        let redelivered = Redelivered {
            message_id: id,
            result,
        };
        (redelivered, receipt)
    }

    async fn invoke(&self, body: &str) -> Result<Vec<Report>, Kept> {
        let event = event_in(body)?;
        let photos = photos(&event)?;
        if photos.is_empty() {
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
        let payload = answer.payload.map(Blob::into_inner);
        if let Some(kind) = answer.function_error {
            let message = payload.as_deref().and_then(function_error);
            return Err(Kept::Function(message.unwrap_or(kind)));
        }
        let payload = payload.ok_or(Kept::NoAnswer)?;
        let answer = serde_json::from_slice(&payload).map_err(AnswerError::from)?;
        Ok(read_outcomes(&answer, &photos)?)
    }

    async fn receive(&self) -> Result<Vec<InFlight>, RedeliverError> {
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
        // SQS omits the list if it has no message.
        let messages = received.messages.unwrap_or_default().into_iter();
        let in_flight = |message: Message| {
            Some(InFlight {
                id: message.message_id?,
                receipt: message.receipt_handle?,
                body: message.body?,
            })
        };
        messages
            .map(|message| in_flight(message).ok_or_else(|| RedeliverError::Message(queue.clone())))
            .collect()
    }

    /// Makes a kept message visible again.
    async fn give_back(&self, receipt: &str) -> Result<(), RedeliverError> {
        let queue = &self.stack.failure_queue;
        let change = self
            .queues
            .change_message_visibility()
            .queue_url(queue)
            .receipt_handle(receipt)
            .visibility_timeout(0)
            .send();
        match change.await {
            // The message is visible already.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_message_not_inflight()) =>
            {
                Ok(())
            }
            changed => queued("give a message back to", queue, async { changed })
                .await
                .map(drop),
        }
    }

    async fn delete(&self, receipt: &str) -> Result<(), Kept> {
        let delete = self.queues.delete_message();
        let delete = delete.queue_url(&self.stack.failure_queue);
        match delete.receipt_handle(receipt).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Kept::Delete(chain(&error))),
        }
    }

    /// Messages in `queue`: visible, in flight and delayed.
    async fn waiting(&self, queue: &str) -> Result<u64, RedeliverError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let request = self.queues.get_queue_attributes().queue_url(queue);
        let request = request.set_attribute_names(Some(names.to_vec()));
        let answer = queued("ask", queue, request.send()).await?;
        let number = |name: &QueueAttributeName| -> Option<u64> {
            answer.attributes.as_ref()?.get(name)?.parse().ok()
        };
        let numbers: Option<Vec<u64>> = names.iter().map(number).collect();
        let numbers = numbers.ok_or_else(|| RedeliverError::Queue {
            action: "ask",
            queue: queue.to_owned(),
            source: "the answer lacks a number of messages".into(),
        })?;
        Ok(numbers.iter().sum())
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
