#!/usr/bin/env python3
"""Exports the networks of Keras Applications that people bring, and EfficientNet-Lite0, with random weights.

    pip install -r model/requirements.txt
    python benches/networks.py DIR                       # all, 1,000 classes
    python benches/networks.py DIR MobileNetV2 --side 160 --classes 5

Each folder DIR/NAME gets the SavedModel, model.onnx, model.json, and expected.json: the output of TensorFlow for the
input that benches/peers.py gives to all engines. The head is scaled so that the output prefers some classes.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

ROOT = Path(__file__).resolve().parent.parent


def application(name: str):
    def build(side: int, classes: int):
        network = getattr(keras.applications, name)
        return network(input_shape=(side, side, 3), weights=None, classes=classes)

    return build


def efficientnet_lite0(side: int, classes: int):
    """EfficientNet-B0 without squeeze-and-excite and with ReLU6: tensorflow/tpu, efficientnet/lite."""
    layers = keras.layers

    def normalised(x, activates: bool = True):
        x = layers.BatchNormalization(epsilon=1e-3)(x)
        return layers.ReLU(6.0)(x) if activates else x

    inputs = layers.Input((side, side, 3))
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
    x = normalised(layers.Conv2D(32, 3, 2, padding="same", use_bias=False)(x))
    for expansion, channels, repeats, stride, kernel in [
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ]:
        for repeat in range(repeats):
            before = x
            if expansion > 1:
                x = normalised(layers.Conv2D(before.shape[-1] * expansion, 1, use_bias=False)(x))
            own_stride = stride if repeat == 0 else 1
            x = normalised(layers.DepthwiseConv2D(kernel, own_stride, padding="same", use_bias=False)(x))
            x = normalised(layers.Conv2D(channels, 1, use_bias=False)(x), activates=False)
            if own_stride == 1 and before.shape[-1] == channels:
                x = layers.Add()([before, x])
    x = normalised(layers.Conv2D(1280, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


NETWORKS = {
    "ResNet50": application("ResNet50"),
    "ResNet50V2": application("ResNet50V2"),
    "MobileNetV2": application("MobileNetV2"),
    "MobileNetV3Small": application("MobileNetV3Small"),
    "EfficientNetB0": application("EfficientNetB0"),
    "EfficientNetLite0": efficientnet_lite0,
    "DenseNet121": application("DenseNet121"),
    "InceptionV3": application("InceptionV3"),
}


def numbers(side: int) -> np.ndarray:
    """The input of all engines in benches/peers.py."""
    values = np.arange(side * side * 3, dtype=np.int64) * 7919 % 256
    return values.astype(np.float32).reshape(1, side, side, 3)


def spread_scores(network: keras.Model, side: int) -> None:
    """Scales the head, so that the scores of the classes have a spread of 1 for the input of all engines."""
    head = next(layer for layer in reversed(network.layers) if layer.get_weights())
    features = np.asarray(keras.Model(network.inputs[0], head.input)(numbers(side), training=False)).reshape(-1)
    kernel, bias = head.get_weights()
    scores = features @ kernel.reshape(len(features), -1)
    head.set_weights([kernel / scores.std(), bias])


def export(name: str, folder: Path, side: int, classes: int) -> None:
    keras.utils.set_random_seed(5)
    network = NETWORKS[name](side, classes)
    spread_scores(network, side)
    saved = folder / "saved_model"
    tf.saved_model.save(network, str(saved))
    labels = ",".join(f"class{n}" for n in range(classes))
    command = [sys.executable, ROOT / "model/export.py", saved, "--labels", labels, "--out", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{name}: {done.stderr}")
    expected = network(numbers(side), training=False).numpy()[0]
    (folder / "expected.json").write_text(json.dumps([float(value) for value in expected]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="DIR", help="folder for the networks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)} (default all)")
    parser.add_argument("--side", type=int, help="rows and columns of the input (default 224, InceptionV3 299)")
    parser.add_argument("--classes", type=int, default=1000, help="number of classes (default 1000)")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in NETWORKS:
            parser.error(f"unknown network {name}: choose from {', '.join(NETWORKS)}")
    for name in arguments.names or NETWORKS:
        side = arguments.side or (299 if name == "InceptionV3" else 224)
        export(name, arguments.out / name, side, arguments.classes)
        print(f"{name}, {side}×{side}", flush=True)


if __name__ == "__main__":
    main()
