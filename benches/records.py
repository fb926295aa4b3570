#!/usr/bin/env python3
"""Measures commits, lists and exports of records on the embedded services, a binary against an older one.

    pip install -r tests/requirements.txt
    python benches/records.py --old PATH

The embedded services are those of the newer binary. The function is either binary, in turns. Commits are of one photo
(a direct event) and of ten (a queue's batch). Lists and exports read a table of many records.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
from botocore.config import Config

from measure import cpu

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

BUCKET = "bench"  # its objects invoke no function
BATCH = 10
# The tests' model that tells colours answers in a millisecond.
MODEL = {"MODEL_DIR": str(ROOT / "tests/color_model")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--binary", type=Path, default=ROOT / "target/release/moth-classifier", help="binary to measure"
    )
    parser.add_argument("--old", type=Path, help="binary to compare commits with")
    parser.add_argument("--commits", type=int, default=500, help="commits of each kind and binary (default 500)")
    parser.add_argument("--records", type=int, default=100_000, help="records in the large table (default 100,000)")
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    os.environ["CLASSIFIER_BIN"] = str(binary)
    print(f"{cpu()}")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.old:
            commits(arguments.old.resolve(), binary, Path(folder), arguments.commits)
        table(binary, Path(folder, "large"), arguments.records)


def commits(old: Path, new: Path, folder: Path, number: int) -> None:
    from serve import serve

    def served(name: str, bootstrap: Path):
        options = ("--data", str(folder / name), "--bootstrap", str(bootstrap), "--concurrency", "1")
        return serve(*options, **MODEL)

    with served("old", old) as first, served("new", new) as second:
        sides = [Side(first), Side(second)]
        for _ in range(number):
            for side in sides:  # in turns, so that a busy moment affects both
                side.deliver(1)
        for _ in range(number):
            for side in sides:
                side.deliver(BATCH)
    print(f"\nms of a commit, median of {number}:")
    print(f"{'photos':>8}{'old':>8}{'new':>8}{'new ÷ old':>11}")
    times = [commit_times(folder / name, number) for name in ("old", "new")]
    for kind, photos in ((0, 1), (1, BATCH)):
        before, after = (statistics.median(side[kind]) for side in times)
        print(f"{photos:8}{before:8.2f}{after:8.2f}{after / before:11.2f}")


class Side:
    """A function that is invoked by hand."""

    def __init__(self, served) -> None:
        variables = served.variables
        session = boto3.Session(
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            region_name=variables["AWS_DEFAULT_REGION"],
        )
        config = Config(s3={"addressing_style": "path"}, connect_timeout=5)
        self.s3 = session.client("s3", endpoint_url=served.endpoints["S3"], config=config)
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        self.url = served.endpoints["Lambda"] + "/2015-03-31/functions/moth-classifier/invocations"
        self.photo = photo()

    def deliver(self, photos: int) -> None:
        """Uploads new versions, and invokes the function with their events."""
        records = [self.record(f"field-1/{n}.png") for n in range(photos)]
        event = {"Records": records}
        if photos > 1:
            messages = [
                {"messageId": str(n), "eventSource": "aws:sqs", "body": json.dumps({"Records": [record]})}
                for n, record in enumerate(records)
            ]
            event = {"Records": messages}
        with urllib.request.urlopen(self.url, json.dumps(event).encode(), timeout=60) as response:
            answer = json.load(response)
        assert "errorMessage" not in answer and not answer.get("batchItemFailures"), answer

    def record(self, key: str) -> dict:
        version = self.s3.put_object(Bucket=BUCKET, Key=key, Body=self.photo)["VersionId"]
        s3 = {"bucket": {"name": BUCKET}, "object": {"key": key, "versionId": version}}
        return {"eventName": "ObjectCreated:Put", "awsRegion": "us-east-1", "s3": s3}


def photo() -> bytes:
    from io import BytesIO

    from PIL import Image

    png = BytesIO()
    Image.new("RGB", (20, 10), (0, 0, 255)).save(png, "PNG")
    return png.getvalue()


def commit_times(folder: Path, number: int) -> tuple[list[float], list[float]]:
    """Milliseconds of the commits of one photo, and of those of ten, which a line of each photo repeats."""
    lines = [json.loads(line) for line in (folder / "function.log").read_text().splitlines()]
    times = [line["commit_ms"] for line in lines if line.get("message") == "photo"]
    assert len(times) == number * (1 + BATCH), len(times)
    return times[:number], times[number::BATCH]


def table(binary: Path, folder: Path, number: int) -> None:
    from serve import serve

    with serve("--data", str(folder), **MODEL) as served:
        dynamodb = boto3.client(
            "dynamodb",
            endpoint_url=served.endpoints["DynamoDB"],
            aws_access_key_id=served.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=served.variables["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )
        Side(served).deliver(1)
        [record] = dynamodb.scan(TableName="predictions")["Items"]
        started = time.perf_counter()
        for some in batches(copies(record, number)):
            puts = [{"PutRequest": {"Item": item}} for item in some]
            answer = dynamodb.batch_write_item(RequestItems={"predictions": puts})
            assert not answer["UnprocessedItems"]
        print(f"\n{number} records, written in {time.perf_counter() - started:.0f} s")
    first, last = nights(number)[0], nights(number)[-1]
    days = ["--from", first, "--to", last]
    nothing = median_ms([binary, "--version"])
    listed = median_ms([binary, "records", "--data", folder, *days, "--limit", "50", "--json"])
    print(f"list of 50 records: {listed:.1f} ms, of which {nothing:.1f} are the start of the process")
    # The median above has opened the table often enough to tidy its files.
    idle = peak([binary, "counts", "--data", folder, "--from", last, "--to", last])[1]
    deployments = folder / "deployments.csv"
    deployments.write_text(
        "deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd\n"
        f"d1,field-1,6.5,3.4,{first}T00:00:00Z,{last}T23:59:59Z\n"
    )
    importing = [binary, "deployments", "import", deployments, "--data", folder, "--by", "bench"]
    subprocess.run(importing, check=True, capture_output=True)
    for form in ("csv", "training", "camtrap-dp"):
        seconds, memory, size = export(binary, folder, form, days)
        print(
            f"export {form}: {seconds:.1f} s, {number / seconds:.0f} records a second, {size / 1e6:.0f} MB, "
            f"{memory:.0f} MiB, {memory - idle:.0f} more than to count one night"
        )


def nights(number: int) -> list[str]:
    """A month of nights."""
    from datetime import date, timedelta

    return [str(date(2026, 5, 1) + timedelta(days=day)) for day in range(31)]


def copies(record: dict, number: int) -> Iterator[dict]:
    """Records of other photos, spread over a month."""
    import uuid

    days = nights(number)
    for n in range(number):
        night = days[n * len(days) // number]
        identifier = str(uuid.UUID(int=n))
        at = f"{night}T20:{n % 60:02}:{n // 60 % 60:02}Z"
        yield record | {
            "PredictionDate": {"S": night},
            "ClassPredictionID": {"S": f"FAW-{identifier}"},
            "Count_ClassName": {"N": str(n + 1)},
            "CapturedAt": {"S": at},
            "Night": {"S": night},
            "NightKey": {"S": f"{at}#{identifier}"},
            "ReviewStatus": {"S": "confirmed"},
            "ReviewedClass": {"S": "FAW"},
            "ReviewedBy": {"S": "Ada"},
            "ReviewedAt": {"S": "2026-11-20T18:04:33.120Z"},
            "Revision": {"N": "1"},
        }


def batches(items: Iterator[dict]) -> Iterator[list[dict]]:
    some = []
    for item in items:
        some.append(item)
        if len(some) == 25:
            yield some
            some = []
    if some:
        yield some


def median_ms(command: list) -> float:
    times = []
    for _ in range(21):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def peak(command: list) -> tuple[float, float]:
    """Seconds of a process, and its peak resident memory in MiB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def export(binary: Path, folder: Path, form: str, days: list[str]) -> tuple[float, float, int]:
    out = folder / f"export.{form}"
    seconds, memory = peak([binary, "export", "--format", form, "--data", folder, "--out", out, *days])
    return seconds, memory, out.stat().st_size


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    main()
