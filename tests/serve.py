"""Starts `local --serve`, and reads its endpoints and, with --json, the outcome of each photo."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Seconds to wait for an outcome or an answer. A photo takes less than one.
PATIENCE = 60

# Key and version id.
Version = tuple[str, str]


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen
    # URLs by service name: HTTP API, S3, DynamoDB and Lambda.
    endpoints: dict[str, str]
    # Environment variables with credentials and region, for AWS's tools.
    variables: dict[str, str]


@contextlib.contextmanager
def serve(*options: str, **variables: str) -> Iterator[Served]:
    """Runs `local --serve` with the environment `variables` during the block, then stops it as Ctrl-C does.

    Standard output and standard error are one pipe, which holds 64 KiB: a block that makes it print more reads it.
    """
    binary = os.environ.get("CLASSIFIER_BIN")
    assert binary, "set CLASSIFIER_BIN to the path of the classifier's binary"
    process = subprocess.Popen(
        [binary, "local", "--serve", "--port", str(four_free_ports()), *options],
        cwd=ROOT,
        env=os.environ | variables,
        encoding="utf-8",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        printed = ""
        while not printed.endswith("Ctrl-C stops it.\n"):
            line = process.stdout.readline()
            assert line, f"local --serve ended before it listened: {printed}"
            printed += line
        exports = re.search(r"^export (.*)$", printed, re.MULTILINE)[1]
        endpoints = dict(re.findall(r"^(HTTP API|S3|DynamoDB|Lambda) +(http://\S+)", printed, re.MULTILINE))
        yield Served(process, endpoints, dict(pair.split("=", 1) for pair in exports.split()))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def four_free_ports() -> int:
    for port in range(19500, 19900, 4):
        try:
            for offset in range(4):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue
    raise AssertionError("no four free ports in a row")


class Outcomes:
    """Collects the outcomes that `local --serve --json` prints."""

    def __init__(self, lines: Iterable[str]):
        self.changed = threading.Condition()
        self.ended = False
        self.reports: dict[Version, dict] = {}
        threading.Thread(target=self.read, args=[lines], daemon=True).start()

    def read(self, lines: Iterable[str]) -> None:
        for line in lines:
            with self.changed:
                if line.startswith("{"):
                    report = json.loads(line)
                    self.reports[report["key"], report["versionId"]] = report
                else:
                    print(line, end="")  # A line of the log.
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, versions: Collection[Version]) -> None:
        """Waits until each version is recorded or rejected."""
        with self.changed:
            while missing := set(versions) - self.reports.keys():
                awaited = f"no outcome for {len(missing)} photos, such as {min(missing)}"
                assert not self.ended, f"{awaited}: local --serve ended"
                assert self.changed.wait(PATIENCE), f"{awaited}, after {PATIENCE} s without a new one"
            failed = [self.reports[version] for version in versions if self.reports[version]["outcome"] == "failed"]
        assert not failed
