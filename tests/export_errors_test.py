"""Tests of the errors of export.py: each message is one line that names the defect, and the exit status is 2."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tensorflow as tf
from onnx import numpy_helper

MODEL = Path(__file__).resolve().parent.parent / "model"
sys.path.insert(0, str(MODEL))

import export


def save_function(
    folder: Path, *shapes, classes=3, dtype=tf.float32, names=("serving_default",), outputs=1, squash=tf.nn.softmax
) -> Path:
    """Saves a model with inputs of these `shapes`. Its scores depend on the mean of the pixels only."""
    module = tf.Module()
    specs = [tf.TensorSpec(shape, dtype, name=f"image_{index}") for index, shape in enumerate(shapes)]

    def scores(*images):
        pixels = tf.cast(images[0], tf.float32)
        mean = tf.reduce_mean(tf.reshape(pixels, (tf.shape(pixels)[0], -1)), 1, keepdims=True)
        return {f"scores_{index}": squash(mean / 255 * tf.range(classes, dtype=tf.float32)) for index in range(outputs)}

    serve = tf.function(scores, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures=dict.fromkeys(names, serve))
    return folder


ANY = (None, 224, 224, 3)
REFUSED = {
    "several signatures": (
        lambda f: save_function(f, ANY, names=("first", "second")),
        [],
        "has several signatures, choose one with --signature: first, second",
    ),
    "unknown signature": (
        lambda f: save_function(f, ANY),
        ["--signature", "other"],
        "no signature other: it has serving_default",
    ),
    "wrong rank": (lambda f: save_function(f, (None, 224, 224)), [], "has shape any×224×224, expected four dimensions"),
    "one channel": (lambda f: save_function(f, (None, 224, 224, 1)), [], "expected three colour channels"),
    "fixed batch": (lambda f: save_function(f, (8, 224, 224, 3)), [], "has a fixed batch of 8"),
    "wrong size": (
        lambda f: save_function(f, ANY),
        ["--size", "96"],
        "takes 224×224 pixels, which --size 96 cannot change",
    ),
    "wrong type": (lambda f: save_function(f, ANY, dtype=tf.uint8), [], "has type uint8, expected float32"),
    "two inputs": (lambda f: save_function(f, ANY, ANY), [], "takes 2 inputs, expected one image"),
    "two outputs": (lambda f: save_function(f, ANY, outputs=2), [], "gives 2 outputs, expected one"),
    "label count": (lambda f: save_function(f, ANY, classes=4), [], "3 labels for an output of 4 classes"),
    "no labels": (lambda f: save_function(f, ANY), ["--labels", ""], "no labels: name the classes"),
    "repeated label": (lambda f: save_function(f, ANY), ["--labels", "A,A,B"], "labels must be distinct"),
    "reserved label": (
        lambda f: save_function(f, ANY),
        ["--labels", "A,B,UNKNOWN"],
        "label UNKNOWN is the class of photos under a threshold: give the label another name",
    ),
    "name of no label": (
        lambda f: save_function(f, ANY),
        ["--taxa", "A=Aus bus,D=Dus bus"],
        "--taxa: D is not a label of the model: the labels are A, B, C",
    ),
    "one score": (lambda f: save_function(f, ANY, classes=1), ["--labels", "A"], "at least two classes"),
    "sigmoids": (
        lambda f: save_function(f, ANY, squash=tf.sigmoid),
        [],
        "independent sigmoids are not class probabilities",
    ),
    "zero deviation": (
        lambda f: save_function(f, ANY),
        ["--std", "1,0,1"],
        "--std must not contain 0, because it is a divisor",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unsuitable_model_is_refused_in_one_line(name, tmp_path, monkeypatch, capfd):
    make, flags, message = REFUSED[name]
    saved = make(tmp_path / "saved")
    out = tmp_path / "out"
    # In this process, because a TensorFlow process for each case would take minutes.
    monkeypatch.setattr(sys, "argv", ["export.py", str(saved), "--labels", "A,B,C", "--out", str(out), *flags])
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        export.main()
    assert stopped.value.code == 2
    printed = capfd.readouterr().err
    assert message in printed
    assert printed.startswith("export: ") and printed.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--taxa", "A"], "expected LABEL=NAME, not 'A'; commas separate the pairs"),
        (["--taxa", "A=Aus bus (Linnaeus, 1758)"], "expected LABEL=NAME, not ' 1758)'"),
        (["--taxa", "A=Aus,A=Bus"], "A occurs twice"),
        (["--precision", "95%"], "expected a number from 0 to 1, not '95%'"),
        (["--threshold", "1.5"], "expected a number from 0 to 1, not '1.5'"),
        (["--precision", "0.9"], "--precision needs --validation"),
        (["--validation", "photos", "--precision", "0.9", "--threshold", "0.9"], "exclude each other"),
    ],
)
def test_wrong_options_are_refused(flags, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["export.py", "saved", *flags])
    with pytest.raises(SystemExit) as stopped:
        export.parse_arguments()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def not_a_saved_model(tmp_path: Path) -> list[tuple[Path, str]]:
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"not a protocol buffer")
    (tmp_path / "note.txt").write_text("nothing here")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tmp_path / "note.txt", "note.txt")
    with tarfile.open(tmp_path / "hostile.tar", "w") as tar:
        tar.add(tmp_path / "note.txt", "../../escaped.txt")
    return [
        (tmp_path / "absent", "no such file or folder"),
        (tmp_path / "empty", "not a SavedModel: it has no saved_model.pb"),
        (tmp_path / "weights.h5", "neither a folder nor a .tar or .tar.gz"),
        (tmp_path / "broken", "not a SavedModel that TensorFlow can load"),
        (tmp_path / "other.tar", "not a SavedModel: it has no saved_model.pb"),
        (tmp_path / "hostile.tar", "cannot unpack"),
    ]


def test_a_path_that_is_not_a_saved_model_is_refused(tmp_path, monkeypatch, capfd):
    for path, message in not_a_saved_model(tmp_path):
        monkeypatch.setattr(sys, "argv", ["export.py", str(path), "--labels", "A,B,C", "--out", str(tmp_path / "out")])
        with pytest.raises(SystemExit) as stopped:
            export.main()
        assert stopped.value.code == 2
        printed = capfd.readouterr().err
        assert printed.startswith(f"export: {path}: ") and message in printed and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not (tmp_path.parent / "escaped.txt").exists()


def test_the_program_exits_with_2_and_prints_no_traceback(tmp_path):
    command = [sys.executable, str(MODEL / "export.py"), str(tmp_path / "absent"), "--labels", "A,B"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == f"export: {tmp_path / 'absent'}: no such file or folder\n"


def test_a_wrong_conversion_is_refused(tmp_path, monkeypatch, capfd):
    saved = save_function(tmp_path / "saved", ANY)
    # Simulates a wrong conversion: the weights are too large.
    convert = export.convert

    def spoiled(*arguments):
        model = convert(*arguments)
        for tensor in model.graph.initializer:
            if tensor.data_type == tensor.FLOAT:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
        return model

    monkeypatch.setattr(export, "convert", spoiled)
    monkeypatch.setattr(sys, "argv", ["export.py", str(saved), "--labels", "A,B,C", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        export.main()
    assert stopped.value.code == 2
    assert "refusing to write: ONNX and TensorFlow differ by" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
