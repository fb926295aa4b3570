"""The stack, deployed: the expanded template on an emulator of AWS, with the real binary as the function.

Left out of the template is what the emulator does not have: CodeDeploy, alarms over expressions, images.
"""

import copy
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from template_test import ROOT, expand

STACK = "moths"
ZONE = "Africa/Lagos"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(condition, seconds: float = 120, what: str = ""):
    """The first value of `condition()` that is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return value


class Cloud:
    """An emulator of AWS, and clients for it."""

    def __init__(self, folder: Path):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.url,
        }
        program = os.environ.get("MINISTACK", str(ROOT / "target/ministack-venv/bin/ministack"))
        settings = {
            "GATEWAY_PORT": str(self.port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1",
            "PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder),
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.1", "LAMBDA_ASYNC_RETRY_MAX_SECONDS": "0.1",
        }
        self.log = open(folder / "ministack.log", "w")
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


if __name__ == "__main__":
    pass
