"""Tests that the HTTP API does what `/openapi.json` says, for requests that schemathesis makes from it.

`serve` has API keys, and the tables and the bucket of a `local --serve`. All checks of schemathesis are on: no server
error, no answer that the reference does not describe, no valid request that is refused as malformed, no invalid one
that is accepted, no route that answers without a key. The environment variable SCHEMA_EXAMPLES sets the number of
examples for each route; the default makes more than 2,000 requests in a minute.
"""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from serve import Served, serve

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = os.environ.get("SCHEMA_EXAMPLES", "60")
FEWEST = 2000
COLOR_MODEL = {"MODEL_DIR": "tests/color_model"}


@pytest.fixture(scope="module")
def api():
    """The address of `serve`, and an API key of an admin."""
    with serve("test_images/good", "test_images/bad", **COLOR_MODEL) as local:
        made = subprocess.run(
            [os.environ["CLASSIFIER_BIN"], "api-key", "tester", "--role", "admin", "--json"],
            check=True,
            capture_output=True,
        )
        key = json.loads(made.stdout)
        process = start(local, key["entry"])
        try:
            yield address(process), key["key"]
        finally:
            process.terminate()
            assert process.wait(timeout=40) == 0


def start(local: Served, keys: str) -> subprocess.Popen:
    variables = {
        **local.variables,
        **COLOR_MODEL,
        "AWS_ENDPOINT_URL_S3": local.endpoints["S3"],
        "AWS_ENDPOINT_URL_DYNAMODB": local.endpoints["DynamoDB"],
        "PREDICTIONS_TABLE": "predictions",
        "LEDGER_TABLE": "ledger",
        "PHOTOS_BUCKET": "moths",
        "THUMBNAILS_BUCKET": "moths-thumbnails",
        "API_KEYS": keys,
    }
    return subprocess.Popen(
        [os.environ["CLASSIFIER_BIN"], "serve", "--port", "0"],
        cwd=ROOT,
        env=os.environ | variables,
        encoding="utf-8",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def address(process: subprocess.Popen) -> str:
    said = ""
    while not said.endswith("Ready.\n"):
        line = process.stderr.readline()
        assert line, f"serve ended before it was ready: {said}"
        said += line
    return re.search(r"^HTTP API +(http://\S+)$", said, re.MULTILINE)[1]


def test_the_reference_is_valid(api):
    import openapi_spec_validator

    url, _ = api
    with urllib.request.urlopen(f"{url}/openapi.json") as response:
        openapi_spec_validator.validate(json.load(response))


def test_the_api_does_what_the_reference_says(api, tmp_path):
    url, key = api
    command = [
        *(Path(sys.executable).with_name("st"), "--config-file", ROOT / "tests/schemathesis.toml"),
        *("run", f"{url}/openapi.json", "--checks", "all", "--max-examples", EXAMPLES, "--workers", "1"),
        *("--header", f"Authorization: Bearer {key}", "--generation-deterministic", "--no-color"),
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stdout[-20_000:]
    cases = int(re.search(r"(\d+) generated", run.stdout)[1])
    print(f"{cases} requests")
    assert cases >= FEWEST or int(EXAMPLES) < 60
