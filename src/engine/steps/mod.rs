//! The steps of a program. One file per kind has its description in a compiled file, its planning from a graph node,
//! its verification, its preparation for a CPU, and its work items.
//!
//! A new kind of step is a file here, a variant of [`Step`], and an arm in each of `name`, `kind` and `plan`.

mod add;
mod affine;
mod depthwise;
mod direct;
mod expanded_depthwise;
mod global_pool;
mod load;
mod multiply;
mod pool;
mod rows;
mod softmax;
mod store;
mod tiles;
pub(crate) mod verify;
mod winograd;

use serde::{Deserialize, Serialize};

use self::verify::{Checked, Verifier};
pub use self::{
    add::Add, affine::Affine, depthwise::Depthwise, direct::Direct,
    expanded_depthwise::ExpandedDepthwise, global_pool::GlobalPool, load::Load, multiply::Multiply,
    pool::Pool, softmax::Softmax, store::Store, winograd::Winograd,
};
use crate::{
    graph::{Graph, Node, NodeId, Op},
    kernels::Kernels,
    plan::Planner,
    runtime::Context,
};

/// One step of a program.
#[expect(
    clippy::large_enum_variant,
    reason = "a program has hundreds of steps, which are read once"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Copies an input tensor into the arena.
    Load(Load),
    /// A convolution as a direct sum over its window.
    Direct(Direct),
    /// A 3×3 convolution by Winograd's algorithm.
    Winograd(Winograd),
    /// A depthwise convolution.
    Depthwise(Depthwise),
    /// A 1×1 convolution fused with the depthwise convolution that reads it.
    ExpandedDepthwise(ExpandedDepthwise),
    /// A pooling over windows.
    Pool(Pool),
    /// A pooling over all pixels.
    GlobalPool(GlobalPool),
    /// A function of each channel.
    Affine(Affine),
    /// Sum of two feature maps.
    Add(Add),
    /// Product of two feature maps.
    Multiply(Multiply),
    /// Softmax over the channels of one pixel.
    Softmax(Softmax),
    /// Copies a feature map out of the arena into an output tensor.
    Store(Store),
}

impl Step {
    /// Name of the kind.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Load(_) => "load",
            Self::Direct(_) => "direct convolution",
            Self::Winograd(_) => "Winograd convolution",
            Self::Depthwise(_) => "depthwise convolution",
            Self::ExpandedDepthwise(_) => "expanded depthwise convolution",
            Self::Pool(_) => "pool",
            Self::GlobalPool(_) => "global pool",
            Self::Affine(_) => "affine",
            Self::Add(_) => "add",
            Self::Multiply(_) => "multiply",
            Self::Softmax(_) => "softmax",
            Self::Store(_) => "store",
        }
    }

    /// Floating-point operations of a convolution; 0 for other steps. For Winograd's algorithm, those of the products.
    pub fn operations(&self) -> u64 {
        self.kind().operations() as u64
    }

    /// Channels and size of input and output of a convolution, for tables. Empty for other steps.
    pub fn size(&self) -> String {
        let (input, output, window) = match self {
            Self::Direct(step) => (step.input, step.output, Some(step.window)),
            Self::Winograd(step) => (step.input, step.output, None),
            Self::Depthwise(step) => (step.input, step.output, Some(step.window)),
            Self::ExpandedDepthwise(ExpandedDepthwise {
                expansion,
                depthwise,
            }) => (expansion.input, depthwise.output, Some(depthwise.window)),
            _ => return String::new(),
        };
        let kernel = window.map_or([3, 3], |window| window.kernel);
        let stride = window.map_or(1, |window| window.stride[0]);
        let [from, to] = [input, output].map(|map| map.blocks * map.lanes);
        let stride = if stride == 1 {
            String::new()
        } else {
            format!(" ÷{stride}")
        };
        format!(
            "{}×{}{stride} {from}→{to} at {}",
            kernel[0], kernel[1], output.height
        )
    }

    pub(crate) fn kind(&self) -> &dyn Kind {
        match self {
            Self::Load(step) => step,
            Self::Direct(step) => step,
            Self::Winograd(step) => step,
            Self::Depthwise(step) => step,
            Self::ExpandedDepthwise(step) => step,
            Self::Pool(step) => step,
            Self::GlobalPool(step) => step,
            Self::Affine(step) => step,
            Self::Add(step) => step,
            Self::Multiply(step) => step,
            Self::Softmax(step) => step,
            Self::Store(step) => step,
        }
    }

    /// Plans the step of a graph node. `None` for a concatenation, whose parts are written to their place in the whole,
    /// and for an expansion, which is a part of the depthwise convolution's step.
    pub(crate) fn plan(planner: &mut Planner, node: NodeId) -> Option<Self> {
        let graph: &Graph = planner.graph;
        let Node { op, .. } = &graph.nodes[node];
        Some(match op {
            Op::Input { .. } => Self::Load(Load::plan(planner, node)),
            Op::Convolution(_) if planner.depthwise_of(node).is_some() => return None,
            Op::Convolution(convolution) if convolution.is_depthwise => {
                let depthwise = Depthwise::plan(planner, node, convolution);
                match planner.expansion_of(node) {
                    Some((expansion, of)) => Self::ExpandedDepthwise(ExpandedDepthwise {
                        expansion: Direct::plan(planner, expansion, of),
                        depthwise,
                    }),
                    None => Self::Depthwise(depthwise),
                }
            }
            Op::Convolution(convolution) => match planner.winograd_tile(node) {
                Some(tile) => Self::Winograd(Winograd::plan(planner, node, convolution, tile)),
                None => Self::Direct(Direct::plan(planner, node, convolution)),
            },
            Op::Pool(pool) => Self::Pool(Pool::plan(planner, node, pool)),
            Op::GlobalPool(reduction) => {
                Self::GlobalPool(GlobalPool::plan(planner, node, *reduction))
            }
            Op::Affine(affine, activation) => {
                Self::Affine(Affine::plan(planner, node, Some(affine), *activation))
            }
            Op::Activate(activation) => {
                Self::Affine(Affine::plan(planner, node, None, *activation))
            }
            Op::Add(activation) => Self::Add(Add::plan(planner, node, *activation)),
            Op::Multiply => Self::Multiply(Multiply::plan(planner, node)),
            Op::Concat => return None,
            Op::Softmax => Self::Softmax(Softmax::plan(planner, node)),
        })
    }
}

/// What all kinds of steps do.
pub(crate) trait Kind {
    /// Checks that every address that follows from the step is valid, and registers what it reads and writes.
    fn verify(&self, verifier: &mut Verifier) -> Checked;

    /// See [`Step::operations`].
    fn operations(&self) -> usize {
        0
    }

    /// Prepares the verified step for the kernels of a CPU.
    fn prepare(&self, kernels: &'static Kernels) -> Box<dyn Work>;
}

/// A step that is prepared to run. Its phases run one after the other, and the work items of a phase at the same time.
pub(crate) trait Work: Send + Sync {
    /// Number of phases, at most [`MAX_PHASES`].
    fn phases(&self, _threads: usize) -> usize {
        1
    }

    /// Number of work items of a phase.
    fn items(&self, phase: usize, threads: usize) -> usize;

    /// Length of the workspace that each thread needs, in floats.
    fn workspace_len(&self) -> usize {
        0
    }

    /// Computes one work item.
    ///
    /// # Safety
    ///
    /// The step was verified. `item` is a work item of `phase` that no other thread works on; all earlier steps and
    /// phases are finished. No other thread accesses `workspace`, which is as long as [`Self::workspace_len`]; in a
    /// step of several phases, all threads share the workspace of the first.
    unsafe fn run(&self, context: &Context, phase: usize, item: usize, workspace: *mut f32);
}

/// Most phases of a step.
pub(crate) const MAX_PHASES: usize = 3;
