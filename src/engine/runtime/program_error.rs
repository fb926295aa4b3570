//! Why a program is refused.

use crate::isa::Isa;

/// Why a program cannot run. None of these is worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// The CPU does not have the instruction set.
    #[error("this CPU has no {0}: use a narrower instruction set")]
    MissingIsa(Isa),
    /// The program and its weights do not belong together.
    #[error("the program has {expected} floats of weights, but {actual} are there")]
    Weights {
        /// Floats that the program says.
        expected: usize,
        /// Floats that there are.
        actual: usize,
    },
    /// An arena or a workspace larger than any model needs, or than the program's own feature maps.
    #[error("the program asks for {0} floats of memory, which is more than it needs")]
    Memory(usize),
    /// An input or output tensor larger than any model's.
    #[error("a tensor of the shape {0:?} is too large")]
    Tensor(Vec<usize>),
    /// A step that is not sound.
    #[error("step {step}, a {kind}: `{field}`: {fault}")]
    Invalid {
        /// Number of the step.
        step: usize,
        /// Kind of the step.
        kind: &'static str,
        /// Field of the step that is wrong.
        field: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
    /// An input tensor that is not loaded once, or an output tensor that is not stored once.
    #[error("{what} {index} is copied {times} times instead of once")]
    Copies {
        /// `input` or `output`.
        what: &'static str,
        /// Index of the tensor.
        index: usize,
        /// Number of steps that load or store it.
        times: usize,
    },
}

/// What is wrong with a field of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A feature map with more blocks, rows or columns than any model has, or more lanes than a channel block.
    #[error("a feature map is too large")]
    LargeMap,
    /// A feature map without channels, rows or columns.
    #[error("a feature map is empty")]
    EmptyMap,
    /// A feature map that reaches beyond the arena.
    #[error("a feature map is outside the arena")]
    OutsideArena,
    /// An output that overlaps an input of the same step.
    #[error("the output overlaps an input")]
    Overlap,
    /// An input that no earlier step wrote, or that a later one overwrote.
    #[error("an input was not written before, or was overwritten since")]
    NotLive,
    /// A feature map whose lanes the step does not have a loop for.
    #[error("a feature map has the wrong number of lanes")]
    Lanes,
    /// Feature maps whose channel blocks do not match.
    #[error("the channel blocks of two feature maps do not match")]
    Blocks,
    /// Feature maps whose rows or columns do not match.
    #[error("the rows or columns of two feature maps do not match")]
    Pixels,
    /// A feature map of more than one pixel, for a step that reads or writes one.
    #[error("the feature map has more than one pixel")]
    OnePixel,
    /// More channels than the feature map has, or none.
    #[error("the number of channels does not match the feature map")]
    Channels,
    /// A tensor that the program does not have, or whose length does not match the feature map.
    #[error("the tensor does not match the feature map")]
    Tensor,
    /// A kernel size, stride or origin that is 0 or larger than any model's.
    #[error("the kernel size, stride or origin of the windows is out of range")]
    WindowRange,
    /// A window that reaches beyond its feature map.
    #[error("a window reaches beyond its feature map")]
    WindowOutside,
    /// An expansion with a residual or a gate, or whose output is not the depthwise convolution's input.
    #[error("the expansion does not fit its depthwise convolution")]
    Expansion,
    /// A residual that is too small for its stride.
    #[error("the residual is too small")]
    SmallResidual,
    /// Weights or biases that reach beyond the end of the weights.
    #[error("weights or biases are outside the weights of the program")]
    OutsideWeights,
    /// An output tile without a transform.
    #[error("output tiles have 2×2 or 4×4 pixels")]
    OutputTile,
    /// A lower bound above the upper bound, or NaN.
    #[error("the lower bound of the output is above the upper bound")]
    Activation,
}
