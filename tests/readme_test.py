"""Tests of the pages: every block is accounted for, the links resolve, and tables agree with the code.

bash runs the shell blocks of each page, and Python the others, in a copy of the repository. The classifier's commands
run for real: page_servers.py starts its servers at free ports, and `curl` and Python reach them there. Every other
program is a stand-in that records its arguments. The AWS CLI then parses each recorded `aws` command, up to the
connection to AWS. NOT_RUN lists the commands that the tests do not run, with the reason; the files, options and targets
of these must exist. A command that is neither run, parsed nor listed fails the test.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

import page_servers
from serve import serve

ROOT = Path(__file__).resolve().parent.parent
BINARY = os.environ.get("CLASSIFIER_BIN", str(ROOT / "target/debug/moth-classifier"))
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "tests/README.md",
    "benches/README.md",
    "model/README.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md")),
]
# Commands that the tests do not run, by their first words, and the reason.
NOT_RUN = {
    "cargo bench": "takes minutes, and its result depends on the machine",
    "cargo build": "takes minutes; the gate compiles the same targets",
    "cargo doc": "the gate makes the pages of all crates",
    "cargo fuzz": "needs cargo-fuzz, and runs for five minutes",
    "cargo run --locked --package loom-tests": "the gate runs it",
    "cargo test": "the gate runs all Rust tests",
    "docker": "needs Docker; tests/deploy/image_test.py builds and runs the image without it",
    "gcloud": "needs a project of Google Cloud",
    "git": "changes the reader's repository and its remotes",
    "kubectl": "needs a cluster; tests/kubernetes_test.py validates the manifest",
    "pip install": "downloads packages; the gate makes the same environment",
    "python -m pytest": "the gate runs all Python tests",
    "python benches/": "takes minutes, and its result depends on the machine",
    "python model/export.py": "needs a SavedModel; tests/export_test.py runs it",
    "python model/train.py": "takes an hour",
    "python tests/golden.py": "needs the SavedModel of the shipped model",
    "python3 -m venv": "the gate makes the same environment",
    "python3 benches/": "takes minutes, and its result depends on the machine",
}
# Programs with a stand-in.
PROGRAMS = ("aws", "cargo", "docker", "gcloud", "git", "kubectl", "pip", "python", "python3")
# Programs that the blocks may use as they are. Any other program is unknown to bash here, and fails the block.
REAL = ("base64", "cat", "cp", "date", "jq", "mkdir", "tr", "wc", "xargs")
# Requests of `curl` that the server must refuse, by a part of their command line.
REFUSED = ("@test_images/bad/photo.heic",)
# Files and folders that are not part of the repository.
LOCAL = (".git", "target", "data", "my_model", "venv", "__pycache__", ".pytest_cache", ".ruff_cache", "model.compiled")

STAND_IN = """#!{python}
import json, os, pathlib, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
with open({calls!r}, "a") as file:
    print(json.dumps([name, *arguments]), file=file)
if name == "cargo" and arguments[:1] == ["run"] and "--" in arguments:
    os.execv({classifier!r}, [{classifier!r}, *arguments[arguments.index("--") + 1:]])
if name == "docker" and arguments[:1] == ["login"]:
    sys.stdin.read()
if name == "aws" and arguments[-1].endswith(".json"):
    pathlib.Path(arguments[-1]).write_text("{{}}")
print({{"aws": "111122223333", "git": "0123abc"}}.get(name, ""))
"""

CLASSIFIER = """#!{python}
import json, os, pathlib, subprocess, sys
arguments = sys.argv[1:]
with open({calls!r}, "a") as file:
    print(json.dumps(["moth-classifier", *arguments]), file=file)
if arguments[0] == "serve" or "--serve" in arguments:
    sys.path.insert(0, {tests!r})
    import page_servers
    page_servers.start({binary!r}, arguments, pathlib.Path({programs!r}))
    sys.exit()
if "--stack" in arguments or "--predictions" in arguments or arguments[0] == "redeliver":
    # It must get as far as the connection to AWS.
    done = subprocess.run([{binary!r}, *arguments], env={nowhere!r}, capture_output=True, text=True)
    sys.stderr.write(done.stderr)
    reached = ("cannot read the outputs of the stack", "to read the ledger", "to read the records")
    sys.exit(done.returncode != 1 or not any(text in done.stderr for text in reached))
os.execv({binary!r}, [{binary!r}, *arguments])
"""


CURL = """#!{python}
import json, pathlib, subprocess, sys
sys.path.insert(0, {tests!r})
import page_servers
with open({calls!r}, "a") as file:
    print(json.dumps(["curl", *sys.argv[1:]]), file=file)
arguments = [page_servers.translate(argument, pathlib.Path({programs!r})) for argument in sys.argv[1:]]
done = subprocess.run([{curl!r}, "--silent", "--show-error", "--fail-with-body", *arguments])
is_refused = any(part in argument for part in {refused!r} for argument in arguments)
sys.exit(done.returncode != (22 if is_refused else 0))
"""

# Runs the file with a block in Python.
PYTHON_BLOCK = """#!{python}
import os, pathlib, sys
sys.path.insert(0, {tests!r})
import page_servers
block = page_servers.translate(pathlib.Path(sys.argv[1]).read_text(), pathlib.Path({programs!r}))
os.execv({python!r}, [{python!r}, "-c", block])
"""


def nowhere() -> dict[str, str]:
    """The environment, with an AWS endpoint at which nothing listens."""
    return os.environ | {
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
    }


def blocks(page: str) -> list[tuple[str, str]]:
    """The page's blocks with their languages. Blocks without one are diagrams and output."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    languages = {language for language, _ in found}
    assert languages <= {"", "sh", "python"}, f"{page}: mark blocks as sh or python, not {languages}"
    return found


def shell_blocks(page: str) -> list[str]:
    return [block for language, block in blocks(page) if language == "sh"]


def promises(page: str) -> list[str]:
    """The commands in the page's table of promises."""
    table = re.search(r"^\| promise \| command \|\n(?:\|.*\n)+", (ROOT / page).read_text(), re.MULTILINE)
    return re.findall(r"\| `([^`]+)` \|$", table[0], re.MULTILINE) if table else []


def script(page: str, folder: Path) -> str:
    """All that bash runs of a page. Blocks of a page build on each other: they share variables and files."""
    lines = ["set -eu"]
    for number, (language, block) in enumerate(blocks(page)):
        if language == "sh":
            lines.append(block)
        elif language == "python":
            file = folder / f"block-{number}.py"
            file.write_text(block)
            lines.append(f"python-block {shlex.quote(str(file))}")
    return "\n".join([*lines, *promises(page)])


@dataclass
class Ran:
    """What bash ran of one page."""

    page: str
    folder: Path
    calls: list[list[str]]


def copy_of_the_repository(folder: Path) -> None:
    """Makes the repository's folders below `folder`, with links to its files, so that no block changes the original."""

    def link(source: str, target: str) -> None:
        Path(target).symlink_to(source)

    shutil.copytree(ROOT, folder, copy_function=link, ignore=lambda _, names: set(names) & set(LOCAL))
    # What the blocks make with programs that are stand-ins here.
    shutil.copytree(ROOT / "tests/color_model", folder / "my_model")
    (folder / "venv/bin").mkdir(parents=True)
    (folder / "venv/bin/activate").touch()


@pytest.fixture(scope="module", params=[page for page in PAGES if shell_blocks(page)])
def ran(request, tmp_path_factory) -> Ran:
    base = tmp_path_factory.mktemp("page")
    folder, programs, calls = base / "repository", base / "programs", base / "calls"
    copy_of_the_repository(folder)
    calls.touch()
    programs.mkdir()
    classifier = folder / "target/release/moth-classifier"
    classifier.parent.mkdir(parents=True)
    settings = {"python": sys.executable, "calls": str(calls), "binary": BINARY, "nowhere": nowhere()}
    settings |= {"tests": str(ROOT / "tests"), "programs": str(programs)}
    stand_in = STAND_IN.format(classifier=str(classifier), **settings)
    files = {
        classifier: CLASSIFIER.format(**settings),
        programs / "curl": CURL.format(curl=shutil.which("curl"), refused=REFUSED, **settings),
        programs / "python-block": PYTHON_BLOCK.format(**settings),
    }
    files |= {programs / name: stand_in for name in PROGRAMS}
    for file, text in files.items():
        file.write_text(text)
        file.chmod(0o755)
    for name in REAL:
        (programs / name).symlink_to(shutil.which(name))
    try:
        done = subprocess.run(
            [shutil.which("bash"), "-c", script(request.param, base)],
            cwd=folder,
            env=os.environ | {"PATH": str(programs)},
            capture_output=True,
            text=True,
        )
    finally:
        page_servers.stop(programs)
    assert done.returncode == 0, f"{request.param}: {done.stderr}{done.stdout[-2000:]}"
    return Ran(request.param, folder, [json.loads(line) for line in calls.read_text().splitlines()])


def test_the_aws_cli_parses_every_command(ran):
    for call in ran.calls:
        if call[0] != "aws":
            continue
        # The endpoints of `local --serve`, which a developer may have running.
        arguments = [re.sub(r"^http://127\.0\.0\.1:900\d$", "http://127.0.0.1:9", word) for word in call[1:]]
        done = subprocess.run(["aws", *arguments], cwd=ran.folder, env=nowhere(), capture_output=True, text=True)
        if call[1:3] == ["s3", "presign"]:
            assert "Signature=" in done.stdout
        else:
            assert done.returncode and re.search("Could not connect|Connection refused", done.stderr), (
                f"{ran.page}: {shlex.join(call)}: {done.stderr or done.stdout}"
            )


def test_every_command_is_accounted_for(ran):
    # Each command in the text was reached.
    text = "".join(shell_blocks(ran.page))
    for program, written in (
        ("aws", r"(?:^|\(|&& )aws "),
        ("curl", r"(?:^|\()curl "),
        ("moth-classifier", r"\btarget/release/moth-classifier "),
    ):
        called = sum(call[0] == program for call in ran.calls)
        assert called >= len(re.findall(written, text, re.MULTILINE)), program
    assert ran.calls
    for call in ran.calls:
        account_for(call)


def account_for(call: list[str]) -> None:
    """Fails unless `call` was run or parsed, or NOT_RUN has it and what it names exists."""
    program, *arguments = call
    if program in ("aws", "moth-classifier") or (call[:2] == ["cargo", "run"] and "--" in call):
        return
    if program == "curl" and any(argument.startswith("http://127.0.0.1:") for argument in arguments):
        return
    line = shlex.join(call)
    assert any(line.startswith(words) for words in NOT_RUN), f"{line}: run it in a test, or list it in NOT_RUN"
    check: dict[str, Callable[[list[str]], None]] = {
        "cargo": check_cargo,
        "pip": check_pip,
        "python": check_python,
        "python3": check_python,
    }
    check.get(program, lambda _: None)(arguments)


def check_cargo(arguments: list[str]) -> None:
    """A command of the gate, or one whose targets exist."""
    if f"cargo {shlex.join(arguments)}" in (ROOT / ".ci/run").read_text().splitlines():
        return
    command, *options = arguments
    if command == "fuzz":
        target = options[options.index("--") - 1]
        assert f'name = "{target}"' in (ROOT / "tests/fuzz/Cargo.toml").read_text(), target
        return
    assert command in ("bench", "build", "doc", "test"), shlex.join(arguments)
    # Without a package, cargo takes the default members of the workspace.
    roots = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["default-members"]
    if "--package" in options:
        roots = [{"moth-engine": "src/engine"}[options[options.index("--package") + 1]]]
    folders = {"--test": "tests", "--bench": "benches"}
    options = iter(options)
    for option in options:
        if option == "--":
            break
        if option in folders:
            name = next(options)
            places = [
                ROOT / root / folders[option] / file for root in roots for file in (f"{name}.rs", f"{name}/main.rs")
            ]
            assert any(place.is_file() for place in places), f"{shlex.join(arguments)}: no target {name}"
        elif option == "--package":
            next(options)
        elif option.startswith("-"):
            assert option in ("--lib", "--locked", "--no-deps", "--release"), shlex.join(arguments)
        else:
            files = (file for root in roots for file in (ROOT / root / "tests").rglob("*.rs"))
            tests = "".join(file.read_text() for file in files)
            assert command == "test" and f"fn {option}" in tests, f"{shlex.join(arguments)}: no test {option}"


def check_pip(arguments: list[str]) -> None:
    files = [file for option, file in pairwise(arguments) if option == "-r"]
    assert files
    for file in files:
        assert (ROOT / file).is_file(), file


def check_python(arguments: list[str]) -> None:
    """The script exists and has the options. For a module, the paths that it is given exist."""
    if arguments[:2] == ["-m", "venv"]:
        return
    if arguments[:2] == ["-m", "pytest"]:
        assert (ROOT / arguments[-1]).exists(), arguments[-1]
        return
    script, *options = arguments
    names = {
        argument.value
        for call in ast.walk(ast.parse((ROOT / script).read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    assert {option for option in options if option.startswith("--")} <= names, shlex.join(arguments)


def test_commands_in_the_text_are_accounted_for():
    """Commands in a sentence or a table, as against a block."""
    found = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
        found += re.findall(r"`((?:cargo (?:build|bench|test|fuzz) |python3? )[^`]+)`", text)
    assert len(found) > 3
    for line in found:
        account_for(shlex.split(line))


def test_no_entry_of_the_list_is_left_over():
    lines = [line for page in PAGES for block in shell_blocks(page) for line in block.splitlines()]
    for words in NOT_RUN:
        assert any(re.search(rf"(^|[ (]){re.escape(words)}", line) for line in lines), words


@pytest.mark.parametrize(
    "line",
    [
        "curl https://example.org",
        "cargo publish",
        "cargo test --locked --test absent",
        "cargo fuzz run --fuzz-dir tests/fuzz absent -- -max_total_time=300",
        "pip install -r absent.txt",
        "python model/absent.py",
        "python model/export.py path --absent",
        "python -m pytest tests/absent_test.py",
    ],
)
def test_the_account_refuses(line):
    with pytest.raises((AssertionError, FileNotFoundError)):
        account_for(shlex.split(line))


def test_the_blocks_for_local_serve_work(tmp_path, monkeypatch):
    """The README's block for the HTTP API and the AWS CLI, against a real `local --serve`."""
    (block,) = [block for block in shell_blocks("README.md") if "lambda invoke" in block]
    monkeypatch.setenv("CLASSIFIER_BIN", BINARY)
    (tmp_path / "test_images").symlink_to(ROOT / "test_images")
    with serve(MODEL_DIR="tests/color_model") as served:
        for service, port in page_servers.LOCAL.items():
            block = block.replace(f"http://127.0.0.1:{port}", served.endpoints[service])
        done = subprocess.run(["bash", "-euc", block], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (outcome,) = json.loads((tmp_path / "answer.json").read_text())["outcomes"]
    assert (outcome["key"], outcome["outcome"]) == ("faw.jpg", "duplicate")
    assert '"ClassPredictionID"' in done.stdout


def test_parameters_are_those_of_the_templates():
    page = (ROOT / "docs/deploy.md").read_text()
    template = (ROOT / "template.yaml").read_text().split("\nMappings:")[0]
    parameters = dict(re.findall(r"^  (\w+):\n    Type: \w+\n(?:    Default: (.*)\n)?", template, re.MULTILINE))
    table = re.search(r"\| parameter \| default \|.*?\n\n", page, re.DOTALL)[0]
    documented = {}
    for names, defaults in re.findall(r"^\| ([A-Z][\w, ]+) \| ([^|]*) \|", table, re.MULTILINE):
        documented |= dict(zip(names.split(", "), defaults.split(", "), strict=True))
    written = {name: {"-1": "none", '""': "none"}.get(value, value.strip('"')) for name, value in parameters.items()}
    assert documented == {name: value for name, value in written.items() if name not in ("ImageUri", "Release")}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / path if path else ROOT / page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
