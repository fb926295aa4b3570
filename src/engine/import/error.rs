//! Why a model is not imported.

use tract_onnx::prelude::TractError;

/// Why a model of tract is not a graph of the engine. None of these is worth a retry.
///
/// Each message is a noun phrase, for a sentence such as "the engine does not know …".
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An operator, or a form of it, that the engine does not know.
    #[error("{op} ({node})")]
    Unsupported {
        /// Name of the operator.
        op: String,
        /// Name of the node.
        node: String,
    },
    /// An output that is not a tensor of f32 with batch size 1 that the network computes.
    #[error("the output {node}, as it is not a tensor that the network computes")]
    Output {
        /// Name of the node.
        node: String,
    },
    /// An output whose shape depends on a symbol, such as the batch size.
    #[error("the shape of the output {node}, as it depends on a symbol")]
    SymbolicOutput {
        /// Name of the node.
        node: String,
    },
    /// An input that no output depends on.
    #[error("the input {node}, as no output depends on it")]
    UnreadInput {
        /// Name of the node.
        node: String,
    },
    /// tract finds no order of evaluation.
    #[error("the order of evaluation of this graph")]
    Order(#[source] TractError),
}
