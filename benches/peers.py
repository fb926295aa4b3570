#!/usr/bin/env python3
"""Compares the engine with other engines that run the same model in fp32, batch 1, on the same CPUs.

    pip install -r benches/requirements.txt
    cargo build --release --locked && target/release/moth-classifier compile
    python benches/peers.py                  # inference, on one CPU and on two
    python benches/peers.py --start          # whole processes: start to first prediction, peak memory
    python benches/peers.py --photos         # 12-megapixel JPEGs, from bytes to the resized image
    python benches/peers.py --networks DIR   # inference of all networks of benches/networks.py

Each engine is a process of its own. The processes take turns, so that only one works at a time and all are measured in
the same minutes. TensorFlow and TFLite take part with --saved-model DIR, the SavedModel from which model.onnx was
exported. The script runs on Linux only.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")


def numbers(arguments):
    """The input of all engines."""
    import numpy as np

    shape = input_shape(arguments.model)
    return (np.arange(math.prod(shape), dtype=np.int64) * 7919 % 256).astype(np.float32).reshape(shape)


def input_shape(model: Path) -> tuple[int, ...]:
    inputs = json.loads((model / "model.json").read_text())["input"]
    height, width = inputs["height"], inputs["width"]
    return (1, 3, height, width) if inputs["layout"] == "NCHW" else (1, height, width, 3)


def onnxruntime(arguments):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = ort.InferenceSession(arguments.model / "model.onnx", options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda values: session.run(None, {name: values})[0][0]


def openvino(arguments):
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": arguments.threads, "NUM_STREAMS": 1}
    model = ov.Core().read_model(arguments.model / "model.onnx")
    model.reshape(input_shape(arguments.model))
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda values: request.infer([values])[0][0]


def tensorflow(arguments):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    function = tf.saved_model.load(str(arguments.saved_model)).signatures["serving_default"]
    (name,) = function.structured_input_signature[1]
    return lambda values: next(iter(function(**{name: tf.constant(values)}).values())).numpy()[0]


def tflite(arguments):
    import tensorflow as tf

    # Convert only once, and not at each start. The file's name depends on the model.
    of = zlib.crc32((arguments.saved_model / "saved_model.pb").read_bytes())
    of = zlib.crc32((arguments.saved_model / "variables/variables.data-00000-of-00001").read_bytes(), of)
    file = Path(tempfile.gettempdir()) / f"peers-{os.getuid()}-{of:08x}.tflite"
    if not file.exists():
        model = tf.saved_model.load(str(arguments.saved_model))
        function = model.signatures["serving_default"]
        # TFLite uses its fast kernels only with a fixed batch.
        function.inputs[0].set_shape(input_shape(arguments.model))
        file.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert())
    interpreter = tf.lite.Interpreter(str(file), num_threads=arguments.threads)
    interpreter.allocate_tensors()

    def run(values):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]

    return run


def pillow(arguments):
    """Decodes and resizes. With --draft, decodes at a reduced size of at least twice the input's side."""
    import io

    import numpy as np
    from PIL import Image

    encoded = arguments.photo.read_bytes()

    def run(_):
        image = Image.open(io.BytesIO(encoded))
        if arguments.draft:
            image.draft("RGB", (448, 448))
        resized = image.resize((224, 224), Image.Resampling.BICUBIC)
        return np.asarray(resized).mean(axis=(0, 1)) if arguments.answer else None

    return run


WORKERS = {worker.__name__: worker for worker in (onnxruntime, openvino, tensorflow, tflite, pillow)}


def work(arguments) -> None:
    """Prints the answer, then runs once for each line on standard input and prints the milliseconds."""
    arguments.answer = True
    run, values = WORKERS[arguments.worker](arguments), numbers(arguments)
    print(json.dumps([float(value) for value in run(values)]), flush=True)
    arguments.answer = False
    if arguments.once:
        os._exit(0)
    for _ in sys.stdin:
        started = time.perf_counter()
        run(values)
        print((time.perf_counter() - started) * 1e3, flush=True)


def engine_binary() -> str:
    command = ["cargo", "bench", "--locked", "--bench", "peer", "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    artifacts = [json.loads(line) for line in lines]
    return next(a["executable"] for a in artifacts if a.get("target", {}).get("name") == "peer" and a["executable"])


def peers(arguments, threads: int) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Command and environment of each engine."""
    ours = engine_binary()
    this = [sys.executable, __file__, "--model", str(arguments.model), "--threads", str(threads)]
    if arguments.saved_model:
        this += ["--saved-model", str(arguments.saved_model)]
    environment = {"MODEL_DIR": str(arguments.model)}
    found = {
        "engine": ([ours, "engine", str(threads)], environment),
        "engine, AVX2": ([ours, "engine", str(threads)], environment | {"MAX_CPU_ISA": "avx2"}),
        "onnxruntime": ([*this, "--worker", "onnxruntime"], {}),
        "OpenVINO": ([*this, "--worker", "openvino"], {}),
        "OpenVINO, AVX2": ([*this, "--worker", "openvino"], {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    }
    if arguments.saved_model:
        found["TensorFlow"] = ([*this, "--worker", "tensorflow"], {})
        found["TFLite"] = ([*this, "--worker", "tflite"], {})
    found["stock tract"] = ([ours, "tract", str(threads)], environment)
    return found


def on_cpus(count: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def take_turns(peers: dict, threads: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Runs all in turns. Returns the answer and the milliseconds of each."""
    processes, answers = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (command, environment) in peers.items():
            log = Path(folder) / name
            with log.open("w") as errors:
                processes[name] = subprocess.Popen(
                    command,
                    env=os.environ | environment | {"TF_CPP_MIN_LOG_LEVEL": "3"},
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    preexec_fn=lambda: on_cpus(threads),
                )
            answer = processes[name].stdout.readline()
            if not answer:
                sys.exit(f"{name} failed:\n{log.read_text()}")
            answers[name] = json.loads(answer)
    times = {name: [] for name in processes}
    for _ in range(rounds):
        # A random order in each round, because each process finds the caches as the one before left them.
        for name, process in random.sample(list(processes.items()), len(processes)):
            process.stdin.write("\n")
            process.stdin.flush()
            times[name].append(float(process.stdout.readline()))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    return answers, times


def inference(arguments, threads: int) -> None:
    answers, times = take_turns(peers(arguments, threads), threads, arguments.rounds)
    check(answers)
    report(f"inference, {threads} thread{'s' if threads > 1 else ''}, ms", times)


def check(answers: dict[str, list[float]]) -> None:
    """All engines agree with onnxruntime. If another engine than ours does not, that is only reported."""
    for name, answer in answers.items():
        off = max(abs(a - b) for a, b in zip(answer, answers["onnxruntime"], strict=True))
        assert off < 1e-3 or "engine" not in name, f"{name} differs from onnxruntime by {off:.3f}"
        if off >= 1e-3:
            print(f"{name} differs from onnxruntime by {off:.3f}")


def photos(arguments) -> None:
    ours, this = engine_binary(), [sys.executable, __file__, "--worker", "pillow", "--photo"]
    with tempfile.TemporaryDirectory() as folder:
        for title, photo in twelve_megapixels(Path(folder)):
            peers = {
                "this function": ([ours, "photo", str(photo)], {}),
                "Pillow, open and resize": ([*this, str(photo)], {}),
                "Pillow, draft and resize": ([*this, str(photo), "--draft"], {}),
                "image crate, the same resize": ([ours, "image", str(photo)], {}),
            }
            answers, times = take_turns(peers, 1, arguments.rounds)
            for name, answer in answers.items():
                off = max(abs(a - b) for a, b in zip(answer, answers["Pillow, open and resize"], strict=True))
                assert off < 0.5, f"{name} differs from Pillow by {off} levels on average"
            report(f"{title}, {photo.stat().st_size / 1e6:.1f} MB, ms", times)


def twelve_megapixels(folder: Path):
    """Photos of 4000×3000 pixels, 4:2:0: a smooth drawing, and drawings with camera noise at usual quality settings."""
    sys.path.insert(0, str(ROOT / "tests"))
    import make_test_images

    yield "a smooth photo", ROOT / "test_images/good/faw-12-megapixels.jpg"
    grainy = make_test_images.grainy(make_test_images.moth("FAW", 8, (4000, 3000)))
    for quality in (85, 95):
        photo = folder / f"{quality}.jpg"
        grainy.save(photo, quality=quality, subsampling="4:2:0")
        yield f"a grainy one, quality {quality}", photo


def report(title: str, values: dict[str, list[float]]) -> None:
    ours = next(iter(values))
    least = min(values[ours])
    print(f"\n{title:40}{'min':>8}{'median':>8}{ours + ' ÷ it':>20}")
    for name, of in values.items():
        print(f"{name:40}{min(of):8.1f}{statistics.median(of):8.1f}{least / min(of):20.2f}")


def start(arguments) -> None:
    """Measures whole processes. The process of `moth-classifier` also decodes a photo."""
    commands = {"engine": ([str(arguments.binary), "classify", "--self-test"], {"MODEL_DIR": str(arguments.model)})}
    for name, (command, environment) in peers(arguments, 1).items():
        if "--worker" in command and "AVX2" not in name:
            commands[name] = ([*command, "--once"], environment)
    milliseconds, mebibytes = ({name: [] for name in commands} for _ in range(2))
    for _ in range(arguments.rounds):
        for name, (command, environment) in commands.items():
            began = time.perf_counter()
            process = subprocess.Popen(
                command,
                env=os.environ | environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                preexec_fn=lambda: on_cpus(1),
            )
            _, status, usage = os.wait4(process.pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0, command
            milliseconds[name].append((time.perf_counter() - began) * 1e3)
            mebibytes[name].append(usage.ru_maxrss / 1024)
    report("start to first prediction, ms", milliseconds)
    report("peak memory, MiB", mebibytes)


def networks(arguments) -> None:
    """Prints a table of minima for each number of threads: a row for each network, a column for each engine."""
    for threads in [arguments.threads] if arguments.threads else [1, 2]:
        rows = {}
        for folder in sorted(folder for folder in arguments.networks.iterdir() if folder.is_dir()):
            of = argparse.Namespace(**vars(arguments) | {"model": folder, "saved_model": folder / "saved_model"})
            environment = os.environ | {"MODEL_DIR": str(folder)}
            subprocess.run([arguments.binary, "compile"], env=environment, check=True, stdout=subprocess.DEVNULL)
            found = peers(of, threads)
            found.pop("TensorFlow")
            answers, times = take_turns(found, threads, arguments.rounds)
            check(answers)
            rows[folder.name] = {name: min(of) for name, of in times.items()}
            print(f"{folder.name} measured", file=sys.stderr, flush=True)
        ours = [name for name in next(iter(rows.values())) if name.startswith("engine")]
        print(f"\n{f'{threads} threads, ms':20}" + "".join(f"{name:>16}" for name in next(iter(rows.values()))), end="")
        print("".join(f"{f'{name} ÷ best':>22}" for name in ours))
        for network, row in rows.items():
            best = min(time for name, time in row.items() if name not in ours)
            print(f"{network:20}" + "".join(f"{time:16.2f}" for time in row.values()), end="")
            print("".join(f"{row[name] / best:22.2f}" for name in ours))


def cpu() -> str:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info)}
    flags = fields["flags"].split()
    return f"{fields['model name']} ({', '.join(feature for feature in FEATURES if feature in flags)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "model", help="folder with model.onnx and model.compiled")
    parser.add_argument("--saved-model", type=Path, help="SavedModel for TensorFlow and TFLite")
    parser.add_argument(
        "--binary",
        type=Path,
        default=ROOT / "target/release/moth-classifier",
        help="binary of moth-classifier, for --start and --networks",
    )
    parser.add_argument("--rounds", type=int, default=60, help="number of rounds (default 60)")
    parser.add_argument("--start", action="store_true", help="measure whole processes")
    parser.add_argument("--photos", action="store_true", help="measure decoding and resizing")
    parser.add_argument("--networks", type=Path, help="folder of benches/networks.py: measure all networks in it")
    parser.add_argument("--threads", type=int, help="number of threads (default 1, then 2)")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--photo", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--draft", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments)
    if arguments.photos:
        print(f"{cpu()}, {arguments.rounds} rounds")
        return photos(arguments)
    print(f"{cpu()}, fp32, batch 1, {arguments.rounds} rounds")
    if arguments.networks:
        return networks(arguments)
    if arguments.start:
        return start(arguments)
    for threads in [arguments.threads] if arguments.threads else [1, 2]:
        inference(arguments, threads)


if __name__ == "__main__":
    main()
