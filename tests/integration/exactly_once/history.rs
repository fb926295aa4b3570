//! Random histories of deliveries, faults and kills.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any},
    prop_oneof,
    sample::select,
};

use crate::support::{photo::CLASSES, proxy::Fault};

/// The events of a fresh stack.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) processes: usize,
    /// The class of each object, or `None` if it is no photo.
    pub(super) objects: Vec<Option<&'static str>>,
    pub(super) steps: Vec<Step>,
}

/// One step of a history.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Objects, by number, are delivered in an event each, or as messages of one SQS event.
    Deliver { objects: Vec<usize>, queue: bool },
    /// The next `count` calls of an operation fail.
    Fault {
        operation: &'static str,
        fault: Fault,
        count: usize,
    },
    /// One call in `calls` fails from now on.
    Chance { calls: u64, seed: u64 },
    /// A process is killed.
    Kill(usize),
    /// The next step waits for the end of all deliveries.
    Settle,
}

const OPERATIONS: [&str; 4] = ["BatchGetItem", "GetObject", "TransactWriteItems", "PutItem"];

/// The faults that leave the function alive and take no time.
pub(super) fn quick_wire_faults() -> Vec<Fault> {
    let mut faults = Fault::WIRE.to_vec();
    faults.retain(|fault| *fault != Fault::Delay);
    faults
}

pub(super) fn any_history() -> impl Strategy<Value = History> {
    let class = prop_oneof![
        1 => Just(None),
        6 => select(&CLASSES[..]).prop_map(Some),
    ];
    (1..5usize, vec(class, 1..50), vec(any_step(), 1..30)).prop_map(
        |(processes, objects, steps)| History {
            processes,
            objects,
            steps,
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let faults = [quick_wire_faults(), Fault::KILLS.to_vec()].concat();
    let fault = (select(&OPERATIONS[..]), select(faults), 1..5usize);
    prop_oneof![
        8 => (vec(any::<usize>(), 1..12), any::<bool>())
            .prop_map(|(objects, queue)| Step::Deliver { objects, queue }),
        4 => fault
            .prop_filter("the operation fails so", |(operation, fault, _)| fault.happens_to(operation))
            .prop_map(|(operation, fault, count)| Step::Fault { operation, fault, count }),
        1 => (4..40u64, any::<u64>()).prop_map(|(calls, seed)| Step::Chance { calls, seed }),
        2 => any::<usize>().prop_map(Step::Kill),
        1 => Just(Step::Settle),
    ]
}
