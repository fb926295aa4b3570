"""Tests of `local --serve` with the AWS CLI."""

import decimal
import json
import os
import re
import subprocess
import time

import pytest

from serve import ROOT, serve

PHOTO = ROOT / "test_images/good/faw.jpg"


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """A function that runs an AWS CLI command against the served endpoints, and returns its JSON."""
    virtual_style = tmp_path_factory.mktemp("aws") / "config"
    virtual_style.write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    with serve() as served:
        environment = os.environ | served.variables

        def run(service: str, *arguments: str, virtual: bool = False) -> dict | None:
            endpoint = served.endpoints[{"dynamodb": "DynamoDB", "lambda": "Lambda"}.get(service, "S3")]
            variables = environment
            if virtual:
                # Not every system resolves names below `localhost`, so the server is also the HTTP proxy.
                variables = variables | {"AWS_CONFIG_FILE": str(virtual_style), "HTTP_PROXY": endpoint}
                endpoint = endpoint.replace("127.0.0.1", "localhost")
            command = ["aws", "--endpoint-url", endpoint, "--output", "json", service, *arguments]
            done = subprocess.run(
                command, cwd=tmp_path_factory.getbasetemp(), env=variables, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout) if done.stdout.startswith("{") else None

        yield run


def records(aws, key: str, count: int) -> list[dict]:
    """The records of `key`, as soon as there are `count`. Polls for up to a minute."""
    give_up = time.monotonic() + 60
    while True:
        items = aws("dynamodb", "scan", "--table-name", "predictions", "--consistent-read")["Items"]
        items = [item for item in items if item["ObjectKey"]["S"] == key]
        if len(items) >= count or time.monotonic() > give_up:
            return items


def test_a_copied_photo_becomes_a_record_that_the_app_can_read(aws):
    aws("s3", "cp", str(PHOTO), "s3://moths/field 1/moth+1.jpg")
    (record,) = records(aws, "field 1/moth+1.jpg", 1)
    kinds = {name: next(iter(value)) for name, value in record.items()}
    assert kinds == {
        "PredictionDate": "S",
        "ClassPredictionID": "S",
        "ClassName": "S",
        "Count_ClassName": "N",
        "CaptureTime": "S",
        "ImageURL_ClassName": "S",
        "ConfidenceScore": "S",
        "Probability": "N",
        "Probabilities": "M",
        "Bucket": "S",
        "ObjectKey": "S",
        "VersionId": "S",
        "ModelVersion": "S",
        "PredictedAt": "S",
        "CapturedAt": "S",
        "CaptureSource": "S",
        "Night": "S",
        "NightKey": "S",
        "Station": "S",
        "Width": "N",
        "Height": "N",
        "Bytes": "N",
        "Sha256": "S",
    }
    value = {name: next(iter(value.values())) for name, value in record.items()}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", value["PredictionDate"])
    assert re.fullmatch(value["ClassName"] + r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value["ClassPredictionID"])
    assert re.fullmatch(r"\d\d:\d\d:\d\d", value["CaptureTime"])
    assert value["Count_ClassName"] == "1"
    assert value["ConfidenceScore"] == "{:2.0f}%".format(float(value["Probability"]) * 100)
    assert value["ImageURL_ClassName"] == (
        f"https://moths.s3.us-east-1.amazonaws.com/field%201/moth%2B1.jpg?versionId={value['VersionId']}"
    )
    total = sum(decimal.Decimal(p["N"]) for p in record["Probabilities"]["M"].values())
    assert abs(total - 1) < decimal.Decimal("0.001")


def test_the_bucket_may_be_in_the_host_name(aws):
    aws("s3", "cp", str(PHOTO), "s3://moths/virtual/moth.jpg", virtual=True)
    assert len(records(aws, "virtual/moth.jpg", 1)) == 1
    listed = aws("s3api", "list-objects-v2", "--bucket", "moths", "--prefix", "virtual/", virtual=True)
    assert [entry["Key"] for entry in listed["Contents"]] == ["virtual/moth.jpg"]


def test_a_second_upload_of_a_key_makes_a_second_version_and_record(aws):
    for count in (1, 2):
        aws("s3", "cp", str(PHOTO), "s3://moths/again.jpg")
        assert len(records(aws, "again.jpg", count)) == count
    versions = aws("s3api", "list-object-versions", "--bucket", "moths", "--prefix", "again.jpg")["Versions"]
    assert {version["VersionId"] for version in versions} == {
        record["VersionId"]["S"] for record in records(aws, "again.jpg", 2)
    }


def test_a_repeated_event_makes_one_record(aws, tmp_path):
    aws("s3", "cp", str(PHOTO), "s3://moths/twice.jpg")
    (record,) = records(aws, "twice.jpg", 1)
    version = record["VersionId"]["S"]
    event, answer = tmp_path / "event.json", tmp_path / "answer.json"
    event.write_text(
        json.dumps(
            {
                "Records": [
                    {
                        "eventSource": "aws:s3",
                        "awsRegion": "us-east-1",
                        "eventName": "ObjectCreated:Put",
                        "s3": {"bucket": {"name": "moths"}, "object": {"key": "twice.jpg", "versionId": version}},
                    }
                ]
            }
        )
    )
    for _ in range(2):
        invoked = aws(
            "lambda", "invoke", "--function-name", "moth-classifier", "--payload", f"fileb://{event}", str(answer)
        )
        assert invoked["StatusCode"] == 200 and "FunctionError" not in invoked
        assert json.loads(answer.read_text())["outcomes"][0]["outcome"] == "duplicate"
    assert len(records(aws, "twice.jpg", 1)) == 1


def test_a_photo_of_twenty_megabytes_is_uploaded_in_parts(aws, tmp_path):
    large = tmp_path / "large.jpg"
    # Decoders ignore bytes after a JPEG's end.
    large.write_bytes(PHOTO.read_bytes() + bytes(20_000_000))
    aws("s3", "cp", str(large), "s3://moths/large.jpg")
    assert len(records(aws, "large.jpg", 1)) == 1
