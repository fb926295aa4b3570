"""Exports SavedModels of many kinds, and runs each in the Rust classifier.

CLASSIFIER_BIN is the path of the binary. The expected probabilities come from the Keras model in memory and from
preprocessing that is written out here, not from the code under test.
"""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
import tf_keras
from PIL import Image

MODEL = Path(__file__).resolve().parent.parent / "model"
sys.path.insert(0, str(MODEL))

import draw_moths

TOLERANCE = 0.02  # difference of a probability, as in tests/integration/golden/probabilities.rs
PESTS = ["AAW", "ECLW", "FAW"]
BEETLES = ["weevil", "ladybird", "chafer", "borer", "click"]


def small_net(kit, side: int | None, classes: int, activation: str | None, channels_first: bool = False):
    """Two convolutions, each with a bias and a batch norm, as in Keras's ResNet-50."""
    kit.utils.set_random_seed(5)
    layers = kit.layers
    return kit.Sequential(
        [
            kit.Input((3, side, side) if channels_first else (side, side, 3)),
            *([layers.Permute((2, 3, 1))] if channels_first else []),
            layers.Conv2D(12, 5, strides=4),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(16, 3, strides=2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(classes, activation=activation),
        ]
    )


def settle(kit, model, tensors: np.ndarray) -> None:
    """Sets the statistics of the batch norms, and a head whose scores differ between the photos."""
    # In a deep network, these statistics would amplify rounding errors.
    if len(model.layers) < 20:
        for layer in model.layers:
            if type(layer).__name__ == "BatchNormalization":
                layer.momentum = 0.0
        model(tensors, training=True)
    head = model.layers[-1]
    features = np.asarray(kit.Model(model.inputs, head.input)(tensors, training=False))
    kernel, _bias = head.get_weights()
    kernel = kernel * 1.5 / np.std((features - features.mean(0)) @ kernel)
    head.set_weights([kernel, -(features.mean(0) @ kernel)])


def mobile_net(kit, side: int | None, classes: int, activation: str | None, channels_first: bool = False):
    """A network with depthwise convolutions and Relu6."""
    kit.utils.set_random_seed(5)
    return kit.applications.MobileNetV2((side, side, 3), alpha=0.35, weights=None, classes=classes)


def efficient_net(kit, side: int | None, classes: int, activation: str | None, channels_first: bool = False):
    """A network with swish, squeeze-and-excite, and constants that are not weights."""
    kit.utils.set_random_seed(5)
    return kit.applications.EfficientNetV2B0(input_shape=(side, side, 3), weights=None, classes=classes)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@dataclass
class Case:
    labels: list[str]
    flags: list[str]
    kit: object
    save: Callable
    tensor: Callable[[np.ndarray], np.ndarray]  # RGB pixels (n, h, w, 3) to the model's input
    activation: str | None = "softmax"
    layout: str = "NHWC"
    side: int = 224
    any_size: bool = False
    network: Callable = small_net


def save_plainly(model, folder: Path) -> Path:
    tf.saved_model.save(model, str(folder))
    return folder


def save_by_keras_3(model, folder: Path) -> Path:
    model.export(str(folder), verbose=False)
    return folder


def save_by_keras_2(model, folder: Path) -> Path:
    model.save(str(folder), save_format="tf")
    return folder


def save_as_archive(model, folder: Path) -> Path:
    save_by_keras_2(model, folder)
    archive = folder.with_suffix(".tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "old-model")
    return archive


CASES = {
    "keras 3, saved_model.save, raw": Case(PESTS, [], keras, save_plainly, lambda p: p),
    "keras 3, model.export, five logits, any size": Case(
        BEETLES,
        ["--preprocess", "unit", "--size", "160"],
        keras,
        save_by_keras_3,
        lambda p: p / 255,
        activation=None,
        side=160,
        any_size=True,
    ),
    "keras 3, channels first, caffe": Case(
        PESTS,
        ["--preprocess", "caffe"],
        keras,
        save_plainly,
        lambda p: (p[..., ::-1] - [103.939, 116.779, 123.68]).transpose(0, 3, 1, 2),
        layout="NCHW",
    ),
    "keras 2 folder, symmetric": Case(
        PESTS, ["--preprocess", "symmetric"], tf_keras, save_by_keras_2, lambda p: p / 127.5 - 1
    ),
    "keras 2 archive, own mean and deviation": Case(
        BEETLES,
        ["--color", "BGR", "--scale", "0.5", "--mean", "10,20,30", "--std", "40,50,60"],
        tf_keras,
        save_as_archive,
        lambda p: (p[..., ::-1] * 0.5 - [10, 20, 30]) / [40, 50, 60],
    ),
    "MobileNetV2": Case(
        PESTS, ["--preprocess", "symmetric"], keras, save_plainly, lambda p: p / 127.5 - 1, side=96, network=mobile_net
    ),
    "EfficientNetV2B0": Case(
        PESTS, ["--preprocess", "raw"], keras, save_plainly, lambda p: p, side=96, network=efficient_net
    ),
}


@dataclass
class Exported:
    case: Case
    out: Path
    output: str
    photos: list[Path]
    expected: np.ndarray


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for index in range(6):
        image, label = draw_moths.drawing(3, "gallery", index, (300, 240))
        paths.append(folder / f"{index}-{label}.png")
        image.save(paths[-1])
    return paths


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(", ", "-").replace(" ", "_"))
def exported(request, tmp_path_factory, photos) -> Exported:
    case = CASES[request.param]
    model = case.network(
        case.kit, None if case.any_size else case.side, len(case.labels), case.activation, case.layout == "NCHW"
    )
    resized = [Image.open(path).resize((case.side, case.side), Image.Resampling.BICUBIC) for path in photos]
    tensors = case.tensor(np.stack([np.asarray(image, np.float32) for image in resized])).astype(np.float32)
    settle(case.kit, model, tensors)
    expected = np.asarray(model(tensors, training=False))
    if case.activation is None:
        expected = softmax(expected)
    # Otherwise a classifier that ignores its input would pass.
    assert np.ptp(expected, axis=0).max() > 0.2
    folder = tmp_path_factory.mktemp("export")
    saved = case.save(model, folder / "saved")
    run = run_export(saved, "--labels", ",".join(case.labels), *case.flags, "--out", folder / "out", cwd=folder)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return Exported(case, folder / "out", run.stdout, photos, expected)


def run_export(*arguments, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(MODEL / "export.py"), *map(str, arguments)], cwd=cwd, capture_output=True, text=True
    )


def test_manifest_describes_the_model(exported):
    manifest = json.loads((exported.out / "model.json").read_text())
    case = exported.case
    assert manifest["labels"] == case.labels
    assert manifest["input"]["layout"] == case.layout
    assert (manifest["input"]["width"], manifest["input"]["height"]) == (case.side, case.side)
    assert manifest["output"]["kind"] == ("probabilities" if case.activation else "logits")
    assert manifest["source"]["signature"] == "serving_default"
    assert manifest["preprocess"]["resize"] == "bicubic"
    assert manifest["sha256"] in exported.output
    assert sorted(path.name for path in exported.out.iterdir()) == ["model.json", "model.onnx"]


def test_batch_norms_are_folded_into_convolutions(exported):
    if exported.case.network is not small_net:
        pytest.skip("only the small network has a known number of convolutions")
    nodes = onnx.load(exported.out / "model.onnx").graph.node
    assert [node.op_type for node in nodes].count("Conv") == 2
    assert not {"Mul", "Sub", "BatchNormalization"} & {node.op_type for node in nodes}


def test_rust_classifier_agrees_with_tensorflow(exported):
    program = os.environ.get("CLASSIFIER_BIN")
    if not program:
        pytest.fail("CLASSIFIER_BIN is not set: run `cargo build --release --locked`, and set it to the binary's path")
    run = subprocess.run(
        [program, "classify", "--json", *map(str, exported.photos)],
        capture_output=True,
        text=True,
        env=os.environ | {"MODEL_DIR": str(exported.out)},
    )
    assert run.returncode == 0, run.stderr
    found = {Path(line["path"]).name: line for line in map(json.loads, run.stdout.splitlines())}
    for path, expected in zip(exported.photos, exported.expected, strict=True):
        line = found[path.name]
        probabilities = [line["probabilities"][label] for label in exported.case.labels]
        np.testing.assert_allclose(probabilities, expected, atol=TOLERANCE, err_msg=path.name)
        assert line["className"] == exported.case.labels[int(expected.argmax())]


def test_the_self_test_passes_and_fails_for_another_answer(exported, tmp_path):
    manifest = exported.out / "model.json"
    assert self_test(exported.out) == (0, True)
    changed = json.loads(manifest.read_text())
    assert 2 <= len(changed["self_test"]) <= len(exported.case.labels)
    likeliest = next(iter(changed["self_test"]))
    changed["self_test"][likeliest] -= 0.1
    (tmp_path / "model.onnx").symlink_to(exported.out / "model.onnx")
    (tmp_path / "model.json").write_text(json.dumps(changed))
    assert self_test(tmp_path) == (1, False)


def self_test(model: Path) -> tuple[int, bool]:
    run = subprocess.run(
        [os.environ["CLASSIFIER_BIN"], "classify", "--self-test", "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"MODEL_DIR": str(model)},
    )
    return run.returncode, json.loads(run.stdout)["passed"]


def test_the_engine_runs_every_network(exported):
    command = [os.environ["CLASSIFIER_BIN"], "classify", "--self-test", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MODEL_DIR": str(exported.out)})
    assert "compiled from the ONNX file" in json.loads(run.stdout)["backend"]
