//! The ways in which a call fails.

/// A way in which a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection breaks before the service sees the call.
    DropBefore,
    /// The connection breaks after the service did its work, before the answer.
    DropAfter,
    /// The answer comes after the client's timeout.
    Delay,
    /// 500 InternalError.
    ServerError,
    /// 503 SlowDown.
    SlowDown,
    /// 400 ThrottlingException.
    Throttling,
    /// Another transaction holds the item.
    Conflict,
    /// A batch read leaves all its keys unprocessed.
    Unprocessed,
    /// The answer breaks off in the middle of the body.
    Truncate,
    /// One byte of the answer's body is changed.
    Corrupt,
    /// The function's processes are killed before the service sees the call.
    KillBefore,
    /// The function's processes are killed after the service did its work, before the answer.
    KillAfter,
    /// The function's processes are killed after the answer.
    KillAnswered,
}

impl Fault {
    /// The faults that leave the function alive.
    pub(crate) const WIRE: [Fault; 10] = [
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::Delay,
        Fault::ServerError,
        Fault::SlowDown,
        Fault::Throttling,
        Fault::Conflict,
        Fault::Unprocessed,
        Fault::Truncate,
        Fault::Corrupt,
    ];

    /// The faults that kill the function.
    pub(crate) const KILLS: [Fault; 3] = [Fault::KillBefore, Fault::KillAfter, Fault::KillAnswered];

    /// Whether a call of `operation` can fail so.
    pub(crate) fn happens_to(self, operation: &str) -> bool {
        match self {
            Fault::Conflict => matches!(operation, "TransactWriteItems" | "PutItem"),
            Fault::Unprocessed => operation == "BatchGetItem",
            // A record has no checksum: TLS keeps its bytes. The function reads none.
            Fault::Corrupt => !matches!(operation, "GetItem" | "Query" | "Scan"),
            _ => true,
        }
    }
}
