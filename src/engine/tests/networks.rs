//! Networks that people bring: against stock tract, and against TensorFlow.
//!
//! The test needs the folder of `benches/networks.py` in NETWORKS_DIR:
//!
//! ```sh
//! python benches/networks.py target/networks --side 160 --classes 5
//! NETWORKS_DIR="$PWD/target/networks" cargo test --locked --test networks -- --ignored
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{env, fs, path::Path};

use moth_engine::{isa::Isa, prepare, runtime::Runnable};
use tract_onnx::prelude::*;

#[test]
#[ignore = "needs networks that benches/networks.py exports"]
fn outputs_agree_with_tensorflow_and_stock_tract() {
    let folder =
        env::var("NETWORKS_DIR").expect("NETWORKS_DIR is the folder of benches/networks.py");
    let mut networks = 0;
    for entry in fs::read_dir(folder).unwrap() {
        compare(&entry.unwrap().path());
        networks += 1;
    }
    assert!(networks > 0, "there are no networks in NETWORKS_DIR");
}

fn compare(folder: &Path) {
    let name = folder.file_name().unwrap().to_string_lossy();
    let manifest = fs::read_to_string(folder.join("model.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let side = usize::try_from(manifest["input"]["height"].as_u64().unwrap()).unwrap();
    let shape = [1, side, side, 3];
    let model = tract_onnx::onnx()
        .model_for_path(folder.join("model.onnx"))
        .unwrap();
    let model = model.with_input_fact(0, f32::fact(shape).into()).unwrap();
    let model = model.into_typed().unwrap();
    // As in benches/networks.py.
    let input: Vec<f32> = (0..side * side * 3)
        .map(|n| (n * 7919 % 256) as f32)
        .collect();

    let expected = fs::read_to_string(folder.join("expected.json")).unwrap();
    let tensorflow: Vec<f32> = serde_json::from_str(&expected).unwrap();
    // Otherwise all classes are alike, and any wrong output would do.
    let largest = tensorflow.iter().copied().fold(0.0, f32::max);
    assert!(
        largest * tensorflow.len() as f32 > 1.5,
        "{name} prefers no class"
    );
    let stock = model
        .clone()
        .into_optimized()
        .unwrap()
        .into_runnable()
        .unwrap();
    let tensor = Tensor::from_shape(&shape, &input).unwrap();
    let stock = stock.run(tvec!(tensor.into_tvalue())).unwrap();
    let stock = stock[0].view().as_slice::<f32>().unwrap().to_vec();

    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
        let runnable = match prepare(&model, isa) {
            Ok(runnable) => runnable,
            Err(error) => panic!("{name}: the engine does not know {error}"),
        };
        let outputs = run(&runnable, &input, 1);
        let [from_tensorflow, from_tract] =
            [&tensorflow, &stock].map(|other| difference(&outputs, other));
        println!(
            "{name} on {isa}: {from_tensorflow:.1e} from TensorFlow, {from_tract:.1e} from stock tract"
        );
        assert!(
            from_tensorflow < 1e-4,
            "{name} on {isa}: {from_tensorflow} from TensorFlow"
        );
        assert!(
            from_tract < 1e-3,
            "{name} on {isa}: {from_tract} from stock tract"
        );
        for threads in [2, 3] {
            let same = run(&runnable, &input, threads);
            assert_eq!(same, outputs, "{name} on {isa}, {threads} threads");
        }
    }
}

fn run(runnable: &Runnable, input: &[f32], threads: usize) -> Vec<f32> {
    let mut output = vec![0.0; runnable.program().outputs[0].iter().product()];
    runnable.run(&[input], &mut [&mut output], threads);
    output
}

/// The largest absolute difference.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |largest: f32, difference| {
        assert!(!difference.is_nan());
        largest.max(difference)
    })
}
