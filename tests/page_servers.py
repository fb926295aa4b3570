"""Starts the servers that the blocks of a page start, and leads requests to them.

A page names the default ports. Here each server gets free ones, so that a test disturbs no server of the developer. The
file STATE, in the folder of the page's programs, has the servers that run, and which port stands for which.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from serve import PATIENCE, four_free_ports

STATE = Path(__file__).name + ".json"
# What `serve` and `local --serve` print with their address.
ADDRESS = re.compile(r"^(HTTP API|S3|DynamoDB|Lambda) +http://127\.0\.0\.1:(\d+)", re.MULTILINE)
# The ports on the pages.
SERVE = {"HTTP API": "8080"}
LOCAL = {"S3": "9000", "DynamoDB": "9001", "Lambda": "9002", "HTTP API": "9003"}


def start(binary: str, arguments: list[str], programs: Path) -> None:
    """Starts a server in the background, in place of an earlier one at the same ports, and waits until it is ready."""
    names = SERVE if arguments[0] == "serve" else LOCAL
    state = read(programs)
    stop_at(state.pop(names["HTTP API"], None))
    port = 0 if names is SERVE else four_free_ports()
    log = programs / f"{names['HTTP API']}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [binary, *arguments, "--port", str(port)],
            env={name: translate(value, programs) for name, value in os.environ.items()},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    give_up = time.monotonic() + PATIENCE
    while True:
        ports = dict(ADDRESS.findall(log.read_text()))
        if ports.keys() >= names.keys() and is_ready(ports["HTTP API"]):
            break
        assert process.poll() is None and time.monotonic() < give_up, log.read_text()
        time.sleep(0.05)
    state[names["HTTP API"]] = {"pid": process.pid, "ports": {names[name]: ports[name] for name in names}}
    (programs / STATE).write_text(json.dumps(state))


def is_ready(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE):
            return True
    except OSError:
        return False


def read(programs: Path) -> dict[str, dict]:
    """The servers that run, by the page's port of their HTTP API."""
    file = programs / STATE
    return json.loads(file.read_text()) if file.exists() else {}


def translate(text: str, programs: Path) -> str:
    """`text` with the ports of the servers that run in place of those of the page."""
    ports = {port: own for server in read(programs).values() for port, own in server["ports"].items()}
    return re.sub(r"(http://127\.0\.0\.1:)(\d+)", lambda address: address[1] + ports.get(address[2], address[2]), text)


def stop(programs: Path) -> None:
    """Stops all servers, as Ctrl-C does."""
    for server in read(programs).values():
        stop_at(server)


def stop_at(server: dict | None) -> None:
    """Stops a server, and waits until it no longer listens. It is the child of a program that has ended."""
    if server is None:
        return
    os.kill(server["pid"], signal.SIGINT)
    give_up = time.monotonic() + PATIENCE
    for port in server["ports"].values():
        while listens(port):
            assert time.monotonic() < give_up, f"the server at port {port} does not stop"
            time.sleep(0.05)


def listens(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0
