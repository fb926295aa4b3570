"""Runs a model on validation photos: thresholds that reach a precision, and the reference for drift."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from preprocess import to_tensor, upright_rgb
from saved_model import ModelError, first_line

BINS = 10  # confidence bins, as in src/model/reference.rs
FORMATS = ("JPEG", "PNG", "WEBP")  # formats that the function decodes, by Pillow's names

Score = Callable[[np.ndarray], np.ndarray]  # tensor of one image to its probabilities (1, classes)


@dataclass(frozen=True)
class Answers:
    """The model's answers for the validation photos, one value for each photo."""

    actual: np.ndarray  # index of the photo's label
    likeliest: np.ndarray  # index of the likeliest label
    top: np.ndarray  # probability of the likeliest label, float32 as in the Rust classifier


@dataclass(frozen=True)
class Validation:
    """Thresholds, and what they mean for the validation photos."""

    labels: list[str]
    answers: Answers
    thresholds: np.ndarray  # one for each label, 0 for none
    precision: float | None  # precision that the thresholds were chosen for, if they were

    def counted(self) -> np.ndarray:
        """Whether each photo counts in the class of its likeliest label. The others are UNKNOWN."""
        return self.answers.top >= self.thresholds.astype(np.float32)[self.answers.likeliest]

    def manifest(self) -> dict:
        """The manifest's reference, and the thresholds that were chosen."""
        # The Rust classifier too multiplies in float64.
        bins = np.minimum((self.answers.top.astype(np.float64) * BINS).astype(int), BINS - 1)
        reference = {
            "photos": len(bins),
            "bins": np.bincount(bins, minlength=BINS).tolist(),
            "unknown": int((~self.counted()).sum()),
        }
        thresholds = {label: float(value) for label, value in zip(self.labels, self.thresholds, strict=True) if value}
        if self.precision is None or not thresholds:
            return {"reference": reference}
        return {"thresholds": thresholds, "reference": reference}

    def print_table(self) -> None:
        """Prints what the thresholds mean for each label."""
        counted = self.counted()
        rows = [("label", "photos", "likeliest", "threshold", "precision", "kept")]
        few = []
        for index, label in enumerate(self.labels):
            actual, likeliest = self.answers.actual == index, self.answers.likeliest == index
            kept = likeliest & counted
            photos, right = int(kept.sum()), int((kept & actual).sum())
            row = (
                label,
                str(actual.sum()),
                str(likeliest.sum()),
                f"{self.thresholds[index]:.6g}" if self.thresholds[index] else "none",
                percent(right / photos) if photos else "–",
                percent(photos / likeliest.sum()) if photos else "–",
            )
            rows.append(row)
            # With one wrong photo among so few, the precision would be missed.
            if self.precision is not None and (photos - 1) / photos < self.precision:
                few.append(f"{label} ({photos})")
        width = max(len(row[0]) for row in rows)
        for label, *cells in rows:
            print(f"{label:{width}}" + "".join(f"{cell:>11}" for cell in cells))
        print(f"{(~counted).sum()} of {len(counted)} validation photos are UNKNOWN")
        if few:
            print(f"too few photos to measure a precision of {percent(self.precision)}: {', '.join(few)}")


def find_photos(folder: Path, labels: list[str]) -> list[tuple[Path, int]]:
    """The photos in `folder`, which has one folder for each label, and the index of the label of each.

    Names that begin with a dot are left out, as by `classify`.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder: --validation needs a folder with one folder for each label")
    named = ", ".join(labels)
    for path in visible(folder):
        if not path.is_dir():
            raise ModelError(f"{path}: not in the folder of a label: move it into one of {named}, or remove it")
        if path.name not in labels:
            raise ModelError(f"{path}: not a label of the model: rename it to one of {named}, or remove it")
    photos = []
    for index, label in enumerate(labels):
        paths = list(files(folder / label))
        if not paths:
            raise ModelError(f"{folder / label}: no photos: put the validation photos of {label} into this folder")
        photos += [(path, index) for path in paths]
    return photos


def files(folder: Path) -> Iterable[Path]:
    """All files in `folder` and in the folders below it."""
    for path in visible(folder):
        if path.is_dir():
            yield from files(path)
        else:
            yield path


def visible(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else []
    return sorted(path for path in found if not path.name.startswith("."))


def classify(photos: list[tuple[Path, int]], rule: dict, image: dict, score: Score) -> Answers:
    """Runs the model on all `photos`. `rule` is the manifest's preprocessing, and `image` its input."""
    likeliest, top = [], []
    try:
        for number, (path, _) in enumerate(photos, 1):
            show_progress(f"validation photo {number} of {len(photos)}")
            pixels = resized(path, (image["width"], image["height"]))
            probabilities = score(to_tensor(pixels[None], rule, image["layout"]))[0]
            likeliest.append(int(probabilities.argmax()))
            top.append(min(probabilities.max(), 1))  # rounding may put it above 1
    finally:
        show_progress("")
    return Answers(np.array([label for _, label in photos]), np.array(likeliest), np.array(top, np.float32))


def resized(path: Path, size: tuple[int, int]) -> np.ndarray:
    try:
        return np.asarray(upright_rgb(path, FORMATS).resize(size, Image.Resampling.BICUBIC))
    except UnidentifiedImageError:
        raise ModelError(f"{path}: not a JPEG, PNG or WebP photo: convert it or remove it") from None
    except Exception as error:
        raise ModelError(f"{path}: cannot be decoded, replace it or remove it: {first_line(error)}") from error


def show_progress(text: str) -> None:
    """Shows `text` in place of the text before it, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def validate(answers: Answers, labels: list[str], precision: float | None, threshold: float | None) -> Validation:
    """Chooses thresholds for `precision`, unless there is one `threshold` for all labels."""
    if threshold is not None:
        return Validation(labels, answers, np.full(len(labels), threshold), None)
    thresholds = np.array([choose_threshold(answers, index, label, precision) for index, label in enumerate(labels)])
    return Validation(labels, answers, thresholds, precision)


def choose_threshold(answers: Answers, index: int, label: str, precision: float) -> float:
    """The lowest threshold of `label` at which a share of `precision` of the photos in its class belong there.

    A label without such a threshold is an error. The threshold 1 would not help: softmax rounds to probability 1, and
    photos of probability 1 would still count.
    """
    members = answers.likeliest == index
    if not members.any():
        raise ModelError(
            f"{label}: its precision is unknown, because it is the likeliest label of no validation photo: "
            "train the model with more photos of it, or use --threshold"
        )
    top, right = answers.top[members], answers.actual[members] == index
    threshold = lowest_threshold(top, right, precision)
    if threshold is None:
        best = percent(max(share for _, share in cuts(top, right)))
        raise ModelError(
            f"{label}: no threshold reaches a precision of {percent(precision)}, the best is {best}: "
            "train the model with more photos of it, lower --precision, or use --threshold"
        )
    return threshold


def lowest_threshold(top: np.ndarray, right: np.ndarray, precision: float) -> float | None:
    """The lowest threshold at which a share of `precision` is right: 0 if all photos may count, None if there is none.

    `top` has the probability of each photo, and `right` says whether its likeliest label is its own.
    """
    kept = max((count for count, share in cuts(top, right) if share >= precision), default=None)
    if kept is None:
        return None
    if kept == len(top):
        return 0.0
    descending = np.sort(top)[::-1]
    return between(descending[kept], descending[kept - 1])


def cuts(top: np.ndarray, right: np.ndarray) -> list[tuple[int, float]]:
    """Ways to split photos by a threshold: the number of photos that are not below it, and the share of these that are
    right. No threshold separates photos of the same probability."""
    order = np.argsort(-top, kind="stable")
    hits = np.cumsum(right[order])
    ends = np.append(np.flatnonzero(np.diff(top[order])), len(top) - 1)
    return [(int(end) + 1, float(hits[end] / (end + 1))) for end in ends]


def between(below: np.float32, least: np.float32) -> float:
    """A short number halfway between two probabilities: `below` is under the threshold, and `least` is not.

    Halfway, because JPEG decoders differ a little, and no photo is likely to change sides.
    """
    middle = (float(below) + float(least)) / 2
    for digits in range(4, 10):
        threshold = round(middle, digits)
        if below < np.float32(threshold) <= least:
            return threshold
    return float(least)


def percent(share: float) -> str:
    return f"{share * 100:.4g} %"
