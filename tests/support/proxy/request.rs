//! HTTP between a client and the service, as bytes.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

pub(super) struct Request {
    /// The operation's name in the API: GetObject, BatchGetItem, …
    pub(super) operation: String,
    pub(super) is_s3: bool,
    head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Reads a request, or returns `None` if the client closes the connection before its end.
    pub(super) async fn read(client: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = position(&bytes, END_OF_HEAD) {
                break end;
            }
            if client.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        };
        let body = bytes.split_off(head + END_OF_HEAD.len());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let header = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(": "));
            lines
                .find(|(header, _)| header.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        };
        // DynamoDB names the operation in a header, S3 by the method.
        let target = header("x-amz-target").and_then(|target| target.split_once('.'));
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        let operation = match target {
            Some((_, operation)) => operation.to_owned(),
            None if text.starts_with("GET ") => "GetObject".into(),
            None => text.split(' ').next().unwrap_or_default().to_owned(),
        };
        let mut request = Self {
            operation,
            is_s3: target.is_none(),
            head: bytes,
            body,
        };
        while request.body.len() < length {
            if client.read_buf(&mut request.body).await? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(request))
    }

    /// The key of a GetObject in path style, percent-encoded.
    pub(super) fn key(&self) -> Option<&str> {
        let head = std::str::from_utf8(&self.head).ok()?;
        let path = head.strip_prefix("GET /")?.split([' ', '?']).next()?;
        Some(path.split_once('/')?.1)
    }

    /// Asks DynamoDB what the call consumes, by table and index. The embedded DynamoDB checks no signature.
    pub(super) fn ask_for_capacity(&mut self) {
        let mut body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        body["ReturnConsumedCapacity"] = "INDEXES".into();
        self.body = body.to_string().into_bytes();
        let length = self.body.len().to_string();
        replace_header(&mut self.head, "content-length", &length);
    }

    /// Sends the request to `service`, and returns the whole answer.
    pub(super) async fn forward(&self, service: SocketAddr) -> io::Result<Vec<u8>> {
        let mut upstream = TcpStream::connect(service).await?;
        let end = self.head.len() - 2;
        upstream.write_all(&self.head[..end]).await?;
        upstream.write_all(b"Connection: close\r\n\r\n").await?;
        upstream.write_all(&self.body).await?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// Offset of the body in an HTTP message.
pub(super) fn body_start(message: &[u8]) -> usize {
    position(message, END_OF_HEAD).map_or(message.len(), |end| end + END_OF_HEAD.len())
}

/// Replaces the value of a header that `answer` has.
pub(super) fn replace_header(answer: &mut Vec<u8>, name: &str, value: &str) {
    let body = answer.split_off(body_start(answer));
    let head = String::from_utf8(std::mem::take(answer)).unwrap();
    let mut replaced = 0;
    for line in head.split_inclusive("\r\n") {
        match line.split_once(": ") {
            Some((header, _)) if header.eq_ignore_ascii_case(name) => {
                replaced += 1;
                answer.extend(format!("{header}: {value}\r\n").bytes());
            }
            _ => answer.extend(line.bytes()),
        }
    }
    assert_eq!(replaced, 1, "{name} in {head}");
    answer.extend(body);
}

fn position(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}
