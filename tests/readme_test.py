"""The commands for AWS in README and docs, as far as they go without AWS: bash runs them all, and the AWS CLI takes
each as it was called, until it looks for AWS. And every link leads somewhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BINARY = os.environ.get("CLASSIFIER_BIN", str(ROOT / "target/debug/moth-classifier"))


def nowhere() -> dict[str, str]:
    """The environment with an AWS that does not answer."""
    return os.environ | {
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        # Nothing listens there.
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
    }


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> list[list[str]]:
    """How the commands call `aws`."""
    folder = tmp_path_factory.mktemp("readme")
    noted = folder / "calls"
    stubs = {
        "aws": f"""#!{sys.executable}
import json, sys
with open({str(noted)!r}, "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
print("111122223333")
""",
        "git": "#!/bin/sh\necho 0123abc\n",
        # What logs in gets a password.
        "docker": '#!/bin/sh\nif [ "$1" = login ]; then cat > /dev/null; fi\n',
        "python": '#!/bin/sh\n[ -f "$1" ]\n',
    }
    for name, text in stubs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    readme = (ROOT / "README.md").read_text()
    deploy = re.search(r"^## Deploy\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)[1]
    pages = [deploy] + [(ROOT / f"docs/{page}.md").read_text() for page in ("deploy", "operations")]
    script = "".join(re.findall(r"```sh\n(.*?)```", "".join(pages), re.DOTALL))
    # The files that the commands write go into the folder; those that they name are in the project.
    script = f"set -eu; cd {folder}; ln -s {ROOT}/* .\n{script}"
    # Built by hand before.
    redeliveries = re.findall(r"^target/release/moth-classifier (redeliver[^&\n]*)", script, re.MULTILINE)
    assert redeliveries
    for arguments in redeliveries:
        called = subprocess.run([BINARY, *arguments.split()], env=nowhere(), capture_output=True, text=True)
        assert called.returncode == 1 and "cannot read the outputs of the stack" in called.stderr, called.stderr
    script = script.replace("target/release/moth-classifier", "true")
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in noted.read_text().splitlines()]


def test_the_aws_cli_takes_every_command(calls, tmp_path):
    assert len(calls) > 20
    for entry in ROOT.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    environment = nowhere()
    for call in calls:
        done = subprocess.run(["aws", *call], cwd=tmp_path, env=environment, capture_output=True, text=True)
        if call[:2] == ["s3", "presign"]:
            assert "Signature=" in done.stdout
        else:
            assert done.returncode and re.search("Could not connect|Connection refused", done.stderr), (
                f"aws {' '.join(call)}: {done.stderr or done.stdout}"
            )


def test_parameters_are_those_of_the_templates():
    readme = (ROOT / "docs/deploy.md").read_text()
    template = (ROOT / "template.yaml").read_text().split("\nMappings:")[0]
    parameters = dict(re.findall(r"^  (\w+):\n    Type: \w+\n(?:    Default: (.*)\n)?", template, re.MULTILINE))
    table = re.search(r"\| parameter \| default \|.*?\n\n", readme, re.DOTALL)[0]
    documented = {}
    for names, defaults in re.findall(r"^\| ([A-Z][\w, ]+) \| ([^|]*) \|", table, re.MULTILINE):
        documented |= dict(zip(names.split(", "), defaults.split(", "), strict=True))
    written = {name: {"-1": "none", '""': "none"}.get(default, default) for name, default in parameters.items()}
    assert documented == {name: default for name, default in written.items() if name not in ("ImageUri", "Release")}


PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "tests/README.md",
    "benches/README.md",
    "model/README.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md")),
]


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
