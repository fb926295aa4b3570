"""Turns pixels into input values: (pixel * scale - mean[c]) / std[c], with c in the tensor's channel order."""

import numpy as np

# The preprocessing modes of keras.applications, and "raw" for unchanged pixels.
SCHEMES = {
    "raw": {"color": "RGB", "scale": 1.0, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    # ImageNet's mean blue, green and red, from the Caffe models that Keras's ResNet-50 comes from.
    "caffe": {"color": "BGR", "scale": 1.0, "mean": [103.939, 116.779, 123.68], "std": [1.0, 1.0, 1.0]},
    "unit": {"color": "RGB", "scale": 1 / 255, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    "symmetric": {"color": "RGB", "scale": 1 / 127.5, "mean": [1.0, 1.0, 1.0], "std": [1.0, 1.0, 1.0]},
}


def to_tensor(pixels: np.ndarray, scheme: str | dict, layout: str = "NHWC") -> np.ndarray:
    """Converts RGB pixels (n, height, width, 3), 0–255, to the float32 batch that a network expects."""
    rule = SCHEMES[scheme] if isinstance(scheme, str) else scheme
    channels = pixels[..., ::-1] if rule["color"] == "BGR" else pixels
    scale, mean, std = (np.asarray(rule[key], np.float32) for key in ("scale", "mean", "std"))
    values = (channels.astype(np.float32) * scale - mean) / std
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if layout == "NCHW" else values)
