"""Tests of the HTTP API of `local --serve` with clients that people use: curl, httpx, the AWS CLI and boto3.

The last tests compare the tables of docs/api.md with a running server and with the code.
"""

import hashlib
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest

import clients
import page_servers
from clients import BUCKET
from serve import PATIENCE, ROOT, Served, serve

PHOTO = ROOT / "test_images/good/faw.jpg"
# MAX_IMAGE_BYTES.
MAX_BYTES = 50 << 20


@pytest.fixture(scope="module")
def served():
    with serve(MODEL_DIR="tests/color_model") as served:
        yield served


@pytest.fixture(scope="module")
def api(served):
    with httpx.Client(base_url=served.endpoints["HTTP API"], timeout=PATIENCE) as api:
        wait_for(lambda: api.get("/readyz").status_code == 200)
        yield api


def wait_for(read: Callable[[], Any]) -> Any:
    """What `read` returns, as soon as it is true. Polls for up to a minute."""
    give_up = time.monotonic() + PATIENCE
    while True:
        if value := read():
            return value
        assert time.monotonic() < give_up, "it did not happen within a minute"
        time.sleep(0.05)


def records_of(api: httpx.Client, key: str) -> list[dict]:
    """All records of an object key, by way of all pages."""
    parameters = {"limit": 3}
    found = []
    while True:
        page = api.get("/v1/records", params=parameters).raise_for_status().json()
        found += [record for record in page["records"] if record["key"] == key]
        if page["nextCursor"] is None:
            return found
        parameters["cursor"] = page["nextCursor"]


def ask_for_upload(api: httpx.Client, name: str, photo: bytes, **more: str) -> dict:
    """The signed request that uploads `photo`."""
    file = {"name": name, "bytes": len(photo)} | more
    [item] = api.post("/v1/uploads", json={"files": [file]}).raise_for_status().json()["items"]
    assert item["status"] == 200, item
    return item["upload"]


def put(upload: dict, photo: bytes) -> httpx.Response:
    return httpx.request(upload["method"], upload["url"], headers=upload["headers"], content=photo, timeout=PATIENCE)


def status(api: httpx.Client, upload: dict) -> dict:
    return api.get(f"/v1/uploads/{upload['token']}").raise_for_status().json()


def outcome(api: httpx.Client, upload: dict) -> dict:
    """The final status of an upload that has arrived."""

    def final() -> dict | None:
        now = status(api, upload)
        return now if now["status"] not in ("pending", "uploaded") else None

    return wait_for(final)


def versions(served: Served, key: str) -> list[dict]:
    return clients.s3(served).list_object_versions(Bucket=BUCKET, Prefix=key).get("Versions", [])


def test_a_photo_that_the_aws_cli_copies_has_a_record(served, api):
    clients.run(
        served, ["aws", "--endpoint-url", served.endpoints["S3"], "s3", "cp", PHOTO, f"s3://{BUCKET}/field-3/cli.jpg"]
    )
    [record] = wait_for(lambda: records_of(api, "field-3/cli.jpg"))
    assert (record["station"], record["sha256"]) == ("field-3", hashlib.sha256(PHOTO.read_bytes()).hexdigest())
    [version] = versions(served, "field-3/cli.jpg")
    assert record["versionId"] == version["VersionId"]
    assert api.get(f"/v1/records/{record['id']}").json() == record
    photo = api.get(f"/v1/records/{record['id']}/photo", follow_redirects=True)
    assert photo.content == PHOTO.read_bytes()


@pytest.mark.parametrize(
    "options",
    [["--header", "Content-Type: image/jpeg", "--data-binary", f"@{PHOTO}"], ["--form", f"file=@{PHOTO}"]],
    ids=["raw", "form"],
)
def test_curl_gets_classes(options, served, api):
    url = served.endpoints["HTTP API"] + "/v1/classify"
    done = subprocess.run(["curl", "--silent", "--fail-with-body", *options, url], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    answer = json.loads(done.stdout)
    assert answer["className"] == answer["predictions"][0]["className"]
    assert answer["photo"]["sha256"] == hashlib.sha256(PHOTO.read_bytes()).hexdigest()


def test_an_upload_is_recorded_once_and_412_says_that_it_has_arrived(served, api):
    photo = PHOTO.read_bytes()
    sha256 = hashlib.sha256(photo).hexdigest()
    file = {"sha256": sha256, "contentType": "image/jpeg", "station": "field-1", "camera": "cam 7"}
    upload = ask_for_upload(api, "IMG_20260501_235800.JPG", photo, **file)
    assert status(api, upload) == {"status": "pending"}
    assert put(upload, photo).status_code == 200
    recorded = outcome(api, upload)
    record = recorded["record"]
    assert recorded["status"] == "recorded"
    assert (record["key"], record["station"], record["camera"]) == (upload["key"], "field-1", "cam 7")
    assert (record["sha256"], record["bytes"]) == (sha256, len(photo))
    assert (record["night"], record["captureSource"]) == ("2026-05-01", "filename")

    assert put(upload, photo).status_code == 412
    # A client that has lost the URL and the token.
    again = ask_for_upload(api, "IMG_20260501_235800.JPG", photo, **file)
    assert (again["key"], put(again, photo).status_code) == (upload["key"], 412)
    assert outcome(api, again)["record"]["id"] == record["id"]
    assert len(versions(served, upload["key"])) == 1


def test_a_rejected_upload_has_its_reason(api):
    photo = (ROOT / "test_images/bad/truncated.png").read_bytes()
    upload = ask_for_upload(api, "truncated.png", photo)
    assert put(upload, photo).status_code == 200
    assert outcome(api, upload) == {"status": "rejected", "reason": "the PNG file is cut off: upload it again"}
    assert put(upload, photo).status_code == 412


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        pytest.param(lambda photo: photo + b"x", 403, id="longer"),
        pytest.param(lambda photo: photo[:-1], 403, id="shorter"),
        pytest.param(lambda photo: photo[:-1] + b"x", 400, id="other bytes"),
    ],
)
def test_the_bucket_takes_no_other_photo(change, refusal, served, api):
    photo = PHOTO.read_bytes()
    upload = ask_for_upload(api, f"{refusal}.jpg", photo, sha256=hashlib.sha256(photo).hexdigest())
    assert put(upload, change(photo)).status_code == refusal
    assert versions(served, upload["key"]) == []


def test_a_photo_at_the_size_limit_is_uploaded(api):
    # Decoders ignore bytes after a JPEG's end.
    photo = PHOTO.read_bytes().ljust(MAX_BYTES, b"\0")
    upload = ask_for_upload(api, "large.jpg", photo, sha256=hashlib.sha256(photo).hexdigest())
    assert put(upload, photo).status_code == 200
    assert outcome(api, upload)["record"]["bytes"] == MAX_BYTES

    file = {"name": "larger.jpg", "bytes": MAX_BYTES + 1}
    [item] = api.post("/v1/uploads", json={"files": [file]}).raise_for_status().json()["items"]
    assert (item["status"], item["problem"]["type"]) == (413, "/problems/too-many-bytes")


def cut(upload: dict, photo: bytes, sent: int) -> None:
    """Sends `sent` bytes of the photo, and closes the connection without reading a response."""
    url = urlsplit(upload["url"])
    headers = upload["headers"] | {"host": url.netloc, "content-length": str(len(photo))}
    head = [f"PUT {url.path}?{url.query} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        connection.sendall(photo[:sent])


# The parts of the photo that arrive. After the last one, the client only misses the response.
@pytest.mark.parametrize("part", [0, 0.5, 0.99, 1], ids=["headers", "half", "most", "all"])
def test_a_put_that_is_cut_and_repeated_makes_one_record(part, served, api):
    photo = PHOTO.read_bytes() + bytes(2_000_000)
    upload = ask_for_upload(api, f"cut-{part}.jpg", photo, sha256=hashlib.sha256(photo).hexdigest())
    for _ in range(3):
        cut(upload, photo, int(len(photo) * part))
    assert part == 1 or status(api, upload) == {"status": "pending"}
    # A cut request may still be at work, so its repeat may be the first or the second to arrive.
    assert put(upload, photo).status_code in ((200,) if part < 1 else (200, 412))
    assert outcome(api, upload)["status"] == "recorded"
    assert put(upload, photo).status_code == 412
    assert len(versions(served, upload["key"])) == 1
    assert len(records_of(api, upload["key"])) == 1


@pytest.fixture
def sagemaker(served):
    """boto3's client of a SageMaker endpoint, pointed at the server. The server cannot check its signatures."""
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=served.endpoints["HTTP API"],
        region_name="eu-west-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )


def test_boto3_invokes_a_sagemaker_endpoint(sagemaker):
    answer = sagemaker.invoke_endpoint(EndpointName="moths", ContentType="image/jpeg", Body=PHOTO.read_bytes())
    assert json.load(answer["Body"])["photo"]["bytes"] == PHOTO.stat().st_size
    with pytest.raises(sagemaker.exceptions.ClientError) as refused:
        sagemaker.invoke_endpoint(EndpointName="moths", ContentType="text/plain", Body=b"no photo")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 415


def test_a_container_of_sagemaker_answers(api):
    """The two routes that SageMaker calls in a container."""
    assert api.get("/ping").status_code == 200
    for media_type in ("application/x-image", "image/jpeg"):
        answer = api.post("/invocations", content=PHOTO.read_bytes(), headers={"Content-Type": media_type})
        assert answer.raise_for_status().json()["photo"]["format"] == "jpeg"


PAGE = (ROOT / "docs/api.md").read_text()


def table(first: str) -> list[list[str]]:
    """The rows of the page's table that has this first column."""
    found = re.search(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()]


def routes() -> list[tuple[str, str, str]]:
    """Method, path and role of each route on the page, with a path that exists for its parameters."""
    examples = {"{id}": "x", "{token}": "x", "{model}": "x", "{name}": "x", "{kind}": "busy"}
    return [
        (method, re.sub(r"\{\w+\}", lambda name: examples[name[0]], route), role)
        for methods, paths, role, _ in table("method")
        for method in methods.split(", ")
        for route in re.findall(r"`([^`]+)`", paths)
    ]


def test_the_page_has_every_route(api):
    for route, item in api.get("/openapi.json").json()["paths"].items():
        for method in item:
            assert any(method.upper() in row[0] and f"`{route}`" in row[1] for row in table("method")), (method, route)
    for method, path, _ in routes():
        # A route that is asked with another method names its own.
        other = api.request("PATCH", path)
        assert other.status_code == 405 and method in other.headers["Allow"], (method, path)


def test_the_page_has_the_role_of_every_route(tmp_path, monkeypatch):
    roles = ["reader", "uploader", "reviewer", "admin"]
    binary = os.environ["CLASSIFIER_BIN"]
    keys = {}
    for role in roles:
        made = subprocess.run([binary, "api-key", role, "--role", role, "--json"], capture_output=True, check=True)
        keys[role] = json.loads(made.stdout)
    monkeypatch.setenv("API_KEYS", ",".join(key["entry"] for key in keys.values()))
    monkeypatch.setenv("MODEL_DIR", str(ROOT / "tests/color_model"))
    page_servers.start(binary, ["serve"], tmp_path)
    try:
        with httpx.Client(base_url=page_servers.translate("http://127.0.0.1:8080", tmp_path)) as api:

            def answer(method: str, path: str, role: str | None) -> int:
                headers = {"Authorization": f"Bearer {keys[role]['key']}"} if role else {}
                return api.request(method, path, headers=headers).status_code

            for method, path, role in routes():
                if role == "open":
                    assert answer(method, path, None) not in (401, 403), path
                    continue
                assert answer(method, path, None) == 401, path
                assert answer(method, path, role) not in (401, 403), path
                for smaller in roles[: roles.index(role)]:
                    assert answer(method, path, smaller) == 403, (path, smaller)
    finally:
        page_servers.stop(tmp_path)


def test_the_page_has_every_problem(api):
    source = (ROOT / "src/http/problem/kind.rs").read_text()
    kinds = re.search(r"enum Kind \{(.*?)\n\}", source, re.DOTALL)[1]
    names = re.findall(r"^    ([A-Z]\w+),$", kinds, re.MULTILINE)
    types = {re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower() for name in names}
    documented = {
        kind: code for code, kinds, _ in table(r"status \| type") for kind in re.findall(r"`([a-z-]+)`", kinds)
    }
    assert documented.keys() == types
    for kind, code in documented.items():
        page = api.get(f"/problems/{kind}").raise_for_status().text
        assert f"HTTP status {code} " in page, kind


# Limits in the code, and how the page says them.
LIMITS = [
    ("config.rs", "50 * 1024 * 1024", "MAX_IMAGE_BYTES (50 MiB)"),
    ("http/photos.rs", "MAX_BATCH: usize = 32;", "32 photos, 64 MiB"),
    ("http/classify.rs", "MAX_BATCH_BYTES: u64 = 64 << 20;", "32 photos, 64 MiB"),
    ("http/lambda.rs", "MAX_BODY: u64 = 4_500_000;", "body on Lambda | 4.5 MB"),
    ("http/lambda.rs", "MAX_RESPONSE: u64 = 4_500_000;", "over 4.5 MB"),
    ("http/admission.rs", "QUEUE: usize = 64;", "64 that wait"),
    ("http/admission.rs", "BODY_MEMORY: usize = 256 << 20;", "bodies at once | 256 MiB"),
    ("http/body.rs", "BODY_TIMEOUT: Duration = Duration::from_secs(300);", "300 s"),
    ("http/body.rs", "PROGRESS_TIMEOUT: Duration = Duration::from_secs(15);", "15 s for each 64 KiB"),
    ("http.rs", "DEADLINE: Duration = Duration::from_secs(25);", "time for tables and bucket | 25 s"),
    ("http/body.rs", "PROGRESS: usize = 64 << 10;", "15 s for each 64 KiB"),
    ("http/admission.rs", "LONG_READS: usize = 4;", "station at once | 4"),
    ("http/server/connection.rs", "READ_TIMEOUT: Duration = Duration::from_secs(30);", "30 to 60 s"),
    ("http/server/connection.rs", "HEADERS: Duration = Duration::from_secs(10);", "within 10 s"),
    ("http/server/connection.rs", "MAX_HEADERS: usize = 32 << 10;", "64, about 64 KiB"),
    ("http/server/connection.rs", "MAX_HEADER_COUNT: usize = 64;", "64, about 64 KiB"),
    ("http/server.rs", "MAX_CONNECTIONS: usize = 900;", "connections | 900"),
    ("http/server.rs", "LAME_DUCK: Duration = Duration::from_secs(1);", "one more second"),
    ("http/server.rs", "GRACE: Duration = Duration::from_secs(25);", "then have 25 seconds"),
    ("http/classify.rs", "MAX_TOP: u64 = 1000;", "`top` | 1000"),
    ("http/classification.rs", "DEFAULT_TOP: u64 = 5;", "5 by default"),
    ("http/upload_routes.rs", "MAX_FILES: usize = 50;", "up to 50 photos"),
    ("http/upload_routes.rs", "VALID: Duration = Duration::from_secs(3600);", "within an hour"),
    ("http/change_routes.rs", "MAX_CHANGES: usize = 100;", "up to 100 changes"),
    ("http/record_routes.rs", "MAX_LIMIT: usize = 200;", "at most 200"),
    ("http/record_routes.rs", "DEFAULT_LIMIT: usize = 50;", "`limit` | 50"),
    ("records/rejections.rs", "MAX_REJECTIONS: usize = 1000;", "200, 1000"),
    ("records/query.rs", "MAX_DAYS: u64 = 366;", "| 366 | 422"),
    ("records/query.rs", "DEFAULT_DAYS: u64 = 30;", "the last 30 days"),
    ("deployments.rs", "MAX_BYTES: usize = 256 * 1024;", "256 KiB"),
    ("http/cache.rs", "NonZeroUsize::new(1000)", "last 1,000 results"),
    ("http/photo_routes.rs", "VALID: Duration = Duration::from_secs(2 * 3600);", "one to two hours"),
]


@pytest.mark.parametrize(("file", "code", "words"), LIMITS, ids=[f"{file}:{code}" for file, code, _ in LIMITS])
def test_the_page_has_the_limits_of_the_code(file, code, words):
    assert code in (ROOT / "src" / file).read_text()
    assert words in PAGE
