"""Tests of the container image, which is built from the Dockerfile and run as Lambda runs it: with a read-only root, as
an unknown user, and without capabilities.

They need root, and buildah, runc and debootstrap as packaged by Debian and Ubuntu. CLASSIFIER_BIN is the path of the
binary with the embedded services.
"""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import oci

ROOT = oci.ROOT
PHOTO = ROOT / "test_images/good/faw.jpg"
REVISION = "0123456789abcdef"
# glibc of the real base image: https://docs.aws.amazon.com/linux/al2023/ug/compare-with-al2.html
BASE_GLIBC = (2, 34)

pytestmark = pytest.mark.skipif(oci.missing() is not None, reason=str(oci.missing()))


@pytest.fixture(scope="module")
def image():
    built = oci.build(REVISION)
    yield built
    built.remove()


@pytest.fixture(scope="module")
def binary() -> str:
    path = os.environ.get("CLASSIFIER_BIN")
    assert path, "set CLASSIFIER_BIN to the path of the classifier's binary"
    return path


def inside(image, folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs the image with `arguments`, on the command line and not as the function."""
    command = image.command(
        folder / "bundle",
        f"cli-{os.getpid()}-{time.monotonic_ns()}",
        {},
        list(arguments),
        **options,
    )
    return subprocess.run(command, capture_output=True, text=True)


def test_labels_entry_point_and_files(image):
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.revision"] == REVISION
    assert labels["org.opencontainers.image.title"] == "moth-classifier"
    assert image.config["Entrypoint"] == ["/var/runtime/bootstrap"]
    assert not image.config.get("Cmd")
    files = {
        str(path.relative_to(image.root))
        for folder in ("var/task", "var/runtime")
        for path in (image.root / folder).rglob("*")
        if path.is_file()
    }
    model = {f"var/task/model/model.{kind}" for kind in ("json", "onnx", "compiled")}
    assert files == model | {"var/runtime/bootstrap"}
    for file in files:
        assert (image.root / file).stat().st_mode & stat.S_IROTH, f"{file} is not readable for every user"


def test_the_binary_starts_on_the_glibc_of_the_real_base(image):
    assert oci.needed_glibc(image.root / "var/runtime/bootstrap") <= BASE_GLIBC


def test_sizes(image, capsys):
    binary = (image.root / "var/runtime/bootstrap").stat().st_size
    with capsys.disabled():
        print(f"\nbinary {binary / 1e6:.1f} MB, on top of the base {image.size() / 1e6:.1f} MB ", end="")
    # docs/image.md has the sizes. The limits leave a few MB.
    assert binary < 66e6
    assert image.size() < 271e6


def test_the_root_is_read_only(image, tmp_path):
    command = image.command(
        tmp_path / "bundle",
        f"touch-{os.getpid()}",
        {},
        ["-c", "touch /tmp/here && ! touch /var/task/there 2>/dev/null && id -u"],
        ["/bin/sh"],
    )
    assert subprocess.run(command, capture_output=True, text=True).stdout == "48151\n"


def test_self_test_and_start_to_first_prediction(image, tmp_path, capsys):
    started = time.perf_counter()
    done = inside(image, tmp_path, "classify", "--self-test", "--json")
    elapsed = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["passed"]
    assert answer["backend"].startswith("compiled, ")
    with capsys.disabled():
        print(f"\nstart to first prediction {elapsed * 1000:.0f} ms, including runc ", end="")


def test_a_broken_model_fails_the_self_test(image, tmp_path):
    """The self-test is the last step of the image's build, so the build fails too."""
    model = tmp_path / "model"
    shutil.copytree(image.root / "var/task/model", model)
    manifest = json.loads((model / "model.json").read_text())
    manifest["preprocess"]["scale"] *= 1e-6
    (model / "model.json").write_text(json.dumps(manifest))
    done = inside(image, tmp_path, "classify", "--self-test", mounts={model: "/var/task/model"})
    assert done.returncode == 1
    assert done.stdout.startswith("self-test failed")


def bootstrap(image, folder: Path) -> Path:
    """A program for `local --bootstrap` that runs the image as the function."""
    script = folder / "bootstrap"
    script.write_text(f"""#!{sys.executable}
import json, os
bundle = {str(folder / "bundle")!r}
with open(bundle + "/config.json") as file:
    spec = json.load(file)
of_this_machine = ("PATH", "MODEL_DIR", "SSL_CERT_FILE", "TMPDIR")
spec["process"]["env"] += [f"{{name}}={{value}}" for name, value in os.environ.items() if name not in of_this_machine]
with open(bundle + "/config.json", "w") as file:
    json.dump(spec, file)
command = {image.command(folder / "bundle", f"function-{os.getpid()}", {})!r}
os.execvp(command[0], command)
""")
    script.chmod(0o755)
    return script


def test_a_photo_becomes_a_record(image, binary, tmp_path):
    """The function is the image. S3, DynamoDB and Lambda are the embedded services."""
    command = [
        binary,
        "local",
        "--json",
        "--concurrency",
        "1",
        "--bootstrap",
        bootstrap(image, tmp_path),
        PHOTO,
        ROOT / "test_images/bad/truncated.jpg",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcomes = {line["key"]: line for line in map(json.loads, done.stdout.splitlines())}
    recorded, rejected = outcomes["faw.jpg"], outcomes["truncated.jpg"]
    assert (recorded["outcome"], recorded["count"]) == ("recorded", 1)
    golden = json.loads((ROOT / "tests/golden.json").read_text())["images"]["faw.jpg"]
    assert recorded["className"] == golden["className"]
    assert abs(recorded["probability"] - golden["probabilities"][recorded["className"]]) < 0.02
    assert rejected["outcome"] == "rejected"


def answer_of(url: str, event: bytes) -> dict:
    """The answer to `event`. Retries for up to 30 s while nothing listens at `url`."""
    give_up = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, event, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            if time.monotonic() > give_up:
                raise


def test_the_emulator_answers(image, tmp_path):
    """Sends a test event through the emulator, as with `docker run --entrypoint /usr/local/bin/aws-lambda-rie`."""
    environment = {
        "PREDICTIONS_TABLE": "predictions",
        "LEDGER_TABLE": "ledger",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 8080)), (
            "port 8080 is in use, but the emulator needs it: stop the other program"
        )
    arguments = ["/var/runtime/bootstrap"]
    name = f"emulator-{os.getpid()}"
    command = image.command(tmp_path / "bundle", name, environment, arguments, ["/usr/local/bin/aws-lambda-rie"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True):
        try:
            url = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
            test_event = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "moths"})
            assert answer_of(url, test_event.encode()) == {"outcomes": []}
        finally:
            subprocess.run(["runc", "--root", oci.CACHE / "runc", "kill", image.runs[-1], "KILL"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url: str, body: bytes | None = None) -> dict:
    request = urllib.request.Request(url, body, {"Content-Type": "application/x-image"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def serve_and_classify(image, folder: Path, arguments: list[str], **options) -> dict:
    """Runs `serve` in the image until it has classified a photo, then stops it with SIGTERM. Returns the answer."""
    port = free_port()
    environment = {"PORT": str(port), "OPEN": "reader"}
    name = f"serve-{os.getpid()}-{port}"
    command = image.command(folder / "bundle", name, environment, arguments, **options)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = ""
            while not said.endswith("Ready.\n"):
                line = process.stderr.readline()
                assert line, f"serve ended before it was ready: {said}"
                said += line
            # The image listens on all addresses.
            assert f"http://0.0.0.0:{port}\n" in said
            url = f"http://127.0.0.1:{port}"
            assert ask(f"{url}/ping") == {"status": "ok"}
            answer = ask(f"{url}/invocations", PHOTO.read_bytes())
        finally:
            subprocess.run(["runc", "--root", oci.CACHE / "runc", "kill", name, "TERM"])
        assert process.wait(timeout=40) == 0
    return answer


def test_serve_answers_as_in_sagemaker(image, tmp_path):
    """SageMaker starts `docker run IMAGE serve`, and mounts a model of one's own at /opt/ml/model."""
    (tmp_path / "shipped").mkdir()
    shipped = serve_and_classify(image, tmp_path / "shipped", ["serve"])
    golden = json.loads((ROOT / "tests/golden.json").read_text())["images"]["faw.jpg"]
    assert shipped["className"] == golden["className"]
    (tmp_path / "own").mkdir()
    (image.root / "opt/ml/model").mkdir(parents=True, exist_ok=True)
    mounts = {ROOT / "tests/color_model": "/opt/ml/model"}
    own = serve_and_classify(image, tmp_path / "own", ["serve"], mounts=mounts)
    assert own["model"]["version"] != shipped["model"]["version"]


def test_serve_without_keys_is_not_open(image, tmp_path):
    done = inside(image, tmp_path, "serve")
    assert done.returncode == 1
    assert "API_KEYS" in done.stderr
