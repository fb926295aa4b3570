"""Builds and runs the container image without a Docker engine: with buildah and runc, as root.

The registries of the base images may be unreachable, so the build uses stand-ins for them. Both are Debian 11, whose
glibc 2.31 is older than the 2.34 of the real base image. One has Lambda's Runtime Interface Emulator from the package
aws-sam-cli. The other uses the Rust of this machine.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Cache for the base images and for the build's target folder.
CACHE = TARGET / "image"
DEBIAN = "bullseye"
# Debian moves old releases from the first to the second.
MIRRORS = ("http://deb.debian.org/debian", "http://archive.debian.org/debian")
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
TOOLS = ("buildah", "runc", "debootstrap", "objdump")
# The same as the entry point of public.ecr.aws/lambda/provided.
ENTRY_POINT = """#!/bin/sh
if [ $# -ne 1 ]; then
  echo "entrypoint requires the handler name to be the first argument" 1>&2
  exit 142
fi
export _HANDLER="$1"
if [ -z "${AWS_LAMBDA_RUNTIME_API}" ]; then
  exec /usr/local/bin/aws-lambda-rie /var/runtime/bootstrap
else
  exec /var/runtime/bootstrap
fi
"""


def missing() -> str | None:
    """The reason why this machine cannot build the image, or None."""
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        return "Docker is available, and builds the image from the real base images"
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    if absent:
        return f"{', '.join(absent)} not installed"
    return None if os.geteuid() == 0 else "not root"


def run(*command, **options) -> str:
    """Runs a command and returns its standard output. Standard error goes to the terminal."""
    command = [str(word) for word in command]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options).stdout.strip()


def buildah(*arguments, **options) -> str:
    store = ["--storage-driver", "vfs", "--root", CACHE / "store", "--runroot", CACHE / "run"]
    return run("buildah", *store, *arguments, **options)


def stand_ins() -> dict[str, str]:
    """The stand-in image for each build argument that names a base image."""
    debian = CACHE / "debian.tar"
    if not debian.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            for mirror in MIRRORS:
                command = [
                    "debootstrap",
                    "--variant=minbase",
                    "--include=gcc,libc6-dev,ca-certificates",
                    "--force-check-gpg",
                    f"--keyring={KEYS}",
                    DEBIAN,
                    folder,
                    mirror,
                ]
                if subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0:
                    break
            else:
                raise AssertionError(f"debootstrap could not get Debian {DEBIAN} from any mirror: {', '.join(MIRRORS)}")
            run(
                "tar",
                "--directory",
                folder,
                "--exclude=./var/cache/apt/*",
                "--exclude=./dev/*",
                "--create",
                "--file",
                debian.with_suffix(".part"),
                ".",
            )
        debian.with_suffix(".part").rename(debian)
    return {"RUST": stand_in("rust", debian), "BASE": stand_in("base", debian)}


def stand_in(name: str, debian: Path) -> str:
    import samcli

    emulator = Path(samcli.__file__).parent / "local/rapid/aws-lambda-rie-x86_64"
    recipe = hashlib.sha256(Path(__file__).read_bytes() + emulator.read_bytes()).hexdigest()[:12]
    image = f"localhost/stand-in/{name}:{recipe}"
    if image in buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines():
        return image
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, debian, "/")
    if name == "rust":
        # `build` mounts this machine's Rust at these paths.
        path = "/usr/local/toolchain/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        buildah("config", "--env", f"PATH={path}", "--env", "CARGO_HOME=/usr/local/cargo", container)
    else:
        buildah("copy", "--quiet", "--chmod", "0755", container, emulator, "/usr/local/bin/aws-lambda-rie")
        with tempfile.NamedTemporaryFile("w") as script:
            script.write(ENTRY_POINT)
            script.flush()
            buildah("copy", "--quiet", "--chmod", "0755", container, script.name, "/lambda-entrypoint.sh")
        buildah("config", "--workingdir", "/var/task", "--entrypoint", '["/lambda-entrypoint.sh"]', container)
    buildah("commit", "--quiet", "--rm", container, image)
    return image


def build(revision: str) -> "Image":
    """Builds the Dockerfile and shows its output."""
    cargo_home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    target = CACHE / "target"
    target.mkdir(parents=True, exist_ok=True)
    volumes = {
        Path(run("rustc", "--print", "sysroot")): "/usr/local/toolchain:ro",
        cargo_home / "registry": "/usr/local/cargo/registry",
        target: "/build/target",
        Path("/etc/ssl/certs"): "/etc/ssl/certs:ro",
    }
    options = [f"--volume={host}:{inside}" for host, inside in volumes.items()]
    options += [f"--build-arg={name}={image}" for name, image in (stand_ins() | {"REVISION": revision}).items()]
    tag = "localhost/moth-classifier"
    before = buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={tag}")
    buildah("bud", "--isolation", "chroot", *options, "--tag", tag, ROOT, stderr=sys.stderr)
    # Remove the image that had the tag before, because the vfs driver keeps a whole copy of each.
    if before and before != buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={tag}"):
        buildah("rmi", before)
    return Image(tag)


class Image:
    """A built image, unpacked."""

    def __init__(self, tag: str):
        self.config = json.loads(buildah("inspect", "--type", "image", tag))["OCIv1"]["config"]
        self.container = buildah("from", tag)
        self.root = Path(buildah("mount", self.container))
        self.runs: list[str] = []

    def command(
        self,
        folder: Path,
        name: str,
        environment: dict[str, str],
        arguments: list[str] | None = None,
        entry_point: list[str] | None = None,
        mounts: dict[Path, str] | None = None,
    ) -> list[str]:
        """The command that runs the image: read-only except /tmp, as an unknown user, without capabilities, and in the
        host's network."""
        folder.mkdir()
        run("runc", "spec", "--bundle", folder)
        file = folder / "config.json"
        spec = json.loads(file.read_text())
        entry_point = self.config["Entrypoint"] if entry_point is None else entry_point
        given = dict(variable.split("=", 1) for variable in self.config.get("Env", []))
        spec["root"] = {"path": str(self.root), "readonly": True}
        spec["process"] |= {
            "terminal": False,
            "user": {"uid": 48_151, "gid": 62_342},
            "args": entry_point + (self.config.get("Cmd", []) if arguments is None else arguments),
            "env": [f"{name}={value}" for name, value in (given | environment).items()],
            "cwd": self.config["WorkingDir"],
            "capabilities": {kind: [] for kind in spec["process"]["capabilities"]},
        }
        spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]})
        spec["mounts"] += [
            {"destination": inside, "type": "bind", "source": str(host), "options": ["bind", "ro"]}
            for host, inside in (mounts or {}).items()
        ]
        spec["linux"]["namespaces"] = [space for space in spec["linux"]["namespaces"] if space["type"] != "network"]
        file.write_text(json.dumps(spec))
        self.runs.append(name)
        return ["runc", "--root", str(CACHE / "runc"), "run", "--bundle", str(folder), name]

    def size(self) -> int:
        """Bytes of all unpacked files, without those of the base image."""
        return sum(
            path.stat().st_size
            for folder in ("var/task", "var/runtime")
            for path in (self.root / folder).rglob("*")
            if path.is_file()
        )

    def remove(self) -> None:
        for name in self.runs:
            subprocess.run(["runc", "--root", CACHE / "runc", "delete", "--force", name], capture_output=True)
        buildah("umount", self.container)
        buildah("rm", self.container)


def needed_glibc(binary: Path) -> tuple[int, ...]:
    """The newest version of glibc that `binary` needs."""
    versions = re.findall(r"GLIBC_(\d+)\.(\d+)", run("objdump", "--dynamic-syms", binary))
    return max((int(major), int(minor)) for major, minor in versions)
