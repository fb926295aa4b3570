//! A run: its threads take the work items of one operation after the other.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    barrier::Barrier,
    context::Context,
    direct,
    memory_bound::{self, Pooling},
    plan::{Plan, winograd_items},
    pooling::Reduction,
    winograd,
};
use crate::program::{Clamp, FeatureMap, Operation, Window};

/// An operation, and how far it is.
pub(super) struct Task<'a> {
    operation: &'a Operation,
    plan: &'a Plan,
    /// The next work item.
    next: AtomicUsize,
}

impl<'a> Task<'a> {
    /// An operation of which no work item was taken.
    pub(super) fn new(operation: &'a Operation, plan: &'a Plan) -> Self {
        Self {
            operation,
            plan,
            next: AtomicUsize::new(0),
        }
    }
}

/// One run of a program.
pub(super) struct Run<'a> {
    pub(super) context: Context<'a>,
    pub(super) tasks: Vec<Task<'a>>,
    pub(super) barrier: Barrier,
}

impl Run<'_> {
    /// Takes part in the run as one of its threads, with a workspace of its own.
    ///
    /// # Panics
    ///
    /// If another thread of the run panicked.
    ///
    /// # Safety
    ///
    /// The program was verified and the context is as its fields say. The run has as many threads as its barrier, and
    /// no other thread accesses the workspace, which has room for every operation.
    pub(super) unsafe fn work(&self, workspace: *mut f32) {
        let guard = self.barrier.break_on_unwind();
        for task in &self.tasks {
            let items = match (task.operation, task.plan) {
                (Operation::Winograd(convolution), Plan::Winograd) => {
                    winograd_items(convolution, self.context.threads)
                }
                (_, Plan::Direct(plan)) => plan.items,
                (_, Plan::Items(items)) => *items,
                (_, Plan::Winograd) => unreachable!("`Plan::new` made it for another operation"),
            };
            loop {
                let item = task.next.fetch_add(1, Ordering::Relaxed);
                if item >= items {
                    break;
                }
                // SAFETY: Verified: by the caller. Disjoint: `fetch_add` gives this work item to this thread only.
                // Ordered: the barrier below.
                unsafe { work_item(&self.context, task, item, workspace) };
            }
            self.barrier.wait();
        }
        drop(guard);
    }
}

/// Computes one work item.
///
/// # Safety
///
/// The task's operation was verified, `item` is a work item of it that no other thread works on, all earlier
/// operations are finished, and no other thread accesses the workspace, which has room for the operation.
unsafe fn work_item(context: &Context, task: &Task, item: usize, workspace: *mut f32) {
    // SAFETY: the caller ensures what each of these functions requires of the operation and the work item.
    unsafe {
        match task.operation {
            Operation::Load {
                input,
                layout,
                channels,
                output,
            } => {
                let tensor = context.inputs[*input];
                memory_bound::load(context, tensor, *layout, *channels, output, item);
            }
            Operation::Direct(convolution) => match task.plan {
                Plan::Direct(plan) => direct::rows(context, convolution, plan, item),
                _ => unreachable!("`Plan::new` made it for another operation"),
            },
            Operation::Winograd(convolution) => {
                winograd::tiles(context, convolution, item, workspace);
            }
            Operation::MaxPool {
                input,
                output,
                window,
                clamp,
            } => {
                let pooling = Pooling {
                    input,
                    output,
                    window: *window,
                    reduction: Reduction::Max,
                    residual: None,
                    clamp: *clamp,
                };
                memory_bound::pool(context, &pooling, item);
            }
            Operation::GlobalAveragePool { input, output } => {
                let pooling = Pooling {
                    input,
                    output,
                    window: inner_window(input, [input.height, input.width]),
                    reduction: Reduction::Sum(1.0 / (input.height * input.width) as f32),
                    residual: None,
                    clamp: Clamp::NONE,
                };
                memory_bound::pool(context, &pooling, item);
            }
            Operation::Add {
                input,
                residual,
                output,
                clamp,
            } => {
                let pooling = Pooling {
                    input,
                    output,
                    window: inner_window(input, [1, 1]),
                    reduction: Reduction::Sum(1.0),
                    residual: Some(residual),
                    clamp: *clamp,
                };
                memory_bound::pool(context, &pooling, item);
            }
            Operation::Softmax {
                input,
                channels,
                output,
            } => memory_bound::softmax(context, input, *channels, output),
            Operation::Store { input, output, .. } => {
                memory_bound::store(context, input, context.outputs[*output], item);
            }
        }
    }
}

/// Windows with stride 1 that do not reach into the halo.
fn inner_window(input: &FeatureMap, kernel: [usize; 2]) -> Window {
    Window {
        kernel,
        stride: [1, 1],
        origin: [input.halo.top, input.halo.left],
    }
}
