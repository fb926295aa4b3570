"""Converts a TensorFlow SavedModel to model.onnx and model.json for the Rust classifier.

Writes nothing unless the ONNX model and TensorFlow agree on every probe.
"""

import argparse
import hashlib
import json
import math
import os
import shlex
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from PIL import Image

from convert import convert
from preprocess import SCHEMES, to_tensor
from saved_model import Classifier, ModelError, first_line, open_classifier
from validation import Score, classify, find_photos, validate

TOLERANCE = 1e-4  # largest difference of a probability that is accepted
UNKNOWN = "UNKNOWN"  # class of photos under a threshold
HOSTING_LIMIT = 100_000_000  # bytes; GitHub refuses larger files
PROBES = 8  # number of probes of each kind
# The photo that is built into the binary for `classify --self-test`.
SELF_TEST = Path(__file__).resolve().parent.parent / "test_images" / "good" / "aaw.jpg"
PRECISION = 0.95  # precision that --validation chooses the thresholds for
LIKELIEST = 5  # classes whose probabilities the manifest records for the self-test

Manifest = dict


def main() -> None:
    arguments = parse_arguments()
    try:
        export(arguments)
    except ModelError as error:
        print(f"export: {error}", file=sys.stderr)
        sys.exit(2)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Export a TensorFlow SavedModel to model.onnx and model.json.")
    parser.add_argument("saved_model", type=Path, help="SavedModel: a folder, .tar or .tar.gz")
    parser.add_argument("--labels", help="class labels, separated by commas, in the order of the output")
    parser.add_argument("--preprocess", choices=SCHEMES, help="preprocessing of the pixels (default raw: RGB 0–255)")
    parser.add_argument("--color", choices=("RGB", "BGR"), help="channel order")
    parser.add_argument("--scale", type=float, help="factor for pixels 0–255, before the mean is subtracted")
    parser.add_argument("--mean", type=numbers, metavar="A,B,C", help="mean of each channel, in the channel order")
    parser.add_argument("--std", type=numbers, metavar="A,B,C", help="divisor of each channel, in the channel order")
    parser.add_argument("--signature", help="signature to export, if the model has several")
    parser.add_argument("--size", type=int, help="side in pixels, for a model that accepts any size (default 224)")
    parser.add_argument(
        "--taxa", type=scientific_names, default={}, metavar="LABEL=NAME,…", help="scientific names of labels"
    )
    parser.add_argument(
        "--validation", type=Path, metavar="DIR", help="folder with one folder of validation photos for each label"
    )
    parser.add_argument(
        "--precision",
        type=probability,
        metavar="P",
        help=f"precision that the threshold of each label must reach with --validation (default {PRECISION})",
    )
    parser.add_argument(
        "--threshold", type=probability, metavar="P", help="threshold of all labels, instead of a precision"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write to")
    arguments = parser.parse_args()
    if arguments.size is not None and arguments.size < 1:
        parser.error("--size must be at least 1")
    if arguments.precision is not None and arguments.validation is None:
        parser.error("--precision needs --validation, because the thresholds come from validation photos")
    if arguments.precision is not None and arguments.threshold is not None:
        parser.error("--threshold and --precision exclude each other")
    if arguments.validation and arguments.threshold is None and arguments.precision is None:
        arguments.precision = PRECISION
    return arguments


def probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, not {text!r}")
    return value


def scientific_names(text: str) -> dict[str, str]:
    names = {}
    for pair in text.split(","):
        label, _, name = (part.strip() for part in pair.partition("="))
        if not label or not name:
            raise argparse.ArgumentTypeError(f"expected LABEL=NAME, not {pair!r}; commas separate the pairs")
        if label in names:
            raise argparse.ArgumentTypeError(f"{label} occurs twice")
        names[label] = name
    return names


def numbers(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 3 or not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"expected three numbers separated by commas, not {text!r}")
    return values


def export(arguments: argparse.Namespace) -> None:
    with open_classifier(arguments.saved_model, arguments.signature, arguments.size) as classifier:
        rule = preprocessing(arguments, classifier.extra)
        tensors = probes(classifier, rule)
        try:
            scores = classifier(tensors)
        except Exception as error:
            raise ModelError(f"{arguments.saved_model}: TensorFlow cannot run it: {first_line(error)}") from error
        labels = class_labels(arguments.labels, classifier, scores)
        check_taxa(arguments.taxa, labels)
        photos = find_photos(arguments.validation, labels) if arguments.validation else []
        kind = output_kind(scores)
        answer = self_test(classifier, rule, kind, labels)
        onnx_model = convert(classifier, kind, arguments.saved_model)
    content = onnx_model.SerializeToString()
    score = open_session(content, kind)
    difference = compare(score, tensors, probabilities(scores, kind))
    image = {
        "name": onnx_model.graph.input[0].name,
        "layout": classifier.layout,
        "width": classifier.width,
        "height": classifier.height,
    }
    source = {
        "saved_model": arguments.saved_model.resolve().name,
        "signature": classifier.signature,
        "description": describe(classifier.extra),
    }
    validation = None
    if photos:
        answers = classify(photos, rule, image, score)
        validation = validate(answers, labels, arguments.precision, arguments.threshold)
        source["validation"] = {"folder": arguments.validation.resolve().name, "precision": arguments.precision}
    manifest = {
        "file": "model.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "labels": labels,
        **({"taxa": arguments.taxa} if arguments.taxa else {}),
        "input": image,
        "output": {"name": onnx_model.graph.output[0].name, "kind": kind},
        "preprocess": {"resize": "bicubic", **rule},
        **({} if arguments.threshold is None else {"threshold": arguments.threshold}),
        **(validation.manifest() if validation else {}),
        "self_test": answer,
        "source": source,
        "tools": tools(),
    }
    write(arguments.out, content, manifest)
    report(arguments.out, manifest, len(content), len(tensors), difference)
    if validation:
        print()
        validation.print_table()
    print_next(arguments.out)


def preprocessing(arguments: argparse.Namespace, extra: dict) -> Manifest:
    scheme = arguments.preprocess or extra.get("preprocess", "raw")
    if scheme not in SCHEMES:
        raise ModelError(f"{arguments.saved_model}: unknown preprocessing {scheme}: expected {', '.join(SCHEMES)}")
    given = {key: getattr(arguments, key) for key in ("color", "scale", "mean", "std")}
    rule = SCHEMES[scheme] | {key: value for key, value in given.items() if value is not None}
    if not math.isfinite(rule["scale"]) or rule["scale"] == 0:
        raise ModelError("--scale must be a finite number other than 0")
    if 0 in rule["std"]:
        raise ModelError("--std must not contain 0, because it is a divisor")
    return rule


def class_labels(given: str | None, classifier: Classifier, scores: np.ndarray) -> list[str]:
    if scores.ndim != 2 or scores.shape[1] < 2:
        shape = "×".join(map(str, scores.shape[1:])) or "scalar"
        raise ModelError(
            f"output {classifier.output_name} has shape {shape} for each image, "
            "expected a score for each of at least two classes"
        )
    labels = [label.strip() for label in given.split(",")] if given else classifier.extra.get("labels")
    if not labels:
        raise ModelError("no labels: name the classes with --labels A,B,C, in the order of the output")
    if "" in labels or len(set(labels)) < len(labels):
        raise ModelError(f"labels must be distinct and not empty: {','.join(labels)}")
    if len(labels) != scores.shape[1]:
        raise ModelError(f"{len(labels)} labels for an output of {scores.shape[1]} classes: {', '.join(labels)}")
    if UNKNOWN in labels:
        raise ModelError(f"label {UNKNOWN} is the class of photos under a threshold: give the label another name")
    return labels


def check_taxa(taxa: dict[str, str], labels: list[str]) -> None:
    for label in taxa:
        if label not in labels:
            raise ModelError(f"--taxa: {label} is not a label of the model: the labels are {', '.join(labels)}")


def probes(classifier: Classifier, rule: Manifest) -> np.ndarray:
    """Inputs to compare ONNX and TensorFlow on: noise, smooth gradients and drawn moths, preprocessed as photos are."""
    import draw_moths

    rng = np.random.default_rng(17)
    shape = (classifier.height, classifier.width)
    images = [rng.integers(0, 256, (*shape, 3), np.uint8) for _ in range(PROBES)]
    for _ in range(PROBES):
        corners = Image.fromarray(rng.integers(0, 256, (2, 2, 3), np.uint8))
        images.append(np.asarray(corners.resize(shape[::-1], Image.Resampling.BILINEAR)))
    for index in range(PROBES):
        moth, _ = draw_moths.drawing(17, "gallery", index)
        images.append(np.asarray(moth.resize(shape[::-1], Image.Resampling.BICUBIC)))
    return to_tensor(np.stack(images), rule, classifier.layout)


def self_test(classifier: Classifier, rule: Manifest, kind: str, labels: list[str]) -> dict[str, float]:
    """TensorFlow's answer for the photo of `classify --self-test`."""
    with Image.open(SELF_TEST) as photo:
        resized = photo.convert("RGB").resize((classifier.width, classifier.height), Image.Resampling.BICUBIC)
    scores = probabilities(classifier(to_tensor(np.asarray(resized)[None], rule, classifier.layout)), kind)[0]
    likeliest = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])[:LIKELIEST]
    return {label: round(float(score), 6) for label, score in likeliest}


def output_kind(scores: np.ndarray) -> str:
    if not np.isfinite(scores).all():
        raise ModelError("the output is not finite: check the preprocessing and the weights")
    if scores.min() < -1e-6 or scores.max() > 1 + 1e-6:
        return "logits"
    if np.abs(scores.sum(axis=1) - 1).max() > 1e-3:
        raise ModelError("the outputs are in 0–1 but do not sum to 1: independent sigmoids are not class probabilities")
    return "probabilities"


def probabilities(scores: np.ndarray, kind: str) -> np.ndarray:
    if kind == "probabilities":
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def open_session(content: bytes, kind: str) -> Score:
    """The ONNX model as a function from a tensor of one image to its probabilities."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def score(tensor: np.ndarray) -> np.ndarray:
        scores = session.run(None, {name: tensor})[0]
        # The Rust classifier too computes softmax in float64 and rounds it.
        return probabilities(scores.astype(np.float64), kind).astype(np.float32)

    return score


def compare(score: Score, tensors: np.ndarray, expected: np.ndarray) -> float:
    found = np.concatenate([score(image[None]) for image in tensors])
    if found.shape != expected.shape:
        raise ModelError(
            f"refusing to write: the output of ONNX has shape {found.shape}, TensorFlow's {expected.shape}"
        )
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"refusing to write: ONNX and TensorFlow differ by {difference:.1e}, more than {TOLERANCE:.0e}"
        )
    if (found.argmax(axis=1) != expected.argmax(axis=1)).any():
        raise ModelError("refusing to write: ONNX and TensorFlow predict different classes")
    return difference


def describe(extra: dict) -> str:
    if not extra:
        return ""
    start = "from scratch" if extra["weights"] == "none" else f"from {extra['weights']} weights"
    return (
        f"Keras ResNet-50 trained {start} on {extra['trained_on']} images "
        f"({extra['source']}, seed {extra['seed']}), "
        f"accuracy {extra['accuracy']:.1%} on {extra['held_out']} held out"
    )


def tools() -> dict[str, str]:
    import tensorflow as tf

    found = {"tensorflow": tf.__version__}
    for name in ("keras", "tf2onnx", "onnx", "onnxruntime", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def write(folder: Path, content: bytes, manifest: Manifest) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The manifest is written last. Until then its old hash does not match, and the binary refuses the new model.
        replace(folder / manifest["file"], content)
        replace(folder / "model.json", text.encode())
    except OSError as error:
        raise ModelError(f"cannot write {folder}: {error}") from error


def replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)  # mkstemp sets 0600, and the function runs as another user
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def report(out: Path, manifest: Manifest, size: int, checked: int, difference: float) -> None:
    rule, image = manifest["preprocess"], manifest["input"]
    rows = {
        "model": f"{out / manifest['file']}  {size / 1e6:.1f} MB",
        "sha256": manifest["sha256"],
        "labels": ", ".join(manifest["labels"]),
        "input": f"{image['name']}  {image['layout']}  {image['width']}×{image['height']}",
        "preprocess": f"{rule['color']}  (pixel × {rule['scale']:.6g} − {rule['mean']}) / {rule['std']}",
        "output": f"{manifest['output']['name']}  {manifest['output']['kind']}",
        "checked": f"{checked} inputs against TensorFlow, same class for all",
        "difference": f"at most {difference:.1e}, {TOLERANCE:.0e} allowed",
    }
    if "taxa" in manifest:
        rows["taxa"] = ", ".join(f"{label} {name}" for label, name in manifest["taxa"].items())
    if "threshold" in manifest:
        rows["unknown"] = f"below {manifest['threshold']:.6g}"
    for name, value in rows.items():
        print(f"{name:12}{value}")
    if size > HOSTING_LIMIT:
        print(f"{'note':12}over 100 MB: GitHub refuses such a file. Keep it in Git LFS or outside the repository")


def print_next(out: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    is_shipped = out.resolve() == root / "model"
    setting = "" if is_shipped else f"MODEL_DIR={shlex.quote(str(out.resolve()))} "
    print("\nnext:")
    for command in ("classify PHOTO", "compile", "classify --self-test"):
        print(f"  {setting}cargo run --release --locked -- {command}")
    # golden.py records the answers that the tests expect of the shipped model.
    if is_shipped:
        golden = shlex.quote(os.path.relpath(root / "tests" / "golden.py"))
        print(f"  python {golden} SAVED_MODEL && cargo test --locked")


if __name__ == "__main__":
    main()
