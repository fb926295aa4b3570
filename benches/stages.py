#!/usr/bin/env python3
"""Measures the stages of an invocation: 200 photos of 500×500 pixels, processed with the embedded services.

    cargo build --release --locked && target/release/moth-classifier compile && python3 benches/stages.py

Each photo is an event of its own: the function reads it from S3, decodes it, classifies it, and commits to DynamoDB.
The times come from the log of the function, which runs in one process. The script needs only the standard library.
"""

import argparse
import json
import os
import random
import statistics
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGES = {"fetch_ms": "fetch", "decode_ms": "decode, resize", "inference_ms": "inference", "commit_ms": "commit"}


def png(seed: int, side: int = 500) -> bytes:
    """A PNG of gradients and noise, about as expensive to decode as a photo."""
    noise = random.Random(seed)
    rows = b"".join(
        b"\0" + bytes((x * 3 // 8 + y // 5 + noise.getrandbits(4)) & 255 for x in range(side) for _ in "rgb")
        for y in range(side)
    )

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--binary", type=Path, default=ROOT / "target/release/moth-classifier", help="binary to measure"
    )
    parser.add_argument("--photos", type=int, default=200, help="number of photos (default 200)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos, data = Path(folder, "photos"), Path(folder, "data")
        photos.mkdir()
        for n in range(arguments.photos):
            (photos / f"{n}.png").write_bytes(png(n))
        subprocess.run(
            [arguments.binary, "local", "--json", "--concurrency", "1", "--data", data, photos],
            check=True,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        lines = [json.loads(line) for line in Path(data, "function.log").read_text().splitlines()]
    images = [line for line in lines if line.get("message") == "photo"]
    assert len(images) == arguments.photos and all(line["outcome"] == "recorded" for line in images)
    sums = {stage: sum(line[stage] for line in images) for stage in STAGES}
    print(f"{len(images)} photos, {os.cpu_count()} CPUs")
    print(f"{'':16}{'median ms':>10}{'share':>8}")
    for stage, name in STAGES.items():
        median = statistics.median(line[stage] for line in images)
        print(f"{name:16}{median:10.1f}{sums[stage] / sum(sums.values()):8.0%}")


if __name__ == "__main__":
    main()
