"""Pixels to tensor values: value = (pixel * scale - mean[c]) / std[c], c in the tensor's channel order."""

import numpy as np

# Keras's names for what networks were trained on; "raw" is the pixels as they are.
SCHEMES = {
    "raw": {"color": "RGB", "scale": 1.0, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    # ImageNet's mean blue, green and red, as in the Caffe models Keras's ResNet-50 descends from.
    "caffe": {"color": "BGR", "scale": 1.0, "mean": [103.939, 116.779, 123.68], "std": [1.0, 1.0, 1.0]},
    "unit": {"color": "RGB", "scale": 1 / 255, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    "symmetric": {"color": "RGB", "scale": 1 / 127.5, "mean": [1.0, 1.0, 1.0], "std": [1.0, 1.0, 1.0]},
}


def to_tensor(pixels: np.ndarray, scheme: str | dict, layout: str = "NHWC") -> np.ndarray:
    """RGB pixels (n, height, width, 3), 0–255, to the float32 batch a network takes."""
    rule = SCHEMES[scheme] if isinstance(scheme, str) else scheme
    channels = pixels[..., ::-1] if rule["color"] == "BGR" else pixels
    scale, mean, std = (np.asarray(rule[key], np.float32) for key in ("scale", "mean", "std"))
    values = (channels.astype(np.float32) * scale - mean) / std
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if layout == "NCHW" else values)
