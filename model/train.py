"""Trains Keras's ResNet-50 with a softmax head and saves it as a TensorFlow SavedModel.

The images come from `--images DIR` (one folder per class), or from draw_moths.py without it. The network is fully
convolutional up to its pooling. Training therefore starts with small images, which take a quarter of the time, and
finishes at 224 pixels, the size that the function uses.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

import draw_moths
from preprocess import SCHEMES, to_tensor

SIDE = 224
CACHE_SIDE = 280
BATCH = 16
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}

Images = tuple[np.ndarray, np.ndarray]  # uint8 (n, side, side, 3), class index (n)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train ResNet-50 into a TensorFlow SavedModel.")
    parser.add_argument("saved_model", type=Path, help="folder to write the SavedModel to")
    parser.add_argument("--images", type=Path, help="folder with one folder of images per class (default: drawings)")
    parser.add_argument("--weights", choices=("none", "imagenet"), default="none", help="initial weights")
    parser.add_argument("--resume", type=Path, metavar="SAVED_MODEL", help="start from a SavedModel of this script")
    parser.add_argument("--preprocess", choices=SCHEMES, help="default: raw, or caffe with --weights imagenet")
    parser.add_argument(
        "--drawings", type=int, default=3000, help="number of drawings to train on (default %(default)s)"
    )
    parser.add_argument(
        "--held-out",
        type=int,
        default=900,
        help="number of drawings to test on (default %(default)s); with --images it is a fifth of the images",
    )
    parser.add_argument(
        "--stages",
        type=parse_stages,
        default="96x4,128x1,224x0.5",
        metavar="SIDExEPOCHS,…",
        help="training stages (default %(default)s)",
    )
    parser.add_argument(
        "--learning-rate", type=float, help="peak learning rate (default 1e-3, or 1e-4 with --weights imagenet)"
    )
    parser.add_argument("--seed", type=int, default=2026, help="seed of drawings and training (default %(default)s)")
    arguments = parser.parse_args()
    fine_tuned = arguments.weights == "imagenet"
    scheme = arguments.preprocess or ("caffe" if fine_tuned else "raw")
    peak = arguments.learning_rate or (1e-4 if fine_tuned else 1e-3)

    try:  # before an hour of training
        arguments.saved_model.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"{arguments.saved_model}: cannot write the SavedModel: {error}")

    import keras

    keras.utils.set_random_seed(arguments.seed)
    if arguments.images:
        labels, train, test = load_folders(arguments.images, arguments.seed)
    else:
        labels = list(draw_moths.LABELS)
        train = draw_split("train", arguments.drawings, arguments.seed)
        test = draw_split("test", arguments.held_out, arguments.seed)
    print(f"{len(train[0])} images to train on, {len(test[0])} held out, classes {', '.join(labels)}", flush=True)

    started = time.time()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    begin = load_weights(arguments.resume, len(labels)) if arguments.resume else None
    weights = fit(train, arguments.stages, scheme, len(labels), arguments.weights, begin, peak, arguments.seed)
    # The model is served in float32, so copy the weights into a network of that precision.
    keras.mixed_precision.set_global_policy("float32")
    model = build(SIDE, len(labels), "none")
    model.set_weights(weights)
    recompute_statistics(model, train, scheme, arguments.seed)
    minutes = (time.time() - started) / 60

    report = evaluate(model, test, labels, scheme) | {
        "labels": labels,
        "preprocess": scheme,
        "seed": arguments.seed,
        "trained_on": len(train[0]),
        "source": str(arguments.images or "drawings"),
        "weights": arguments.resume.name if arguments.resume else arguments.weights,
        "stages": [f"{side}x{epochs:g}" for side, epochs in arguments.stages],
        "minutes": round(minutes, 1),
    }
    print_confusion(report)
    save(model, arguments.saved_model, report)


def parse_stages(text: str) -> list[tuple[int, float]]:
    try:
        stages = [(int(side), float(epochs)) for side, epochs in (stage.split("x") for stage in text.split(","))]
    except ValueError:
        raise argparse.ArgumentTypeError(f"stages must look like 112x3,224x1, not {text!r}") from None
    if any(side < 32 or epochs <= 0 for side, epochs in stages):
        raise argparse.ArgumentTypeError(f"stages need a side of at least 32 and epochs above 0: {text!r}")
    return stages


def draw_one(task: tuple[int, str, int]) -> tuple[np.ndarray, int]:
    image, label = draw_moths.drawing(*task, (CACHE_SIDE, CACHE_SIDE))
    return np.asarray(image), draw_moths.LABELS.index(label)


def draw_split(split: str, count: int, seed: int) -> Images:
    with ProcessPoolExecutor() as pool:
        pairs = list(pool.map(draw_one, [(seed, split, index) for index in range(count)], chunksize=20))
    return np.stack([image for image, _ in pairs]), np.array([index for _, index in pairs])


def load_folders(root: Path, seed: int) -> tuple[list[str], Images, Images]:
    labels = sorted(folder.name for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
    if len(labels) < 2:
        sys.exit(f"{root}: expected one folder of images for each of at least two classes")
    images, classes = [], []
    for index, label in enumerate(labels):
        paths = sorted(p for p in (root / label).rglob("*") if p.suffix.lower() in SUFFIXES)
        if len(paths) < 2:
            sys.exit(f"{root / label}: expected at least two images")
        for path in paths:
            try:
                with Image.open(path) as image:
                    upright = ImageOps.exif_transpose(image).convert("RGB")
            except OSError as error:
                sys.exit(f"{path}: cannot read the image: {error}")
            images.append(np.asarray(upright.resize((CACHE_SIDE, CACHE_SIDE), Image.Resampling.BICUBIC)))
            classes.append(index)
    images, classes = np.stack(images), np.array(classes)
    held_out = np.zeros(len(classes), bool)
    rng = np.random.default_rng(seed)
    for index in range(len(labels)):
        members = rng.permutation(np.flatnonzero(classes == index))
        held_out[members[: max(1, len(members) // 5)]] = True
    return labels, (images[~held_out], classes[~held_out]), (images[held_out], classes[held_out])


def build(side: int, classes: int, weights: str):
    import keras

    try:
        trunk = keras.applications.ResNet50(
            include_top=False,
            pooling="avg",
            input_shape=(side, side, 3),
            weights=None if weights == "none" else weights,
        )
    except Exception as error:
        sys.exit(f"cannot load {weights} weights: {error}")
    head = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="predictions")(trunk.output)
    model = keras.Model(trunk.input, head, name="resnet50")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # Keras's 0.99 is too slow for a few hundred steps
            if weights == "none" and layer.name.endswith("_3_bn"):
                # Residual blocks that start as the identity learn faster (Goyal et al. 2017, section 5.1).
                layer.gamma.assign(np.zeros(layer.gamma.shape))
    return model


def augment(image: np.ndarray, side: int, rng: np.random.Generator) -> Image.Image:
    """Random orientation (of eight), crop with a free aspect ratio, brightness and saturation, sometimes no colour."""
    image = np.rot90(image, rng.integers(4))
    crop = Image.fromarray(image[:, ::-1] if rng.random() < 0.5 else image)
    width, height = (crop.width * rng.uniform(0.82, 1, 2)).tolist()
    left, top = rng.uniform(0, crop.width - width), rng.uniform(0, crop.height - height)
    crop = crop.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
    crop = ImageEnhance.Brightness(crop).enhance(rng.uniform(0.8, 1.2))
    crop = ImageEnhance.Color(crop).enhance(0 if rng.random() < 0.12 else rng.uniform(0.7, 1.3))
    return crop


def batches(train: Images, side: int, steps: int, scheme: str, rng: np.random.Generator):
    """Yields batches. A thread prepares the next batch while the network trains on the current one."""
    images, classes = train
    order = np.concatenate([rng.permutation(len(images)) for _ in range(steps * BATCH // len(images) + 1)])

    def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = order[step * BATCH : (step + 1) * BATCH]
        pixels = np.stack([np.asarray(augment(images[i], side, rng)) for i in chosen])
        return to_tensor(pixels, scheme), classes[chosen]

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(batch, 0)
        for step in range(steps):
            current = following.result()
            following = pool.submit(batch, min(step + 1, steps - 1))
            yield current


def load_weights(folder: Path, classes: int) -> list[np.ndarray]:
    import tensorflow as tf

    try:
        saved = tf.saved_model.load(str(folder))  # the variables live as long as this object
        variables = saved.signatures["serving_default"].variables
    except (OSError, KeyError) as error:
        sys.exit(f"{folder}: not a SavedModel with the signature serving_default: {error}")
    by_name = {variable.name.removesuffix(":0"): variable.numpy() for variable in variables}
    try:
        return [by_name[weight.path] for weight in build(SIDE, classes, "none").weights]
    except KeyError as error:
        sys.exit(f"{folder}: not a SavedModel of this script: it has no weight {error}")


def fit(
    train: Images,
    stages: list[tuple[int, float]],
    scheme: str,
    classes: int,
    start: str,
    weights: list[np.ndarray] | None,
    peak: float,
    seed: int,
) -> list[np.ndarray]:
    import keras

    rng = np.random.default_rng(seed)
    counts = [max(1, round(len(train[0]) * epochs / BATCH)) for _, epochs in stages]
    total, done = sum(counts), 0
    for (side, _), steps in zip(stages, counts, strict=True):
        model = build(side, classes, start if weights is None else "none")
        if weights is not None:
            model.set_weights(weights)
        one_hot = np.eye(classes, dtype=np.float32)
        # On a CPU, XLA's convolutions are slower than oneDNN's.
        model.compile(
            keras.optimizers.Adam(peak),
            keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
            metrics=["accuracy"],
            jit_compile=False,
        )
        began, losses, accuracies = time.time(), [], []
        for step, (pixels, answers) in enumerate(batches(train, side, steps, scheme, rng), 1):
            progress = done / total
            warm_up, decay = min(1.0, (done + 1) / 40), 0.01 + 0.99 * np.cos(np.pi / 2 * progress) ** 2
            model.optimizer.learning_rate = peak * warm_up * decay
            result = model.train_on_batch(pixels, one_hot[answers], return_dict=True)
            model.reset_metrics()
            losses.append(float(result["loss"]))
            accuracies.append(float(result["accuracy"]))
            done += 1
            if step % 20 == 0 or step == steps:
                rate = step * BATCH / (time.time() - began)
                print(
                    f"{side} px  step {step:4}/{steps}  loss {np.mean(losses[-20:]):.3f}  "
                    f"accuracy {np.mean(accuracies[-20:]):.3f}  {rate:.1f} images/s",
                    flush=True,
                )
        weights = model.get_weights()
    return weights


def recompute_statistics(model, train: Images, scheme: str, seed: int, steps: int = 16) -> None:
    """Recomputes the batch-norm statistics with the final weights, because the running averages lag behind them."""
    import keras

    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for step, (pixels, _) in enumerate(batches(train, SIDE, steps, scheme, np.random.default_rng(seed + 1))):
        for norm in norms:
            norm.momentum = step / (step + 1)
        model(pixels, training=True)


def evaluate(model, test: Images, labels: list[str], scheme: str) -> dict:
    images, classes = test
    confusion = np.zeros((len(labels), len(labels)), int)
    for start in range(0, len(images), 32):
        batch = [
            Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            for image in images[start : start + 32]
        ]
        found = model.predict_on_batch(to_tensor(np.stack([np.asarray(i) for i in batch]), scheme)).argmax(1)
        np.add.at(confusion, (classes[start : start + 32], found), 1)
    accuracy = float(np.trace(confusion) / confusion.sum())
    return {"held_out": len(images), "accuracy": round(accuracy, 4), "confusion": confusion.tolist()}


def print_confusion(report: dict) -> None:
    labels = report["labels"]
    print(f"held-out accuracy {report['accuracy']:.2%} on {report['held_out']}, {report['minutes']} minutes")
    print("actual \\ predicted" + "".join(f"{label:>10}" for label in labels))
    for label, row in zip(labels, report["confusion"], strict=True):
        print(f"{label:18}" + "".join(f"{count:10}" for count in row), flush=True)


def save(model, folder: Path, report: dict) -> None:
    import tensorflow as tf

    side = model.input_shape[1]
    signature = tf.TensorSpec((None, side, side, 3), tf.float32, name="image")
    serve = tf.function(lambda image: {"probabilities": model(image, training=False)}, input_signature=[signature])
    tf.saved_model.save(model, str(folder), signatures={"serving_default": serve})
    # export.py reads the labels and the preprocessing from here.
    extra = folder / "assets.extra"
    extra.mkdir(exist_ok=True)
    (extra / "manifest.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"saved {folder}; export it with: python {Path(__file__).with_name('export.py')} {folder}")


if __name__ == "__main__":
    main()
