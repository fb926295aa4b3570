"""What both peers share: Pillow decodes, turns and resizes a photo, and onnxruntime classifies it."""

import json
import os
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "model"))

from preprocess import to_tensor, upright_rgb  # noqa: E402, it follows the path


class Classifier:
    """The model in the folder MODEL_DIR. Its output must be probabilities."""

    def __init__(self, threads: int):
        # Only the workers need it. The processes that start them, or that speak HTTP, stay smaller.
        import onnxruntime as ort

        folder = Path(os.environ.get("MODEL_DIR", ROOT / "model"))
        self.manifest = json.loads((folder / "model.json").read_text())
        assert self.manifest["output"]["kind"] == "probabilities", "the peers have no softmax of their own"
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        file = folder / self.manifest["file"]
        self.session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def decode(self, file: BinaryIO) -> np.ndarray:
        """The network's input: a batch of one photo."""
        size = self.manifest["input"]["width"], self.manifest["input"]["height"]
        resized = upright_rgb(file).resize(size, Image.Resampling.BICUBIC)
        return to_tensor(np.asarray(resized)[None], self.manifest["preprocess"], self.manifest["input"]["layout"])

    def infer(self, batch: np.ndarray) -> np.ndarray:
        return self.session.run([self.manifest["output"]["name"]], {self.manifest["input"]["name"]: batch})[0]

    def answer(self, scores: np.ndarray) -> dict:
        """The answer in JSON for one photo: the classes, the likeliest first."""
        pairs = sorted(zip(self.manifest["labels"], scores.tolist(), strict=True), key=lambda pair: -pair[1])
        predictions = [{"className": label, "probability": probability} for label, probability in pairs]
        return predictions[0] | {"predictions": predictions}
