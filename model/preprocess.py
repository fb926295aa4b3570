"""Turns a photo into upright RGB pixels, and pixels into input values.

An input value is (pixel * scale - mean[c]) / std[c], with c in the tensor's channel order.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# The preprocessing modes of keras.applications, and "raw" for unchanged pixels.
SCHEMES = {
    "raw": {"color": "RGB", "scale": 1.0, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    # ImageNet's mean blue, green and red, from the Caffe models that Keras's ResNet-50 comes from.
    "caffe": {"color": "BGR", "scale": 1.0, "mean": [103.939, 116.779, 123.68], "std": [1.0, 1.0, 1.0]},
    "unit": {"color": "RGB", "scale": 1 / 255, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    "symmetric": {"color": "RGB", "scale": 1 / 127.5, "mean": [1.0, 1.0, 1.0], "std": [1.0, 1.0, 1.0]},
}


def upright_rgb(path: Path, formats: Sequence[str] | None = None) -> Image.Image:
    """Decodes a photo like the Rust classifier. `formats` are Pillow's names of the accepted formats, or all."""
    with Image.open(path, formats=formats) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            # Scale 16-bit gray to 8 bits, because Pillow's own conversion clips it at 255.
            image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
        # Pillow drops alpha, and takes the high bytes of 16-bit RGB.
        return image.convert("RGB")


def to_tensor(pixels: np.ndarray, scheme: str | dict, layout: str = "NHWC") -> np.ndarray:
    """Converts RGB pixels (n, height, width, 3), 0–255, to the float32 batch that a network expects."""
    rule = SCHEMES[scheme] if isinstance(scheme, str) else scheme
    channels = pixels[..., ::-1] if rule["color"] == "BGR" else pixels
    scale, mean, std = (np.asarray(rule[key], np.float32) for key in ("scale", "mean", "std"))
    values = (channels.astype(np.float32) * scale - mean) / std
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if layout == "NCHW" else values)
