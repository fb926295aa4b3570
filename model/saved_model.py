"""Opens a TensorFlow SavedModel, a folder or an archive, and finds the image classifier in it."""

import contextlib
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DEFAULT_SIDE = 224


class ModelError(Exception):
    """A defect of a model or of its validation photos, described for the person who exports the model."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides stderr, which has TensorFlow's log, but prints it if the block raises another error than ModelError."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except ModelError:
            raise
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


@dataclass(frozen=True)
class Classifier:
    """A signature with one input, a batch of images, and one output, a row of class scores for each image."""

    signature: str
    function: Callable
    input_name: str
    output_name: str
    layout: str
    height: int
    width: int
    classes: int | None
    extra: dict  # train.py's notes beside the weights; empty for other models

    def __call__(self, tensor: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        # One image at a time, because some models are saved with a batch of 1.
        rows = [self.function(**{self.input_name: tf.constant(image[None])})[self.output_name] for image in tensor]
        return np.concatenate([np.asarray(row) for row in rows])


@contextlib.contextmanager
def open_classifier(path: Path, signature: str | None = None, side: int | None = None) -> Iterator[Classifier]:
    with unpacked(path) as folder:
        yield load(folder, path, signature, side)


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield find_root(path, path)
    elif not path.exists():
        raise ModelError(f"{path}: no such file or folder")
    elif not path.is_file() or not tarfile.is_tarfile(path):
        raise ModelError(f"{path}: not a SavedModel: neither a folder nor a .tar or .tar.gz archive")
    else:
        with tempfile.TemporaryDirectory() as folder:
            try:
                with tarfile.open(path) as archive:
                    archive.extractall(folder, filter="data")
            except (tarfile.TarError, OSError, EOFError) as error:
                raise ModelError(f"{path}: cannot unpack: {error}") from error
            yield find_root(Path(folder), path)


def find_root(folder: Path, shown: Path) -> Path:
    roots = [p for p in (folder, *sorted(folder.iterdir())) if (p / "saved_model.pb").is_file()]
    if not roots:
        raise ModelError(f"{shown}: not a SavedModel: it has no saved_model.pb, and neither has a folder in it")
    if len(roots) > 1 and roots[0] != folder:
        raise ModelError(f"{shown}: contains several SavedModels, name one of them: {', '.join(p.name for p in roots)}")
    return roots[0]


def load(folder: Path, shown: Path, signature: str | None, side: int | None) -> Classifier:
    with quiet():
        import tensorflow as tf

        try:
            model = tf.saved_model.load(str(folder))
        except Exception as error:
            raise ModelError(f"{shown}: not a SavedModel that TensorFlow can load: {first_line(error)}") from error
    name = choose_signature(sorted(model.signatures), signature, shown)
    function = model.signatures[name]
    where = f"{shown}: signature {name}"
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    if len(inputs) != 1:
        raise ModelError(f"{where}: takes {len(inputs)} inputs, expected one image: {', '.join(sorted(inputs))}")
    if len(outputs) != 1:
        raise ModelError(f"{where}: gives {len(outputs)} outputs, expected one: {', '.join(sorted(outputs))}")
    (input_name, image), (output_name, scores) = *inputs.items(), *outputs.items()
    layout, height, width = image_shape(image, f"{where}: input {input_name}", side)
    classes = class_count(scores, f"{where}: output {output_name}")
    # The loaded object owns the weights, so it must live as long as its signature.
    function.owner = model
    return Classifier(name, function, input_name, output_name, layout, height, width, classes, read_extra(folder))


def choose_signature(names: list[str], wanted: str | None, shown: Path) -> str:
    if not names:
        raise ModelError(f"{shown}: it has no signatures: save the model with a serving signature")
    if wanted:
        if wanted not in names:
            raise ModelError(f"{shown}: no signature {wanted}: it has {', '.join(names)}")
        return wanted
    # Keras 3's model.export writes the same function under both names.
    if names == ["serve", "serving_default"]:
        return "serving_default"
    if len(names) > 1:
        raise ModelError(f"{shown}: it has several signatures, choose one with --signature: {', '.join(names)}")
    return names[0]


def image_shape(image, where: str, side: int | None) -> tuple[str, int, int]:
    if image.dtype.name != "float32":
        raise ModelError(f"{where}: has type {image.dtype.name}, expected float32")
    if image.shape.rank != 4:
        raise ModelError(
            f"{where}: has shape {shape_text(image.shape)}, expected four dimensions, "
            "batch × height × width × 3 or batch × 3 × height × width"
        )
    batch, *rest = image.shape.as_list()
    if batch not in (None, 1):
        raise ModelError(f"{where}: has a fixed batch of {batch}, expected 1 or any")
    if rest[2] == 3:
        layout, height, width = "NHWC", rest[0], rest[1]
    elif rest[0] == 3:
        layout, height, width = "NCHW", rest[1], rest[2]
    else:
        raise ModelError(f"{where}: has shape {shape_text(image.shape)}, expected three colour channels, first or last")
    if side and any(fixed not in (None, side) for fixed in (height, width)):
        raise ModelError(f"{where}: takes {width}×{height} pixels, which --size {side} cannot change")
    return layout, height or side or DEFAULT_SIDE, width or side or DEFAULT_SIDE


def class_count(scores, where: str) -> int | None:
    if scores.dtype.name != "float32":
        raise ModelError(f"{where}: has type {scores.dtype.name}, expected float32")
    if scores.shape.rank is None:
        return None
    if scores.shape.rank != 2:
        raise ModelError(f"{where}: has shape {shape_text(scores.shape)}, expected two dimensions, batch × classes")
    return scores.shape[1]


def read_extra(folder: Path) -> dict:
    note = folder / "assets.extra" / "manifest.json"
    try:
        return json.loads(note.read_text()) if note.is_file() else {}
    except ValueError as error:
        raise ModelError(f"{note}: not valid JSON: {error}") from error


def shape_text(shape) -> str:
    if shape.rank is None:
        return "unknown"
    return "×".join("any" if size is None else str(size) for size in shape.as_list()) or "scalar"


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
