//! Error answers, spelled as the services spell them.

use serde_json::{Value, json};

use super::{fault::Fault, request::Request};

/// The error answer of `fault`, or `None` if the service answers such a call itself.
pub(super) fn refusal(fault: Fault, request: &Request) -> Option<Vec<u8>> {
    Some(match (fault, request.is_s3) {
        (Fault::ServerError, true) => s3("500 Internal Server Error", "InternalError"),
        (Fault::ServerError, false) => dynamodb("500 Internal Server Error", "InternalServerError"),
        (Fault::SlowDown, true) => s3("503 Slow Down", "SlowDown"),
        (Fault::SlowDown, false) => dynamodb("503 Service Unavailable", "ServiceUnavailable"),
        (Fault::Throttling, true) => s3("429 Too Many Requests", "ThrottlingException"),
        (Fault::Throttling, false) => dynamodb("400 Bad Request", "ThrottlingException"),
        (Fault::Conflict, false) if request.operation == "TransactWriteItems" => {
            cancelled_transaction(request)
        }
        (Fault::Conflict, false) => dynamodb("400 Bad Request", "TransactionConflictException"),
        (Fault::Unprocessed, false) => unprocessed(request),
        _ => return None,
    })
}

fn s3(status: &str, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>injected</Message></Error>"
    );
    http(status, "application/xml", &body)
}

fn dynamodb(status: &str, code: &str) -> Vec<u8> {
    http(
        status,
        "application/x-amz-json-1.0",
        &error(code).to_string(),
    )
}

fn error(code: &str) -> Value {
    json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "injected"})
}

/// A transaction whose last item another transaction holds.
fn cancelled_transaction(request: &Request) -> Vec<u8> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let items = body["TransactItems"].as_array().unwrap().len();
    let mut reasons = vec![json!({"Code": "None"}); items];
    reasons[items - 1] =
        json!({"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"});
    let mut error = error("TransactionCanceledException");
    error["CancellationReasons"] = json!(reasons);
    http(
        "400 Bad Request",
        "application/x-amz-json-1.0",
        &error.to_string(),
    )
}

/// A batch read that had no capacity for any of its keys.
fn unprocessed(request: &Request) -> Vec<u8> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let answer = json!({"Responses": {}, "UnprocessedKeys": body["RequestItems"]});
    http("200 OK", "application/x-amz-json-1.0", &answer.to_string())
}

fn http(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
