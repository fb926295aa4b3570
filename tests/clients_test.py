"""Tests that every photo gets one outcome when S3 clients copy photos into a `local --serve`.

Each client copies photos below a prefix of its own. The environment variable PHOTOS sets their number. Some are
multipart uploads, and some files are not photos. Afterwards the tests list the object versions and read both tables.
The model has a few bytes, so that 200 photos take 6 s for a client. With ResNet-50 they would take 40 s.
"""

import base64
import functools
import os
import shutil
import socket
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import clients
import photos
from clients import BUCKET, CHECKSUMS
from photos import Photo
from serve import PATIENCE, Outcomes, Served, Version, serve

PHOTOS = int(os.environ.get("PHOTOS", "200"))
COPY = {
    "rclone": clients.with_rclone,
    "s3cmd": clients.with_s3cmd,
    "aws-cli": clients.with_aws_cli,
    "boto3": clients.with_boto3,
    "minio": clients.with_minio,
}
# requirements.txt cannot have it, because it is not on PyPI.
NEEDS_RCLONE = pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed")


@dataclass
class Found:
    """What the bucket and the tables have for the photos below a prefix."""

    # ETags by version.
    versions: dict[Version, str]
    # The ledger's items of the objects.
    entries: list[dict]
    # The items of the predictions table.
    records: list[dict]


def check_outcomes(gallery: dict[str, Photo], found: Found) -> None:
    """Each photo has one version, each version one ledger entry, and each counted version one record."""
    etags = sorted((key, etag) for (key, _), etag in found.versions.items())
    assert etags == sorted((key, photo.etag()) for key, photo in gallery.items())
    assert sorted(map(version, found.entries)) == sorted(found.versions)
    outcomes = {entry["ObjectKey"]: outcome(entry) for entry in found.entries}
    assert outcomes == {key: photo.outcome for key, photo in gallery.items()}
    counted = [entry for entry in found.entries if entry["Status"] == "COUNTED"]
    assert sorted(map(place, found.records)) == sorted(map(place, counted))


def version(item: dict) -> Version:
    return item["ObjectKey"], item["VersionId"]


def outcome(entry: dict) -> tuple[str, str]:
    return entry["Status"], entry["ClassName" if entry["Status"] == "COUNTED" else "Reason"]


def place(item: dict) -> tuple:
    """The values that a version's record and its ledger entry share."""
    return *version(item), item["PredictionDate"], item["ClassPredictionID"], item["ClassName"], item["Count_ClassName"]


def check_ordinals(records: list[dict], counters: dict[str, int]) -> None:
    """The ordinals of each class and day are 1 to N, and the counter is N."""
    ordinals = defaultdict(list)
    for record in records:
        ordinals[f"count/{record['PredictionDate']}/{record['ClassName']}"].append(int(record["Count_ClassName"]))
    assert {key: sorted(numbers) for key, numbers in ordinals.items()} == {
        key: list(range(1, len(numbers) + 1)) for key, numbers in ordinals.items()
    }
    assert counters == {key: len(numbers) for key, numbers in ordinals.items()}


class Reader:
    """Reads the bucket and the tables with boto3."""

    def __init__(self, served: Served):
        self.s3 = clients.s3(served)
        self.dynamodb = clients.dynamodb(served)

    def versions(self, prefix: str) -> dict[Version, str]:
        """ETags of all versions below `prefix`."""
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix)
        versions = [version for page in pages for version in page["Versions"]]
        return {(version["Key"], version["VersionId"]): version["ETag"] for version in versions}

    def scan(self, table: str) -> list[dict]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]

    def counters(self) -> dict[str, int]:
        """The last issued ordinal by LedgerKey."""
        return {item["LedgerKey"]: int(item["Issued"]) for item in self.scan("ledger") if "Issued" in item}

    def find(self, prefix: str) -> Found:
        entries, records = (
            [item for item in self.scan(table) if item.get("ObjectKey", "").startswith(prefix)]
            for table in ("ledger", "predictions")
        )
        return Found(self.versions(prefix), entries, records)


@pytest.fixture(scope="module")
def served():
    with serve("--json", MODEL_DIR="tests/color_model") as served:
        yield served


@pytest.fixture(scope="module")
def reader(served) -> Reader:
    return Reader(served)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("clients") / "photos"


@pytest.fixture(scope="module")
def gallery(folder) -> dict[str, Photo]:
    """The photos in `folder` by their path in it."""
    return photos.make(folder, PHOTOS)


@pytest.fixture(scope="module")
def copied(served, reader, folder, gallery) -> Callable[[str], str]:
    """A function that makes a client copy the photos once, waits for the outcomes, and returns the photos' prefix."""
    outcomes = Outcomes(served.process.stdout)

    @functools.cache
    def copy(client: str) -> str:
        prefix = f"{client}/"
        COPY[client](served, folder, prefix)
        outcomes.wait_for(reader.versions(prefix))
        return prefix

    return copy


def below(prefix: str, gallery: dict[str, Photo]) -> dict[str, Photo]:
    return {prefix + key: photo for key, photo in gallery.items()}


@pytest.mark.parametrize("client", [pytest.param("rclone", marks=NEEDS_RCLONE), "s3cmd", "aws-cli", "boto3", "minio"])
def test_every_photo_gets_one_outcome(client, copied, reader, gallery):
    prefix = copied(client)
    check_outcomes(below(prefix, gallery), reader.find(prefix))
    check_ordinals(reader.scan("predictions"), reader.counters())


def test_the_checksums_are_stored(copied, reader, folder, gallery):
    prefix = copied("boto3")
    for key, algorithm in clients.algorithms(folder).items():
        head = reader.s3.head_object(Bucket=BUCKET, Key=prefix + key, ChecksumMode="ENABLED")
        assert head[f"Checksum{algorithm}"] == checksum(algorithm, gallery[key].parts()), key


def checksum(algorithm: str, parts: list[bytes]) -> str:
    """The checksum that S3 returns: of the bytes, or of several parts' checksums. CRC64NVME is always of the bytes."""
    compute = CHECKSUMS[algorithm]
    if len(parts) == 1 or algorithm == "CRC64NVME":
        return base64.b64encode(compute(b"".join(parts))).decode()
    return f"{base64.b64encode(compute(b''.join(map(compute, parts)))).decode()}-{len(parts)}"


@pytest.mark.parametrize(
    ("bucket", "length"), [pytest.param(BUCKET, 0, id="empty"), pytest.param("absent", 9, id="refused")]
)
def test_an_answer_without_100_continue_closes_the_connection(bucket, length, served, reader):
    """botocore before 1.44 uses a final answer to `Expect: 100-continue` also as the status of the connection's next
    answer. After an empty photo it waits for a minute and sends the next photo twice, and both are counted. After a
    refused photo it reports the next one as refused. S3 therefore sends 100 Continue even if no body follows, and
    closes a connection on which it refused a request. https://github.com/boto/botocore/issues/3755
    """
    url = urlsplit(reader.s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "empty.jpg"}))
    head = [
        f"PUT {url.path}?{url.query} HTTP/1.1",
        f"Host: {url.netloc}",
        "Expect: 100-continue",
        f"Content-Length: {length}",
    ]
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        answer = connection.recv(4096).decode().lower()
    assert answer.startswith("http/1.1 100 ") or "\r\nconnection: close\r\n" in answer


# Faults that the test puts into correct results, to see whether the checks find them.
FAULTS = {
    "a missing photo": lambda found: found.versions.popitem(),
    "a second version": lambda found: found.versions.update({(first(found)[0], "again"): "etag"}),
    "other bytes": lambda found: found.versions.update({first(found): "etag"}),
    "no ledger entry": lambda found: found.entries.pop(),
    "two ledger entries": lambda found: found.entries.append(found.entries[0]),
    "another reason": lambda found: rejected(found).update(Reason="it rained"),
    "no record": lambda found: found.records.pop(),
    "two records": lambda found: found.records.append(found.records[0]),
    "a record of a rejected photo": lambda found: found.records.append(found.records[0] | rejected(found)),
    "a record of another class": lambda found: found.records[0].update(ClassName="moth"),
}


def first(found: Found) -> Version:
    return next(iter(found.versions))


def rejected(found: Found) -> dict:
    return next(entry for entry in found.entries if entry["Status"] == "REJECTED")


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_finds(fault, copied, reader, gallery):
    prefix = copied("boto3")
    found = reader.find(prefix)
    FAULTS[fault](found)
    with pytest.raises(AssertionError):
        check_outcomes(below(prefix, gallery), found)


@pytest.mark.parametrize(("numbers", "counter"), [([1, 2, 4], 4), ([1, 2, 2], 3), ([0, 1, 2], 3), ([1, 2, 3], 4)])
def test_the_check_finds_gaps_and_repeats(numbers, counter):
    records = [{"PredictionDate": "2026-11-20", "ClassName": "FAW", "Count_ClassName": n} for n in numbers]
    with pytest.raises(AssertionError):
        check_ordinals(records, {"count/2026-11-20/FAW": counter})
