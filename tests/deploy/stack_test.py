"""Tests of the deployed stack: the expanded template on an emulator of AWS, with the real binary as the function.

The tests leave out what the emulator does not support: CodeDeploy, alarms over expressions, and container images.
"""

import copy
import io
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from template_test import ROOT, expand


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(condition, seconds: float = 30, what: str = ""):
    """Polls `condition()` and returns its first true value. Fails after `seconds`; `what` describes the condition."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true within {seconds} s: {what}"
        time.sleep(0.1)
    return value


class Cloud:
    """An emulator of AWS, with clients for it."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }
        program = os.environ.get("MINISTACK", str(ROOT / "target/ministack-venv/bin/ministack"))
        settings = {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "STATE_DIR": str(folder / "state"),
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.1",
            "LAMBDA_ASYNC_RETRY_MAX_SECONDS": "0.1",
        }
        self.log = (folder / "ministack.log").open("w")
        self.process = subprocess.Popen([program], env=settings, cwd=folder, stdout=self.log, stderr=self.log)
        until(self.is_ready, what="the emulator starts")

    def is_ready(self) -> bool:
        assert self.process.poll() is None, "the emulator ended"
        try:
            with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def client(self, service: str):
        credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=self.url, config=Config(retries={"max_attempts": 5}), **credentials)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.stop()


def binary() -> str:
    return os.environ.get("CLASSIFIER_BIN", str(ROOT / "target/debug/moth-classifier"))


def bootstrap() -> bytes:
    """A zip with a program that runs the real binary. The emulator starts it as a process on this machine."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        package.writestr(entry, f"#!/bin/sh\nexec '{binary()}'\n")
    return file.getvalue()


def template(environment: dict[str, str]) -> str:
    """The expanded template, without what the emulator does not support."""
    expanded = copy.deepcopy(expand())
    del expanded["Delivery"]
    resources = expanded["Resources"]
    for name in [
        name
        for name, resource in resources.items()
        if resource["Type"].startswith("AWS::CodeDeploy")
        or name in ("CodeDeployServiceRole", "Dashboard")
        or (resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"])
    ]:
        del resources[name]
    resources["FunctionAliaslive"].pop("UpdatePolicy", None)
    # Use a zip with the same program in place of the image.
    function = resources["Function"]["Properties"]
    function |= {
        "PackageType": "Zip",
        "Runtime": "provided.al2023",
        "Handler": "bootstrap",
        "Code": {"S3Bucket": "packages", "S3Key": "bootstrap.zip"},
    }
    function["Environment"]["Variables"] |= environment
    # The emulator compares this with a number, but the parameter is a string.
    resources["QueueMapping"]["Properties"]["ScalingConfig"]["MaximumConcurrency"] = 10
    return json.dumps(expanded)


# A model of a few bytes.
MODEL = {"MODEL_DIR": str(ROOT / "tests/color_model")}
BROKEN = MODEL | {"LEDGER_TABLE": "no-such-table"}


class Deployed:
    """A deployed stack."""

    def __init__(self, cloud: Cloud, name: str, delivery: str, environment: dict[str, str]):
        self.cloud, self.name, self.releases = cloud, name, 1795249542
        services = ("cloudformation", "s3", "sqs", "lambda", "dynamodb")
        self.cloudformation, self.s3, self.sqs, self.functions, self.dynamodb = map(cloud.client, services)
        self.s3.create_bucket(Bucket="packages")
        self.s3.put_object(Bucket="packages", Key="bootstrap.zip", Body=bootstrap())
        self.deploy(self.cloudformation.create_stack, delivery, environment)
        (mapping,) = self.functions.list_event_source_mappings(FunctionName=f"{name}:live")["EventSourceMappings"]
        self.mapping = mapping["UUID"]

    def deploy(self, call, delivery: str, environment: dict[str, str]):
        self.releases += 1
        parameters = {
            "ImageUri": "111122223333.dkr.ecr.us-east-1.amazonaws.com/moths@sha256:" + "0" * 64,
            "Release": f"{self.releases} test",
            "Delivery": delivery,
        }
        environment = environment | {"AWS_ENDPOINT_URL": self.cloud.url}
        call(
            StackName=self.name,
            TemplateBody=template(environment),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        until(lambda: self.status() in ("CREATE_COMPLETE", "UPDATE_COMPLETE"), what=f"{self.name} is deployed")

    def update(self, delivery: str, environment: dict[str, str] = MODEL):
        self.deploy(self.cloudformation.update_stack, delivery, environment)

    def status(self) -> str:
        (stack,) = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        assert "ROLLBACK" not in stack["StackStatus"] and "FAILED" not in stack["StackStatus"], stack
        return stack["StackStatus"]

    def put(self, *keys: str):
        for key in keys:
            self.s3.put_object(Bucket=self.outputs["BucketName"], Key=key, Body=PHOTO)

    def give_up_on(self, key: str):
        """Puts a direct event into the failure queue, as Lambda's failure destination would. The emulator does not
        support failure destinations of an alias."""
        record = {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "awsRegion": "us-east-1",
            "s3": {"bucket": {"name": self.outputs["BucketName"]}, "object": {"key": key}},
        }
        failure = {
            "version": "1.0",
            "timestamp": "2026-11-20T18:04:31.000Z",
            "requestContext": {
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
                "functionArn": self.outputs["FunctionAlias"],
            },
            "requestPayload": {"Records": [record]},
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "responsePayload": {"errorType": "Retryable", "errorMessage": "1 of 1 records failed"},
        }
        self.sqs.send_message(QueueUrl=self.outputs["FailureQueueUrl"], MessageBody=json.dumps(failure))

    def hold(self, held: bool):
        """Disables the event source mapping of the upload queue, or enables it again."""
        self.functions.update_event_source_mapping(UUID=self.mapping, Enabled=not held)

    def waiting(self, queue: str) -> int:
        """The number of messages in a queue, visible or in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.outputs[queue], AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def counted(self) -> set[str]:
        """The counted keys. Fails unless the ordinals of each day are 1 to N."""
        records = self.dynamodb.scan(TableName=self.outputs["PredictionsTable"])["Items"]
        ordinals = sorted((record["PredictionDate"]["S"], int(record["Count_ClassName"]["N"])) for record in records)
        days = {day for day, _ in ordinals}
        assert ordinals == sorted((day, n) for day in days for n in range(1, 1 + sum(d == day for d, _ in ordinals)))
        return {record["ObjectKey"]["S"] for record in records}

    def redeliver(self, status: int) -> tuple[list[dict], str]:
        done = subprocess.run(
            [binary(), "redeliver", "--stack", self.name, "--json"],
            capture_output=True,
            text=True,
            env=self.cloud.environment,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def blue_png() -> bytes:
    """A blue photo, which the tests' model classifies as FAW."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = 8
    rows = (b"\0" + b"\0\0\xff" * size) * size
    head = size.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PHOTO = blue_png()


def keys(prefix: str, number: int = 5) -> list[str]:
    return [f"{prefix}/{n}.png" for n in range(number)]


def test_waiting_photos_are_counted_after_each_change_of_delivery(cloud):
    stack = Deployed(cloud, "switched", "Queue", MODEL)
    until(lambda: stack.waiting("UploadQueueUrl") == 0, what="the test event of S3 is processed")
    stack.hold(True)
    waiting = keys("waiting")
    stack.put(*waiting)
    until(lambda: stack.waiting("UploadQueueUrl") == 5, what="five photos wait")

    stack.update("Direct")
    assert stack.waiting("UploadQueueUrl") == 5
    direct = keys("direct", 2)
    stack.put(*direct)
    until(lambda: stack.counted() == set(direct), what="direct photos are counted")
    assert stack.waiting("UploadQueueUrl") == 5

    stack.hold(False)
    until(lambda: stack.counted() == set(direct + waiting), what="the photos that waited are counted")
    stack.update("Queue")
    stack.put("queued.png")
    until(lambda: stack.counted() == {*direct, *waiting, "queued.png"}, what="a photo is counted by the queue again")
    until(lambda: stack.waiting("UploadQueueUrl") == 0, what="the queue is empty")

    # A deletion of the stack loses neither photos, nor records, nor waiting messages.
    stack.hold(True)
    stack.put(*keys("late"))
    until(lambda: stack.waiting("UploadQueueUrl") == 5, what="five photos wait")
    before = stack.counted()
    stack.cloudformation.delete_stack(StackName=stack.name)
    until(lambda: not stack.functions.list_functions()["Functions"], what="the function is deleted")
    assert stack.waiting("UploadQueueUrl") == 5 and stack.waiting("FailureQueueUrl") == 0
    assert stack.counted() == before
    assert stack.s3.head_object(Bucket=stack.outputs["BucketName"], Key="late/0.png")


def test_redeliver_processes_the_failure_queue(cloud):
    stack = Deployed(cloud, "redelivered", "Direct", BROKEN)
    for key in keys("direct", 12):
        stack.put(key)
        stack.give_up_on(key)
    stack.update("Queue", BROKEN)
    # A failed message becomes visible again at once.
    stack.sqs.set_queue_attributes(QueueUrl=stack.outputs["UploadQueueUrl"], Attributes={"VisibilityTimeout": "0"})
    stack.put(*keys("queued", 3))
    until(
        lambda: stack.waiting("FailureQueueUrl") >= 15 and stack.waiting("UploadQueueUrl") == 0,
        what="all messages are in the failure queue",
    )
    messages = stack.waiting("FailureQueueUrl")

    # Before the cause is fixed, `redeliver` keeps every message visible, and gives up before it tried all of them.
    kept, said = stack.redeliver(1)
    assert 10 <= len(kept) < messages and not any(message["deleted"] for message in kept)
    assert "10 messages in a row failed" in said
    assert all("no-such-table" in message["reason"] for message in kept)
    assert stack.waiting("FailureQueueUrl") == messages and not stack.counted()

    stack.update("Queue")
    failures = stack.outputs["FailureQueueUrl"]
    stack.sqs.send_message(QueueUrl=failures, MessageBody='{"Event": "s3:TestEvent", "Bucket": "moths"}')
    stack.sqs.send_message(QueueUrl=failures, MessageBody='{"requestPayload": {}}')
    (*done, left), _ = stack.redeliver(1)
    assert len(done) == messages + 2 and left == {"failureQueue": 1, "uploadQueue": 0}
    (junk,) = (message for message in done if not message["deleted"])
    assert not junk["readable"] and "empty object" in junk["reason"]
    outcomes = [outcome for message in done if message["deleted"] for outcome in message["outcomes"]]
    assert {outcome["key"] for outcome in outcomes} == {*keys("direct", 12), *keys("queued", 3)}
    assert [outcome["outcome"] for outcome in outcomes].count("recorded") == 15
    assert stack.counted() == {*keys("direct", 12), *keys("queued", 3)}
    assert stack.waiting("FailureQueueUrl") == 1

    # With an empty queue, `redeliver` invokes nothing and counts nothing.
    stack.sqs.purge_queue(QueueUrl=failures)
    assert stack.redeliver(0) == ([{"failureQueue": 0, "uploadQueue": 0}], "")
    assert len(stack.counted()) == 15

    # A message that another reader has received still counts as left.
    stack.sqs.send_message(QueueUrl=failures, MessageBody='{"Event": "s3:TestEvent", "Bucket": "moths"}')
    stack.sqs.receive_message(QueueUrl=failures, VisibilityTimeout=600)
    assert stack.redeliver(1)[0] == [{"failureQueue": 1, "uploadQueue": 0}]


class Gate(ThreadingHTTPServer):
    """A proxy that holds all invocations until `opened` is set."""

    def __init__(self, cloud: Cloud):
        super().__init__(("127.0.0.1", 0), Held)
        self.cloud, self.arrived, self.opened = cloud, threading.Event(), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Held(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.arrived.set()
        self.server.opened.wait(60)
        request = urllib.request.Request(self.server.cloud.url + self.path, body, dict(self.headers))
        with urllib.request.urlopen(request) as answer:
            payload = answer.read()
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)
        except BrokenPipeError:
            pass

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("interrupts", [1, 2])
def test_an_interrupt_finishes_the_messages_in_flight(cloud, interrupts):
    stack = Deployed(cloud, f"interrupted{interrupts}", "Direct", MODEL)
    stack.put("a.png")
    until(lambda: stack.counted() == {"a.png"}, what="the photo is counted")
    stack.give_up_on("a.png")
    gate = Gate(cloud)
    environment = cloud.environment | {"AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{gate.server_port}"}
    command = [binary(), "redeliver", "--stack", stack.name, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert gate.arrived.wait(60)
    process.send_signal(signal.SIGINT)
    assert "Finishing the messages in flight" in process.stderr.readline()
    if interrupts == 2:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        # The message is hidden, and `redeliver` reports it.
        assert stack.redeliver(1)[0] == [{"failureQueue": 1, "uploadQueue": 0}]
    gate.opened.set()
    if interrupts == 1:
        lines = [json.loads(line) for line in process.stdout]
        assert process.wait(60) == 0
        assert [outcome["outcome"] for outcome in lines[0]["outcomes"]] == ["duplicate"]
        assert lines[1:] == [{"failureQueue": 0, "uploadQueue": 0}]
    gate.shutdown()


def test_errors_name_the_missing_stack_and_region(cloud):
    no_region = {name: value for name, value in cloud.environment.items() if "REGION" not in name}
    no_region["AWS_EC2_METADATA_DISABLED"] = "true"
    for environment, said in [(cloud.environment, "no stack none in us-east-1"), (no_region, "set AWS_REGION")]:
        done = subprocess.run(
            [binary(), "redeliver", "--stack", "none"], capture_output=True, text=True, env=environment, timeout=60
        )
        assert done.returncode == 1 and said in done.stderr, done.stderr


def test_redeliver_prints_a_table(cloud):
    stack = Deployed(cloud, "shown", "Direct", MODEL)
    stack.put("shown.png")
    until(lambda: stack.counted() == {"shown.png"}, what="the photo is counted")
    stack.give_up_on("shown.png")
    done = subprocess.run(
        [binary(), "redeliver", "--stack", "shown"], capture_output=True, text=True, env=cloud.environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^[0-9a-f]{8} +duplicate +shown\.png +FAW +\S+ +1$", done.stdout, re.MULTILINE), done.stdout
    for said in ("1 deleted, 0 kept", "Photos: 1 duplicate.", "The failure queue is empty."):
        assert said in done.stdout, done.stdout
