"""The image: what its Dockerfile says, and its steps run here, without an engine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.requirements import EXTRA, PINNED, PINNED_BUILD, canonical, needed
from deploy.sbom import python_needs
from tests.deploy.manifests import DEPLOY, ROOT

PIN = re.compile(r"([a-z0-9-]+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})+)\n")
EPOCH = 1_700_000_000


def instructions() -> Iterator[tuple[str, str]]:
    """Instructions of the Dockerfile and their arguments, each on one line."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, arguments = line.partition(" ")
            yield name, " ".join(arguments.split())


def arguments(name: str) -> list[str]:
    return [given for instruction, given in instructions() if instruction == name]


def pins(path: Path) -> dict[str, str]:
    """Versions of a file of hashes, every line of which must be one or a comment."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    assert PIN.sub("", text) == ""
    return {name: version for name, version, _ in PIN.findall(text)}


def test_the_image_runs_as_nobody_in_particular():
    assert arguments("USER") == ["10001:10001"]
    names = [name for name, _ in instructions()]
    assert "USER" in names[names.index("COPY", len(names) - names[::-1].index("FROM")) :]
    assert len(arguments("FROM")) == 2
    assert "HEALTHCHECK" in names
    (start,) = arguments("ENTRYPOINT")
    assert start == '["python", "-P", "-m", "server"]'


def test_the_image_asks_itself_where_it_answers():
    settings = tomllib.loads((DEPLOY / "image.toml").read_text())
    (check,) = arguments("HEALTHCHECK")
    assert f"http://{settings['metrics']}/readyz" in check
    (copied,) = (given for given in arguments("COPY") if "image.toml" in given)
    assert any(f"BLINDPROOF_CONFIG={copied.split()[1]}" in given for given in arguments("ENV"))


def test_nothing_is_installed_without_its_hash():
    for step in arguments("RUN"):
        for command in step.split("&&"):
            if "pip install" in command:
                assert "--require-hashes" in command
    script = (DEPLOY / "install.sh").read_text()
    for line in script.splitlines():
        if line.startswith("pip install"):
            assert "--require-hashes" in line or "--no-index" in line


def test_secrets_and_history_are_not_sent_to_the_builder():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", "**/secrets", "**/*.key", "**/.env", "state"} <= set(ignored)


def test_pins_are_those_that_are_tested():
    lock = dict(
        line.split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if line and not line.startswith("#")
    )
    locked = {canonical(name): version for name, version in lock.items()}
    image = pins(PINNED)
    assert image.items() <= locked.items()
    assert pins(PINNED_BUILD) == {"maturin": locked["maturin"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*needed(project, None), *needed(project, EXTRA)]
    direct = python_needs(wanted, (), set(locked))
    # All of them, and nothing that only tests or other extras need.
    assert len(direct) == len({canonical(re.split(r"[\[<>=~! ]", one)[0]) for one in wanted})
    assert direct <= set(image)
    assert not {"pytest", "ruff", "ray", "torch"} & set(image)


def test_an_extra_is_read_with_those_it_names():
    project = {
        "name": "p",
        "dependencies": ["a"],
        "optional-dependencies": {"all": ["p[b, c]", "d"], "b": ["e>=1"], "c": ["p[b]", "f"]},
    }
    assert list(needed(project, None)) == ["a"]
    assert list(needed(project, "all")) == ["e>=1", "e>=1", "f", "d"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the image's own step, with the flags of the kernels that are compiled already."""
    directory = tmp_path_factory.mktemp("wheels")
    return built(directory)


def built(directory: Path) -> Path:
    variables = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RUSTFLAGS": "",
        "SOURCE_DATE_EPOCH": str(EPOCH),
    }
    subprocess.run([DEPLOY / "wheel.sh", directory], check=True, env=variables)
    (found,) = directory.glob("*.whl")
    return found


def test_the_image_builds_with_these_scripts():
    steps = "\n".join(arguments("RUN"))
    assert "deploy/wheel.sh /wheels" in steps
    assert "deploy/install.sh /opt/blindproof /wheels/blindproof-*.whl" in steps


def test_a_wheel_built_again_has_the_same_bytes(wheel: Path, tmp_path: Path):
    again = built(tmp_path)
    assert again.name == wheel.name
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, again)]
    assert digests[0] == digests[1]


def test_a_wheel_knows_neither_its_builder_nor_the_hour(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        times = {entry.date_time for entry in archive.infolist()}
        described = [archive.read(name) for name in names if ".dist-info/" in name]
    moment = datetime.fromtimestamp(EPOCH, tz=UTC)
    assert times == {moment.timetuple()[:6]}
    assert str(ROOT).encode() not in b"".join(described)
    assert {"server/main.py", "witness/main.py", "blindproof/cli/__init__.py"} <= set(names)
    assert not any(name.startswith(("tests/", "benchmarks/", "deploy/")) for name in names)


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="installs everything: in CI")
@pytest.mark.timeout(600)
def test_the_steps_of_the_image_install_a_server(wheel: Path, tmp_path: Path):
    """The longest test of this folder: it installs all that the image has."""
    prefix = tmp_path / "opt"
    # Compiling what is thrown away would take most of the time.
    variables = {**os.environ, "PYTHON": sys.executable, "PIP_NO_COMPILE": "1"}
    subprocess.run([DEPLOY / "install.sh", prefix, wheel], check=True, env=variables)
    again = subprocess.run(
        [DEPLOY / "install.sh", prefix, wheel], check=False, capture_output=True, text=True
    )
    assert again.returncode == 1
    assert "is there already" in again.stderr
    bare = {name: text for name, text in os.environ.items() if "BLINDPROOF" not in name}
    bare.pop("PYTHONPATH", None)
    started = subprocess.run(
        [prefix / "bin" / "python", "-P", "-m", "server"],
        env=bare,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (started.returncode, started.stderr.count("\n")) == (2, 1)
    assert "BLINDPROOF_TLS_CERTIFICATE" in started.stderr
    for command in ("serve", "witness"):
        helped = subprocess.run(
            [prefix / "bin" / "blindproof", command, "--help"],
            env=bare,
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        assert helped.stdout
    installed = {
        path.name.partition("-")[0] for path in prefix.glob("lib/*/site-packages/*.dist-info")
    }
    assert {canonical(name) for name in installed} == {*pins(PINNED), "blindproof"}
    shutil.rmtree(prefix)
