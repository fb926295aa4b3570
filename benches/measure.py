#!/usr/bin/env python3
"""Measures whole processes of the release binary: start to first prediction, peak memory, and time per photo when warm.

    cargo build --release --locked && python3 benches/measure.py

Each figure is the minimum and the median of ROUNDS processes on one CPU, because a Lambda function with 1,769 MB has
one vCPU. The script needs only the standard library, and runs on Linux only.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "test_images/good/aaw.jpg"
FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--binary", type=Path, default=ROOT / "target/release/moth-classifier", help="binary to measure"
    )
    parser.add_argument("--rounds", type=int, default=10, help="number of processes (default 10)")
    parser.add_argument("--images", type=int, default=20, help="number of photos in the warm run")
    arguments = parser.parse_args()
    one_cpu = {min(os.sched_getaffinity(0))}
    os.sched_setaffinity(0, one_cpu)

    with tempfile.TemporaryDirectory() as folder:
        one, many = Path(folder, "one"), Path(folder, "many")
        for target, count in ((one, 1), (many, 1 + arguments.images)):
            target.mkdir()
            for n in range(count):
                shutil.copy(PHOTO, target / f"{n}.jpg")
        firsts, peaks, warms = [], [], []
        for _ in range(arguments.rounds):  # in turns, so that a busy moment affects both
            first, peak = run(arguments.binary, one)
            all_of_them, _ = run(arguments.binary, many)
            firsts.append(first * 1000)
            peaks.append(peak / 1024)
            warms.append((all_of_them - first) * 1000 / arguments.images)

    print(f"{cpu()}, one CPU, {arguments.rounds} rounds")
    print(f"{'':36}{'min':>8}{'median':>8}")
    for name, unit, values in (
        ("start to first prediction", "ms", firsts),
        ("warm: decode, resize, inference", "ms", warms),
        ("peak memory", "MiB", peaks),
    ):
        print(f"{name + ', ' + unit:36}{min(values):8.0f}{statistics.median(values):8.0f}")


def run(binary: Path, folder: Path) -> tuple[float, int]:
    """Runs `classify` on `folder`. Returns its seconds from start to end, and its peak resident memory in KiB."""
    started = time.perf_counter()
    process = subprocess.Popen([binary, "classify", "--json", folder], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{binary} classify failed with exit status {process.returncode}")
    return elapsed, usage.ru_maxrss


def cpu() -> str:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split("\t", 1) for line in info if "\t" in line)
    fields = {name.strip(): value.strip(": \t") for name, value in fields.items()}
    flags = fields.get("flags", "").split()
    return f"{fields.get('model name', 'unknown CPU')} ({', '.join(f for f in FEATURES if f in flags)})"


if __name__ == "__main__":
    main()
