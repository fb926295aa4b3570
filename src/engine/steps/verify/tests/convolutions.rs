//! Faults of convolutions: lanes, gates and expansions.

use super::{program::pixel, *};
use crate::steps::Direct;

#[test]
fn lanes_are_those_of_a_channel_block() {
    let narrow = FeatureMap { lanes: 8, ..map(2) };
    assert_eq!(
        fault!(Direct, |step| step.output = narrow),
        ("output", Fault::Lanes)
    );
    assert_eq!(
        fault!(Add, |step| step.output = narrow),
        ("output", Fault::Lanes)
    );
}

#[test]
fn a_gate_has_a_factor_for_each_channel_of_the_input() {
    let fault = |change: fn(&mut Direct)| {
        let error = refused(|program| {
            let gated = program.steps.iter_mut().find_map(|step| match step {
                Step::Direct(direct) if direct.gate.is_some() => Some(direct),
                _ => None,
            });
            change(gated.unwrap());
        });
        match error {
            ProgramError::Invalid { field, fault, .. } => (field, fault),
            error => panic!("{error}"),
        }
    };
    assert_eq!(
        fault(|step| step.gate = Some(pixel(2))),
        ("gate", Fault::OutsideArena)
    );
    assert_eq!(
        fault(|step| step.gate = Some(map(2))),
        ("gate", Fault::OnePixel)
    );
    assert_eq!(
        fault(|step| {
            step.gate = Some(FeatureMap {
                blocks: 2,
                ..pixel(0)
            });
        }),
        ("gate", Fault::Blocks)
    );
    assert_eq!(
        fault(|step| {
            step.window.kernel = [1, 2];
            step.window.origin = [0, 0];
        }),
        ("gate", Fault::WindowRange)
    );
}

#[test]
fn an_expansion_is_what_its_depthwise_convolution_reads() {
    let residual = Residual {
        feature_map: map(2),
        stride: 1,
    };
    assert_eq!(
        fault!(ExpandedDepthwise, |step| step.expansion.residual =
            Some(residual)),
        ("expansion", Fault::Expansion)
    );
    assert_eq!(
        fault!(ExpandedDepthwise, |step| step.depthwise.input.halo.top = 2),
        ("expansion", Fault::Expansion)
    );
    // Both have one address, but that of a place in the arena.
    assert_eq!(
        fault!(ExpandedDepthwise, |step| {
            step.expansion.output = map(1);
            step.depthwise.input = map(1);
        }),
        ("expansion", Fault::Expansion)
    );
    assert_eq!(
        fault!(ExpandedDepthwise, |step| {
            step.expansion.output.halo.right = MAX_SIZE - 1;
            step.expansion.output.halo.bottom = MAX_SIZE - 1;
            step.depthwise.input = step.expansion.output;
        }),
        ("expansion", Fault::LargeMap)
    );
    assert_eq!(
        fault!(ExpandedDepthwise, |step| step.depthwise.output = map(2)),
        ("output", Fault::Overlap)
    );
    assert_eq!(
        fault!(ExpandedDepthwise, |step| step.depthwise.window.origin[0] =
            1),
        ("window", Fault::WindowOutside)
    );
}
