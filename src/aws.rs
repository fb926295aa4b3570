//! The SDK's clients, with a time limit on every call.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls;

/// A connection inside a region takes milliseconds; one that takes seconds is lost.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Until the response's head has come. DynamoDB and S3 answer in tens of milliseconds; S3 may take
/// seconds under load. The body of an object has the SDK's own guard against stalls.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Three attempts and their back-off.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(18);

/// Loads region, credentials and endpoints from the environment.
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

/// A time limit on every call.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// Whether the same call may succeed later: throttling, a server error, a timeout, a lost
/// connection, an answer that cannot be read. Where it is true of a write, the write may have been done all the same.
pub fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            true
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            // An answer that was garbled on its way may be a success, or have no code.
            !(300..500).contains(&status)
                || status == 429
                || service.err().code().is_none_or(is_throttling)
        }
        _ => false,
    }
}

/// Codes that come with another status than 5xx or 429.
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
