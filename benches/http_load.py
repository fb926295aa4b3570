#!/usr/bin/env python3
"""Compares the HTTP API under load with servers that people build for the same model, on the same CPUs.

    pip install -r benches/http-requirements.txt
    cargo build --release --locked && target/release/moth-classifier compile
    python benches/http_load.py --serve
    python benches/http_load.py --serve "PATH/moth-classifier serve --port {port} --without-tables"

Each round starts the servers one after the other, so all are measured in the same minutes. A server gets photos from
1, 8 and 200 clients in closed loops: a client sends a photo, waits for the answer, and sends the next. After a 429 it
waits as long as Retry-After says, and repeats the photo. All servers get the same bytes, and each photo is new to them.
Without --serve, only the peers take part. The script runs on Linux only.
"""

import argparse
import asyncio
import contextlib
import importlib.metadata
import itertools
import json
import os
import platform
import resource
import shlex
import socket
import statistics
import sys
from collections import Counter
from pathlib import Path

from http_client import BOUNDARY, Connection, load, photos, request
from http_servers import Running, Server, busy, running
from measure import cpu

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benches/http_peers"
PRODUCT = "moth-classifier"
PACKAGES = ("fastapi", "uvicorn", "litserve", "onnxruntime", "pillow")
# As in the tests of the Rust function: the decoders and the engines may differ by this probability.
TOLERANCE = 0.02
# What is compared, with True if more is better.
START, LOADED = (
    {"start_s": False, "pss_mib": False, "anonymous_mib": False, "peak_rss_mib": False},
    {
        "photos_per_s": True,
        "p50_ms": False,
        "p99_ms": False,
        "cpu_ms_per_photo": False,
    },
)


def servers(arguments: argparse.Namespace) -> list[Server]:
    cpus = len(os.sched_getaffinity(0))
    model = {"MODEL_DIR": str(arguments.model.resolve())}
    found = [Server(PRODUCT, shlex.split(arguments.serve), model)] if arguments.serve else []
    # One process whose inferences use all CPUs, one whose inferences share the CPUs, and a process for each CPU.
    for workers, threads in dict.fromkeys([(1, cpus), (1, 1), (cpus, 1)]):
        uvicorn = [sys.executable, "-m", "uvicorn", "fastapi_server:app", "--factory", "--app-dir", str(PEERS)]
        uvicorn += ["--port", "{port}", "--workers", str(workers), "--no-access-log"]
        environment = model | {"INFERENCE_THREADS": str(threads)}
        found.append(Server(f"FastAPI {workers}×{threads}", uvicorn, environment))
    for workers, threads, batch in dict.fromkeys([(1, cpus, 1), (1, cpus, 8), (cpus, 1, 1)]):
        litserve = [sys.executable, str(PEERS / "litserve_server.py"), "--port", "{port}", "--workers", str(workers)]
        litserve += ["--threads", str(threads), "--batch", str(batch)]
        name = f"LitServe {workers}×{threads}" + (f", batch {batch}" if batch > 1 else "")
        found.append(Server(name, litserve, model))
    if arguments.only:
        found = [server for server in found if any(words in server.name for words in arguments.only)]
    return found


def free_port() -> int:
    """A port that the kernel gives to no client. A client that tries another one before the server listens may get this
    port for itself, and connect to itself."""
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in range(first_ephemeral - 1, 1024, -1):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    sys.exit("no port is free")


class Bench:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.port = free_port()
        self.photos = photos(arguments.photos)
        self.requests = [request(photo, self.port, arguments.path) for photo in self.photos]
        # Counts the requests of all rounds to all servers.
        self.numbers = itertools.count()

    def running(self, server: Server):
        numbered = self.requests[0].numbered(next(self.numbers))
        body = numbered.partition(b"\r\n\r\n")[2]
        content_type = f"multipart/form-data; boundary={BOUNDARY.decode()}"
        return running(server, self.port, self.arguments.path, body, content_type)

    async def answers(self) -> list[dict[str, float]]:
        """The probabilities of all photos, one photo after the other."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self.port)
        found = []
        for each in self.requests:
            answer = await connection.send(each.numbered(next(self.numbers)), self.arguments.timeout)
            assert answer.status == 200, answer
            found.append(answer.probabilities())
        connection.transport.abort()
        return found

    def check(self, these: list[Server]) -> None:
        """All servers find the same class for each photo, and about the same probability."""
        first: list[dict[str, float]] = []
        for server in these:
            with self.running(server):
                found = asyncio.run(self.answers())
            first = first or found
            furthest = 0.0
            for index, (one, other) in enumerate(zip(first, found, strict=True)):
                top, expected = next(iter(other)), next(iter(one))
                if top != expected:
                    sys.exit(f"photo {index} is {top} for {server.name}, and {expected} for {these[0].name}")
                furthest = max(furthest, max(abs(one[label] - other[label]) for label in one))
            if furthest > TOLERANCE:
                sys.exit(f"{server.name} and {these[0].name} differ by a probability of {furthest:.3f}")
            note(f"{server.name}: same classes, probabilities within {furthest:.4f}")
        classes = Counter(next(iter(answer)) for answer in first)
        print(f"All servers agree on the classes of the photos: {dict(sorted(classes.items()))}")

    def measure(self, server: Server) -> dict:
        """Starts the server, and puts it under each load in turn."""
        with self.running(server) as run:
            result = {"start_s": run.start, "loads": {}}
            # A first load that is not reported: memory, caches and threads are then as after some use.
            self.under_load(run, 8, 1.0)
            for connections in self.arguments.connections:
                result["loads"][connections] = self.under_load(run, connections, self.arguments.seconds)
        for name in ("pss_mib", "anonymous_mib", "peak_rss_mib"):
            result[name] = max(each[name] for each in result["loads"].values())
        return result

    def under_load(self, run: Running, connections: int, seconds: float) -> dict:
        ends = []

        def around() -> None:
            ends.append((run.cpu(), busy()))
            if len(ends) == 2:
                ends.append(run.memory())

        window = asyncio.run(
            load(self.port, self.requests, connections, seconds, self.arguments.timeout, self.numbers, around)
        )
        (cpu_before, busy_before), (cpu_after, busy_after), (pss, anonymous, peak) = ends
        if any(exchange.from_cache for exchange in window.exchanges):
            sys.exit("a cache answered: the photos are not new to the server")
        outcomes = window.outcomes()
        server_cpu = cpu_after - cpu_before
        return {
            "photos_per_s": window.goodput(),
            # Since the photo was sent first: with the time to wait after a 429.
            "p50_ms": window.milliseconds("first_sent", 50),
            "p99_ms": window.milliseconds("first_sent", 99),
            # Of the request that was answered with 200.
            "accepted_p50_ms": window.milliseconds("sent", 50),
            "accepted_p99_ms": window.milliseconds("sent", 99),
            # Clients that had no 200. The percentiles do not count their photos.
            "starved": connections - window.served(),
            "outcomes": {str(outcome): number for outcome, number in outcomes.items()},
            "errors": dict(window.errors),
            "seconds": window.seconds,
            "cpu_ms_per_photo": 1000 * server_cpu / outcomes[200] if outcomes[200] else None,
            # In CPUs.
            "server_cpus": server_cpu / window.seconds,
            "client_cpus": window.client_cpu / window.seconds,
            "other_cpus": max(0, busy_after - busy_before - server_cpu - window.client_cpu) / window.seconds,
            "pss_mib": pss,
            "anonymous_mib": anonymous,
            "peak_rss_mib": peak,
        }


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def median(values: list) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def show(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def ratios(rounds: dict[str, list[dict]], name: str, more: bool) -> str:
    """The product divided by the best peer: of the medians, and its range over the rounds."""
    best = max if more else min

    def divided(of) -> float | None:
        peers = [of(results) for server, results in rounds.items() if server != PRODUCT]
        peers, ours = [value for value in peers if value], of(rounds[PRODUCT])
        return ours / best(peers) if ours and peers else None

    whole = divided(lambda results: median([result[name] for result in results]))
    each = [divided(lambda results, index=index: results[index][name]) for index in range(len(rounds[PRODUCT]))]
    known = [value for value in each if value is not None]
    return "–" if whole is None or not known else f"{whole:.2f} ({min(known):.2f}–{max(known):.2f})"


def table(title: str, rounds: dict[str, list[dict]], compared: dict[str, bool], extra=None) -> None:
    """Prints the medians of the rounds, and the ratios."""
    width = 24
    print(f"\n{title:{width}}" + "".join(f"{name:>20}" for name in compared) + ("  " + extra[0] if extra else ""))
    for server, results in rounds.items():
        cells = (median([result[name] for result in results]) for name in compared)
        line = f"{server:{width}}" + "".join(f"{show(cell, 2 if (cell or 0) < 10 else 1):>20}" for cell in cells)
        print(line + ("  " + extra[1](results) if extra else ""))
    if PRODUCT in rounds and len(rounds) > 1:
        cells = (ratios(rounds, name, more) for name, more in compared.items())
        print(f"{'product ÷ best peer':{width}}" + "".join(f"{cell:>20}" for cell in cells))


def outcomes(results: list[dict]) -> str:
    """Numbers of answers by status in all rounds, and who else took CPUs."""
    counts = Counter()
    for result in results:
        counts.update(result["outcomes"])
    said = ", ".join(f"{outcome}: {number}" for outcome, number in sorted(counts.items()))
    starved = f"; clients without an answer: {number:g}" if (number := median([r["starved"] for r in results])) else ""
    client, others = (median([result[name] for result in results]) for name in ("client_cpus", "other_cpus"))
    accepted = ""
    if counts["429"]:
        quantiles = (median([result[f"accepted_p{p}_ms"] for result in results]) for p in (50, 99))
        accepted = "; without waits p50 {}, p99 {} ms".format(*(show(value, 1) for value in quantiles))
    return f"{said}{accepted}{starved}; CPUs: client {client:.3f}, others {others:.2f}"


def report(measured: dict[str, list[dict]], connections: list[int]) -> None:
    table("start and memory", measured, START)
    for number in connections:
        loads = {server: [result["loads"][number] for result in results] for server, results in measured.items()}
        title = f"{number} connection{'s' if number > 1 else ''}"
        table(title, loads, LOADED, ("answers by status", outcomes))
    every = [each for results in measured.values() for result in results for each in result["loads"].values()]
    if (worst := max(each["other_cpus"] for each in every)) > 0.1:
        print(
            f"\nOther processes took up to {worst:.2f} CPUs while a server was measured: "
            "repeat this on a quiet machine."
        )
    for server, results in measured.items():
        errors = Counter()
        for result in results:
            for each in result["loads"].values():
                errors.update(each["errors"])
        for error, number in errors.most_common(3):
            print(f"{server}: {number} × {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    binary = shlex.quote(str(ROOT / "target/release/moth-classifier"))
    parser.add_argument(
        "--serve",
        metavar="COMMAND",
        nargs="?",
        const=f"{binary} serve --port {{port}} --without-tables",
        help="measure the product too, which COMMAND starts on {port} (default: the release binary)",
    )
    parser.add_argument("--model", type=Path, default=ROOT / "model", help="folder with the model (default model/)")
    parser.add_argument("--path", default="/classify", help="path of the requests (default /classify)")
    parser.add_argument("--only", action="append", metavar="NAME", help="only servers whose name contains NAME")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (default 3)")
    parser.add_argument("--seconds", type=float, default=10, help="seconds of a load (default 10)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 200], help="clients (default 1 8 200)")
    parser.add_argument("--photos", type=int, default=30, help="number of drawings (default 30)")
    parser.add_argument("--timeout", type=float, default=30, help="seconds until a client gives up (default 30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures of all rounds")
    arguments = parser.parse_args()
    these = servers(arguments)
    if not these:
        parser.error("no server is left: --only matches none")
    bench = Bench(arguments)
    sizes = [len(photo) for photo in bench.photos]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    machine = f"{cpu()}, {len(os.sched_getaffinity(0))} CPUs"
    print(f"{machine}; Python {platform.python_version()}, {versions}")
    print(
        f"{len(sizes)} photos of 500×500 pixels, {statistics.mean(sizes) / 1024:.0f} KiB on average; "
        f"{arguments.rounds} rounds of {arguments.seconds:g} s.\n"
        "A server named W×T has W workers, whose inferences use T threads each."
    )
    bench.check(these)
    measured = {server.name: [] for server in these}
    for number in range(arguments.rounds):
        for server in these:
            measured[server.name].append(bench.measure(server))
            note(f"round {number + 1}: {server.name} measured")
    report(measured, arguments.connections)
    if arguments.json:
        about = {"machine": machine, "python": platform.python_version(), "versions": versions}
        about["commands"] = {server.name: shlex.join(server.command) for server in these}
        arguments.json.write_text(json.dumps(about | {"rounds": measured}, indent=2) + "\n")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    main()
