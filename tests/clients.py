"""S3 clients that people use. Each function copies the files of a folder into the bucket of a `local --serve`.

No client retries a failed request, so that a test fails if the embedded S3 refuses a request.
"""

import hashlib
import os
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import boto3
import minio
import urllib3
from awscrt import checksums
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from photos import MIB, PART
from serve import PATIENCE, Served

BUCKET = "moths"
NO_RETRIES = Config(retries={"total_max_attempts": 1})
# The checksum algorithms of boto3, and how to compute each.
CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "CRC32": lambda content: zlib.crc32(content).to_bytes(4),
    "CRC32C": lambda content: checksums.crc32c(content).to_bytes(4),
    "CRC64NVME": lambda content: checksums.crc64nvme(content).to_bytes(8),
    "SHA1": lambda content: hashlib.sha1(content).digest(),
    "SHA256": lambda content: hashlib.sha256(content).digest(),
}


def with_rclone(served: Served, folder: Path, prefix: str) -> None:
    remote = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENV_AUTH": "true",
        "REGION": served.variables["AWS_DEFAULT_REGION"],
        "ENDPOINT": served.endpoints["S3"],
        "UPLOAD_CUTOFF": f"{PART}B",
        "CHUNK_SIZE": f"{PART}B",
    }
    variables = {f"RCLONE_CONFIG_LOCAL_{name}": value for name, value in remote.items()}
    options = ["--config", "", "--retries", "1", "--low-level-retries", "1"]
    run(served, ["rclone", *options, "copy", folder, f"local:{BUCKET}/{prefix}"], **variables)


def with_s3cmd(served: Served, folder: Path, prefix: str) -> None:
    host = served.endpoints["S3"].removeprefix("http://")
    options = [
        "--config",
        os.devnull,
        "--no-ssl",
        "--host",
        host,
        "--host-bucket",
        host,
        "--max-retries",
        "0",
        "--multipart-chunk-size-mb",
        str(PART // MIB),
    ]
    run(served, ["s3cmd", *options, "put", "--recursive", f"{folder}/", f"s3://{BUCKET}/{prefix}"])


def with_aws_cli(served: Served, folder: Path, prefix: str) -> None:
    config = folder.with_name("aws-config")
    config.write_text(f"[default]\ns3 =\n  multipart_threshold = {PART}\n  multipart_chunksize = {PART}\n")
    run(
        served,
        ["aws", "--endpoint-url", served.endpoints["S3"], "s3", "cp", "--recursive", folder, f"s3://{BUCKET}/{prefix}"],
        AWS_CONFIG_FILE=str(config),
        AWS_MAX_ATTEMPTS="1",
    )


def run(served: Served, command: list[str | Path], **variables: str) -> None:
    # Drop the developer's own AWS settings, which are for another S3.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(command, env=inherited | served.variables | variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stderr or done.stdout}"


def with_boto3(served: Served, folder: Path, prefix: str) -> None:
    client = s3(served)
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    for key, algorithm in algorithms(folder).items():
        extra = {"ChecksumAlgorithm": algorithm}
        client.upload_file(str(folder / key), BUCKET, prefix + key, ExtraArgs=extra, Config=config)


def algorithms(folder: Path) -> dict[str, str]:
    """The checksum algorithm for each key. Keys take turns by size, so that each algorithm gets large files."""
    keys = sorted(keys_below(folder), key=lambda key: (folder / key).stat().st_size)
    return {key: list(CHECKSUMS)[index % len(CHECKSUMS)] for index, key in enumerate(keys)}


def with_minio(served: Served, folder: Path, prefix: str) -> None:
    client = minio.Minio(
        served.endpoints["S3"].removeprefix("http://"),
        access_key=served.variables["AWS_ACCESS_KEY_ID"],
        secret_key=served.variables["AWS_SECRET_ACCESS_KEY"],
        secure=False,
        http_client=urllib3.PoolManager(retries=False, timeout=PATIENCE),
    )
    for key in keys_below(folder):
        client.fput_object(BUCKET, prefix + key, str(folder / key), part_size=PART)


def keys_below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def s3(served: Served):
    return session(served).client("s3", endpoint_url=served.endpoints["S3"], config=NO_RETRIES)


def dynamodb(served: Served):
    """A client that returns items as Python values, as boto3's resources do."""
    resource = session(served).resource("dynamodb", endpoint_url=served.endpoints["DynamoDB"], config=NO_RETRIES)
    return resource.meta.client


def session(served: Served) -> boto3.Session:
    return boto3.Session(
        aws_access_key_id=served.variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=served.variables["AWS_SECRET_ACCESS_KEY"],
        region_name=served.variables["AWS_DEFAULT_REGION"],
    )
