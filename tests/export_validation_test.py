"""Tests of `export.py --validation`: thresholds, reference and taxa in the manifest, and the errors of the folder.

The model tells red, green and blue, like tests/color_model. A photo of one colour therefore has a probability that the
tests compute themselves. CLASSIFIER_BIN is the path of the binary, which must find the same classes.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

MODEL = Path(__file__).resolve().parent.parent / "model"
sys.path.insert(0, str(MODEL))

import export
from validation import Answers, Validation, cuts, lowest_threshold

LABELS = ["AAW", "ECLW", "FAW"]
# The colours of the validation photos of each label, as (channel, strength). Red looks like AAW, blue like FAW.
COLORS = {
    "AAW": [(0, 255), (0, 200), (0, 150), (0, 100)],
    "ECLW": [(1, 255), (2, 60)],
    "FAW": [(2, 255), (2, 100), (0, 120)],
}
STRENGTHS = [strength for colors in COLORS.values() for _, strength in colors]
TAXA = "FAW=Spodoptera frugiperda, AAW=Spodoptera exempta"


def top(strength: int) -> float:
    """Probability of the likeliest label for a photo of one channel with this `strength`."""
    power = math.exp(4 * strength / 255)
    return power / (power + 2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("color") / "saved"

    def probabilities(image):
        return {"probabilities": tf.nn.softmax(4 * tf.reduce_mean(image, (1, 2)))}

    serve = tf.function(probabilities, input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32, name="image")])
    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": serve})
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    for label, colors in COLORS.items():
        (folder / label / "field-2").mkdir(parents=True)
        for channel, strength in colors:
            color = tuple(strength if index == channel else 0 for index in range(3))
            Image.new("RGB", (40, 30), color).save(folder / label / "field-2" / f"{channel}-{strength}.png")
    (folder / "AAW" / ".DS_Store").write_bytes(b"hidden")
    return folder


@pytest.fixture
def run_export(saved, tmp_path, monkeypatch, capfd):
    """Runs export.py in this process, and returns the manifest and what was printed."""

    def run(*arguments) -> tuple[dict, str]:
        command = ["export.py", saved, "--labels", ",".join(LABELS), "--preprocess", "unit", "--out", tmp_path / "out"]
        monkeypatch.setattr(sys, "argv", [*map(str, command), *map(str, arguments)])
        capfd.readouterr()
        export.main()
        return json.loads((tmp_path / "out" / "model.json").read_text()), capfd.readouterr().out

    return run


def classify(model: Path, photos: Path) -> list[dict]:
    command = [os.environ["CLASSIFIER_BIN"], "classify", "--json", str(photos)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MODEL_DIR": str(model)})
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_function_applies_the_thresholds_that_reach_the_precision(run_export, photos, tmp_path):
    manifest, printed = run_export("--validation", photos, "--taxa", TAXA)
    # The red photo of 120 is no AAW, so 150 is the least red that counts. The blue of 60 is no FAW.
    assert manifest["thresholds"] == {
        "AAW": pytest.approx((top(120) + top(150)) / 2, abs=1e-4),
        "FAW": pytest.approx((top(60) + top(100)) / 2, abs=1e-4),
    }
    assert "threshold" not in manifest
    bins = [0] * 10
    for strength in STRENGTHS:
        bins[int(top(strength) * 10)] += 1
    assert manifest["reference"] == {"photos": 9, "bins": bins, "unknown": 3}
    assert manifest["taxa"] == {"FAW": "Spodoptera frugiperda", "AAW": "Spodoptera exempta"}
    assert manifest["source"]["validation"] == {"folder": "photos", "precision": 0.95}

    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.split()}
    threshold = f"{manifest['thresholds']['AAW']:.6g}"
    assert rows["AAW"] == ["AAW", "4", "5", threshold, "100", "%", "60", "%"]
    assert rows["ECLW"] == ["ECLW", "2", "1", "none", "100", "%", "100", "%"]
    assert "3 of 9 validation photos are UNKNOWN" in printed
    assert "too few photos to measure a precision of 95 %: AAW (3), ECLW (1), FAW (2)" in printed

    found = {Path(line["path"]).name: line for line in classify(tmp_path / "out", photos)}
    unknown = {name: line["predictedClassName"] for name, line in found.items() if line["className"] == "UNKNOWN"}
    assert unknown == {"0-100.png": "AAW", "0-120.png": "AAW", "2-60.png": "FAW"}
    assert found["0-150.png"]["className"] == "AAW"


def test_a_lower_precision_needs_fewer_thresholds(run_export, photos):
    manifest, printed = run_export("--validation", photos, "--precision", "0.8")
    assert list(manifest["thresholds"]) == ["FAW"]
    assert manifest["reference"]["unknown"] == 1
    assert "too few photos to measure a precision of 80 %: AAW" not in printed
    manifest, _ = run_export("--validation", photos, "--precision", "0.5")
    assert "thresholds" not in manifest and manifest["reference"]["unknown"] == 0


def test_one_threshold_replaces_the_precision(run_export, photos):
    manifest, printed = run_export("--validation", photos, "--threshold", "0.9")
    assert manifest["threshold"] == 0.9 and "thresholds" not in manifest
    assert manifest["reference"]["unknown"] == sum(top(strength) < 0.9 for strength in STRENGTHS)
    assert "0.9" in printed and "too few photos" not in printed
    manifest, printed = run_export("--threshold", "0.9")
    assert manifest["threshold"] == 0.9 and "reference" not in manifest
    assert "below 0.9" in printed


def test_a_model_without_these_options_has_no_thresholds(run_export):
    manifest, _ = run_export()
    assert not {"threshold", "thresholds", "taxa", "reference"} & set(manifest)


def remove_photos(photos: Path) -> None:
    for photo in (photos / "ECLW" / "field-2").iterdir():
        photo.unlink()


def swap(photos: Path) -> None:
    (photos / "ECLW").rename(photos / "other")
    (photos / "FAW").rename(photos / "ECLW")
    (photos / "other").rename(photos / "FAW")


def only_blue(photos: Path) -> None:
    for photo in (photos / "ECLW" / "field-2").iterdir():
        Image.new("RGB", (8, 8), (0, 0, 60)).save(photo)


WRONG_FOLDERS = {
    "unknown label": (
        lambda photos: (photos / "beetles").mkdir(),
        "{photos}/beetles: not a label of the model: rename it to one of AAW, ECLW, FAW, or remove it",
    ),
    "file beside the folders": (
        lambda photos: (photos / "notes.txt").write_text("night 1"),
        "{photos}/notes.txt: not in the folder of a label: move it into one of AAW, ECLW, FAW, or remove it",
    ),
    "no photos": (
        remove_photos,
        "{photos}/ECLW: no photos: put the validation photos of ECLW into this folder",
    ),
    "missing label": (lambda photos: (photos / "FAW").rename(photos.parent / "FAW"), "{photos}/FAW: no photos"),
    "text": (
        lambda photos: (photos / "AAW" / "list.csv").write_text("moth"),
        "{photos}/AAW/list.csv: not a JPEG, PNG or WebP photo: convert it or remove it",
    ),
    "other format": (
        lambda photos: Image.new("RGB", (8, 8)).save(photos / "AAW" / "moth.bmp"),
        "{photos}/AAW/moth.bmp: not a JPEG, PNG or WebP photo",
    ),
    "cut off": (
        lambda photos: (photos / "AAW" / "cut.jpg").write_bytes(export.SELF_TEST.read_bytes()[:9000]),
        "{photos}/AAW/cut.jpg: cannot be decoded, replace it or remove it: ",
    ),
    "precision out of reach": (
        swap,
        "ECLW: no threshold reaches a precision of 95 %, the best is 0 %: "
        "train the model with more photos of it, lower --precision, or use --threshold",
    ),
    "never likeliest": (
        only_blue,
        "ECLW: its precision is unknown, because it is the likeliest label of no validation photo: ",
    ),
}


@pytest.mark.parametrize("name", WRONG_FOLDERS)
def test_a_wrong_folder_is_refused_and_nothing_is_written(name, run_export, photos, tmp_path, capfd):
    spoil, message = WRONG_FOLDERS[name]
    spoil(photos)
    with pytest.raises(SystemExit) as stopped:
        run_export("--validation", photos)
    assert stopped.value.code == 2
    printed = capfd.readouterr().err
    assert printed.startswith("export: " + message.format(photos=photos)) and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_there_is_refused(run_export, tmp_path, capfd):
    with pytest.raises(SystemExit):
        run_export("--validation", tmp_path / "absent")
    assert f"{tmp_path}/absent: no such folder: --validation needs a folder" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("top", "right", "precision", "threshold"),
    [
        ([0.9, 0.8], [True, True], 0.95, 0),
        ([0.9, 0.8], [True, False], 0.95, 0.85),
        ([0.9, 0.8], [True, False], 0.5, 0),
        ([0.9, 0.8], [False, True], 0.95, None),
        ([0.9, 0.8], [False, False], 0.95, None),
        # The wrong photo at 0.8 is outweighed by those below it.
        ([0.9, 0.8, 0.7, 0.6, 0.5], [True, False, True, True, False], 0.75, 0.55),
        # No threshold separates photos of the same probability.
        ([1, 1, 0.5], [True, False, True], 0.95, None),
        ([0.9, 0.5, 0.5], [True, True, False], 0.95, 0.7),
        # 19 of 20 are 95 %.
        ([0.9] * 20, [True] * 19 + [False], 0.95, 0),
    ],
)
def test_the_threshold_is_the_lowest(top, right, precision, threshold):
    found = lowest_threshold(np.array(top, np.float32), np.array(right), precision)
    assert found == (None if threshold is None else pytest.approx(threshold, abs=1e-4))


def test_no_lower_threshold_reaches_the_precision():
    rng = np.random.default_rng(7)
    for _ in range(200):
        count = int(rng.integers(1, 30))
        # Few digits, for ties; and neighbours in float32.
        top = np.round(rng.uniform(0.3, 1, count), int(rng.integers(1, 8))).astype(np.float32)
        top = np.where(rng.random(count) < 0.2, np.nextafter(top, np.float32(0)), top)
        right = rng.random(count) < 0.8
        precision = float(rng.uniform(0.5, 1))
        kept = [top >= cut for cut in np.unique(top)]
        reached = [members for members in kept if right[members].mean() >= precision]
        found = lowest_threshold(top, right, precision)
        assert (found is None) == (not reached)
        if reached:
            # Comparison and rounding are those of Rust: a float32, after a trip through JSON.
            threshold = np.float32(json.loads(json.dumps(found)))
            assert (~(top < threshold) == max(reached, key=np.sum)).all()


def test_bins_are_those_of_the_function():
    # As in src/model/reference.rs. The float32 nearest to 0.7 and 0.9 is below it.
    top = np.array([0.0, 0.099, 0.125, 0.5, 0.7, 0.899, 0.9, 0.901, 1.0], np.float32)
    answers = Answers(np.zeros(9, int), np.zeros(9, int), top)
    validation = Validation(["A"], answers, np.array([0.5]), None)
    assert validation.manifest() == {
        "reference": {"photos": 9, "bins": [2, 1, 0, 0, 0, 1, 1, 0, 2, 2], "unknown": 3},
    }
    assert cuts(top[:1], np.array([True])) == [(1, 1.0)]
