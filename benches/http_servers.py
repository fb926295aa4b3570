"""Starts the servers of benches/http_load.py, and reads from /proc what they take."""

import contextlib
import http.client
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
# Seconds that a server may take to start, and to stop. The product lets requests finish for 25 s.
PATIENCE = 60
# Seconds between two attempts to connect to a server that starts.
RETRY = 0.002


@dataclass(frozen=True)
class Server:
    name: str
    command: list[str]
    environment: dict[str, str]


class Running:
    """A server's processes: those of its session."""

    def __init__(self, process: subprocess.Popen, log: Path):
        self.process, self.log = process, log
        # Seconds from the start of the process to the first answer with the status 200.
        self.start = 0.0

    def pids(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.getsid(int(entry.name)) == self.process.pid:
                        found.append(int(entry.name))
        return found

    def memory(self) -> tuple[float, float, float]:
        """MiB of all processes: PSS now, which counts a shared page once, its part that is not a mapped file, and the
        sum of the peaks of RSS."""
        proportional = anonymous = peak = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):  # It has just ended.
                proportional += field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")
                anonymous += field(Path(f"/proc/{pid}/smaps_rollup"), "Pss_Anon")
                peak += field(Path(f"/proc/{pid}/status"), "VmHWM")
        return proportional / 1024, anonymous / 1024, peak / 1024

    def cpu(self) -> float:
        """Seconds of CPU that all processes took."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                # utime and stime are the 14th and 15th field. The second, a name in brackets, may have spaces.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def fail(self, message: str) -> SystemExit:
        return SystemExit(f"{message}. The end of its log:\n{self.log.read_text()[-4000:]}")


def field(file: Path, name: str) -> int:
    """A field in KiB."""
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    return 0


def busy() -> float:
    """Seconds in which the CPUs of this machine worked, including for other virtual machines (steal)."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS


@contextlib.contextmanager
def running(server: Server, port: int, path: str, body: bytes, content_type: str) -> Iterator[Running]:
    """Runs `server` during the block. `body` is the request that must get the first answer."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("w") as output:
            began = time.perf_counter()
            # str.format would stumble over other braces.
            command = [word.replace("{port}", str(port)) for word in server.command]
            try:
                process = subprocess.Popen(
                    command,
                    env=os.environ | server.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise SystemExit(f"{server.name} does not start: {error}") from error
        run = Running(process, log)
        try:
            wait_for_first_answer(run, server, port, path, body, content_type)
            run.start = time.perf_counter() - began
            yield run
        finally:
            stop(run)


def wait_for_first_answer(run: Running, server: Server, port: int, path: str, body: bytes, content_type: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if run.process.poll() is not None:
            raise run.fail(f"{server.name} ended with {run.process.returncode} before its first answer")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("POST", path, body, {"Content-Type": content_type})
            answer = connection.getresponse()
            text = answer.read()
        except OSError:  # It does not listen yet.
            time.sleep(RETRY)
            continue
        finally:
            connection.close()
        if answer.status == 200:
            return
        if answer.status != 503:
            raise run.fail(f"{server.name} answered {answer.status}: {text[:500].decode(errors='replace')}")
        time.sleep(RETRY)
    raise run.fail(f"{server.name} had no answer within {PATIENCE} s")


def stop(run: Running) -> None:
    """SIGTERM, as an orchestrator does. What is left then is killed."""
    processes = run.pids()
    run.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.wait(PATIENCE)
    for pid in set(processes) | set(run.pids()):
        with contextlib.suppress(OSError):
            if os.getsid(pid) == run.process.pid:
                os.kill(pid, signal.SIGKILL)
    run.process.wait()
