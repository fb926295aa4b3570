#!/usr/bin/env python3
"""Writes tests/color_model: a model that classifies red as AAW, green as ECLW and blue as FAW.

    python tests/make_color_model.py

Tests use it where the photos do not matter. It loads at once, and a test knows the class of a photo of one colour.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

FOLDER = Path(__file__).resolve().parent / "color_model"
# The photo of `classify --self-test`.
PHOTO = FOLDER.parent.parent / "test_images/good/aaw.jpg"
LABELS = ["AAW", "ECLW", "FAW"]
SIZE = 8


def main() -> None:
    # A pure colour has the logits 4, 0 and 0, so its probability is 0.965.
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32) * 4, "weights")
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", SIZE, SIZE, 3])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "color", [image], [probabilities], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx_bytes = model.SerializeToString()
    manifest = {
        "file": "model.onnx",
        "sha256": hashlib.sha256(onnx_bytes).hexdigest(),
        "labels": LABELS,
        "input": {"name": "image", "layout": "NHWC", "width": SIZE, "height": SIZE},
        "output": {"name": "probabilities", "kind": "probabilities"},
        "preprocess": {
            "resize": "bicubic",
            "color": "RGB",
            "scale": 1 / 255,
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
        },
        "self_test": self_test(),
    }
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "model.onnx").write_bytes(onnx_bytes)
    (FOLDER / "model.json").write_text(json.dumps(manifest, indent=2) + "\n")


def self_test() -> dict[str, float]:
    """What the model says about the photo, without the model."""
    photo = Image.open(PHOTO).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    powers = np.exp(np.asarray(photo).mean(axis=(0, 1)) / 255 * 4)
    return {label: round(float(power / powers.sum()), 6) for label, power in zip(LABELS, powers, strict=True)}


if __name__ == "__main__":
    main()
