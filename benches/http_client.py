"""The load of benches/http_load.py: photos, requests, and clients in closed loops.

One process has all connections. It writes prebuilt bytes to sockets and reads little from the answers, so that it takes
few of the cycles that it shares with the server.
"""

import asyncio
import io
import itertools
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "model"))

BOUNDARY = b"moth-classifier-benchmark-boundary"
SEED = 11
# Digits of a request's number, which makes its photo unique.
DIGITS = 16
START_OF_IMAGE = b"\xff\xd8"
# A JPEG comment. Its length counts itself and the digits.
COMMENT = b"\xff\xfe" + (2 + DIGITS).to_bytes(2, "big")
# Seconds to wait after an error, or after a 429 without Retry-After.
BACK_OFF = 0.1
# Answers with the status 200 for each client in a window.
ANSWERS = 5
# Seconds between two looks at the number of answers.
TICK = 0.01


@dataclass(frozen=True)
class Request:
    """A request to classify one photo. The bytes of a photo include the number, so no two requests have the same photo.

    A cache of results by the photo's bytes therefore never has the answer.
    """

    before: bytes
    after: bytes

    def numbered(self, number: int) -> bytes:
        return b"%b%0*d%b" % (self.before, DIGITS, number, self.after)


def photos(count: int, side: int = 500) -> list[bytes]:
    """JPEGs of drawings, the same in each run with the same Pillow."""
    import draw_moths

    found = []
    for index in range(count):
        image, _ = draw_moths.drawing(SEED, "gallery", index, (side, side))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        found.append(file.getvalue())
    return found


def request(photo: bytes, port: int, path: str) -> Request:
    """A POST with a multipart body, as browsers and curl send it."""
    assert photo.startswith(START_OF_IMAGE)
    opening = (
        b"--%b\r\n"
        b'Content-Disposition: form-data; name="file"; filename="moth.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" % BOUNDARY
    )
    opening += START_OF_IMAGE + COMMENT
    rest = photo[len(START_OF_IMAGE) :] + b"\r\n--%b--\r\n" % BOUNDARY
    head = (
        f"POST {path} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\n"
        f"Content-Length: {len(opening) + DIGITS + len(rest)}\r\n"
        "Accept: application/json\r\n\r\n"
    )
    return Request(head.encode() + opening, rest)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def wait(self) -> float:
        """Seconds to wait after a 429."""
        seconds = self.headers.get("retry-after", "")
        return float(seconds) if seconds.isdigit() else BACK_OFF

    def probabilities(self) -> dict[str, float]:
        """Probability by class, the likeliest first."""
        found = {of["className"]: of["probability"] for of in json.loads(self.body)["predictions"]}
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))


class Connection(asyncio.Protocol):
    """A connection with keep-alive and one request at a time."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.answer: asyncio.Future[Answer] | None = None
        self.open = True

    def connection_made(self, transport) -> None:
        self.transport = transport

    def connection_lost(self, error) -> None:
        self.open = False
        self.fail(error or ConnectionResetError("the server closed the connection before its answer"))

    def fail(self, error: Exception) -> None:
        if self.answer and not self.answer.done():
            self.answer.set_exception(error)

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self.received[:end].decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        if "content-length" not in headers:
            self.fail(ValueError("the answer has no Content-Length"))
            self.transport.abort()
            return
        whole = end + 4 + int(headers["content-length"])
        if len(self.received) < whole:
            return
        body = bytes(self.received[end + 4 : whole])
        del self.received[:whole]
        if headers.get("connection", "").lower() == "close":
            self.open = False
        if self.answer and not self.answer.done():
            self.answer.set_result(Answer(int(first.split(" ", 2)[1]), headers, body))

    async def send(self, content: bytes, timeout: float) -> Answer:
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(content)
        async with asyncio.timeout(timeout):
            return await self.answer


@dataclass
class Exchange:
    """One request and its answer. Times are in seconds of the monotonic clock."""

    client: int
    # When this photo was sent first: before this request, if the photo had a 429.
    first_sent: float
    sent: float
    done: float
    # The status, or "error" or "timeout".
    outcome: int | str
    from_cache: bool = False


@dataclass
class Load:
    """Clients that each send a photo, wait for the answer, and send the next."""

    port: int
    requests: list[Request]
    timeout: float
    numbers: itertools.count
    exchanges: list[Exchange] = field(default_factory=list)
    good: int = 0
    errors: Counter = field(default_factory=Counter)
    stopped: bool = False

    async def client(self, client: int) -> None:
        connection = None
        try:
            while not self.stopped:
                number = next(self.numbers)
                content = self.requests[number % len(self.requests)].numbered(number)
                first = time.monotonic()
                while not self.stopped:
                    connection, wait = await self.exchange(client, connection, content, first)
                    if wait is None:
                        break
                    await asyncio.sleep(wait)
        finally:
            if connection:
                connection.transport.abort()

    async def exchange(
        self, client: int, connection: Connection | None, content: bytes, first: float
    ) -> tuple[Connection | None, float | None]:
        """Sends one request. Returns the connection, and the seconds after which to repeat it, if it failed."""
        sent = time.monotonic()
        try:
            if not connection or not connection.open:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(Connection, "127.0.0.1", self.port)
            answer = await connection.send(content, self.timeout)
        except (OSError, ValueError) as error:  # TimeoutError is an OSError.
            outcome = "timeout" if isinstance(error, TimeoutError) else "error"
            self.errors[str(error) or outcome] += 1
            self.exchanges.append(Exchange(client, first, sent, time.monotonic(), outcome))
            if connection:
                connection.transport.abort()
            return None, BACK_OFF
        hit = answer.headers.get("x-cache") == "hit"
        self.exchanges.append(Exchange(client, first, sent, time.monotonic(), answer.status, hit))
        if answer.status == 200:
            self.good += 1
            return connection, None
        if answer.status != 429:
            self.errors[f"{answer.status}: {answer.body[:200].decode(errors='replace')}"] += 1
        return connection, answer.wait()


@dataclass(frozen=True)
class Window:
    """What the clients saw in some seconds under steady load."""

    seconds: float
    exchanges: list[Exchange]
    # Seconds of CPU that the clients took.
    client_cpu: float
    errors: Counter

    def outcomes(self) -> Counter:
        return Counter(exchange.outcome for exchange in self.exchanges)

    def served(self) -> int:
        """Clients that had an answer with the status 200."""
        return len({exchange.client for exchange in self.exchanges if exchange.outcome == 200})

    def goodput(self) -> float:
        return self.outcomes()[200] / self.seconds

    def milliseconds(self, since: str, percent: float) -> float | None:
        """Percentile of the time of the 200 answers, since `first_sent` or `sent`."""
        times = sorted(of.done - getattr(of, since) for of in self.exchanges if of.outcome == 200)
        return times[math.ceil(len(times) * percent / 100) - 1] * 1000 if times else None


async def load(
    port: int,
    requests: list[Request],
    connections: int,
    seconds: float,
    timeout: float,
    numbers: itertools.count,
    around: Callable[[], None],
) -> Window:
    """Measures `connections` clients for at least `seconds`, and until they had ANSWERS answers each.

    Before, it waits until they had one answer each. A server whose answers come in bursts, one to each client, is thus
    measured from burst to burst. `around` is called at both ends of the window, while the clients are at work.
    """
    load = Load(port, requests, timeout, numbers)
    clients = [asyncio.create_task(load.client(client)) for client in range(connections)]

    async def wait(answers: int, seconds: float) -> None:
        """Ends after `seconds` and so many answers, or without them after `timeout` more."""
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds or load.good < answers:
            if passed > seconds + timeout:
                return
            await asyncio.sleep(TICK)

    await wait(connections, 0)
    around()
    started, cpu = time.monotonic(), time.process_time()
    await wait(load.good + ANSWERS * connections, seconds)
    ended, cpu = time.monotonic(), time.process_time() - cpu
    around()
    load.stopped = True
    _, late = await asyncio.wait(clients, timeout=timeout)
    for client in late:
        client.cancel()
    for outcome in await asyncio.gather(*clients, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
    inside = [exchange for exchange in load.exchanges if started <= exchange.done < ended]
    return Window(ended - started, inside, cpu, load.errors)
