//! AWS: the configuration of the SDK's clients, reads from S3, retries, and the outputs of a stack.

mod bucket;
mod retry;
#[cfg(feature = "stack")]
pub mod stack;

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls;

pub use bucket::{Bucket, Fetched, Read};
pub use retry::{Backoff, Deadline};

/// Time limit of a connection. Inside a region it takes milliseconds. One that takes seconds is treated as
/// lost.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit of one attempt until the response's headers. DynamoDB and S3 answer in tens of milliseconds; S3
/// may take seconds under load. The SDK's own stalled-stream protection guards the body of an object.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of three attempts with their back-off.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(18);

/// SDK configuration with region, credentials and endpoints from the environment.
pub async fn sdk_config() -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(retries())
        .timeout_config(timeouts())
        .load()
        .await
}

/// The SDK's standard retries: three attempts.
pub fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(3)
}

/// The time limits of a call.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// Whether the same call may succeed later: after throttling, a server error, a timeout, a lost connection,
/// or an unreadable response. The effect of a write that failed this way is unknown.
pub fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            true
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            // A corrupted response may have a success status, or no error code.
            !(300..500).contains(&status)
                || status == 429
                || service.err().code().is_none_or(is_throttling)
        }
        _ => false,
    }
}

/// Retryable error codes whose status is neither 5xx nor 429.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ThrottlingException"
            | "Throttling"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "TransactionInProgressException"
            | "TransactionConflictException"
            | "RequestTimeout"
            | "SlowDown"
    )
}
