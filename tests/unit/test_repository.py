"""The repository as a whole: what every file, package and installation must satisfy."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

PACKAGES = (
    "audit",
    "blindproof",
    "client_sdk",
    "fhe_layers",
    "kernels",
    "protocol",
    "server",
    "wire",
    "witness",
    "zk_layers",
)

REQUIRED_FILES = (
    ".ci/run",
    ".editorconfig",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "docs/architecture.md",
    "docs/protocol.md",
    "kernels/Cargo.lock",
    "pyproject.toml",
    "requirements.lock",
)

# Written in pieces, so that this file passes its own test.
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(head + tail)
        for head, tail in (
            ("py", "pi.org"),
            ("python", "hosted.org"),
            ("crates", ".io"),
            ("docker", ".io"),
            ("ghcr", ".io"),
            ("quay", ".io"),
            ("npmjs", ".org"),
            ("proxy.golang", ".org"),
        )
    )
    + r"|https?://[^\s/]*(?:art"
    + r"ifactory|ne"
    + r"xus|mir"
    + r"ror)",
    re.IGNORECASE,
)
MACHINE_PATHS = re.compile(
    r"(?<![\w.<>{}$-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me/\w+|Us" + r"ers/\w+)/|\.py" + r"env/"
)

# Cargo identifies the public index by this address in every lock file, whatever the mirror.
CARGO_INDEX = "registry+https://github.com/rust-lang/" + "crates" + ".io-index"

HEAVY_MODULES = frozenset({"matplotlib", "pandas", "sklearn", "tenseal", "torch"})
IMPORT_SECONDS = 1.0


def _repository_files(root: Path) -> list[str]:
    """Everything git tracks or would track, so that a new file is checked before its commit."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted(name for name in set(listing.split("\0")) if name and (root / name).is_file())


def _lines_matching(root: Path, pattern: re.Pattern[str]) -> list[str]:
    found = []
    for name in _repository_files(root):
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        if Path(name).name == "Cargo.lock":
            text = text.replace(CARGO_INDEX, "")
        found += [
            f"{name}:{number}: {line.strip()[:120]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    return found


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_required_file_is_there_and_not_empty(repository_root: Path, name: str) -> None:
    path = repository_root / name
    assert path.is_file()
    assert path.stat().st_size > 0


def test_licence_is_the_complete_apache_text(repository_root: Path) -> None:
    text = (repository_root / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "9. Accepting Warranty or Additional Liability" in text


@pytest.mark.parametrize(
    "line",
    [
        "index-url = https://py" + "pi.org/simple",
        "https://static.crates" + ".io/crates",
        "FROM docker" + ".io/library/python",
        "https://art" + "ifactory.example/simple",
    ],
)
def test_host_pattern_recognises_registries(line: str) -> None:
    assert REGISTRY_HOSTS.search(line)


@pytest.mark.parametrize(
    "line",
    ["cd /wo" + "rk/project", "'/ro" + "ot/.cache'", "/ho" + "me/alice/x", "~/.py" + "env/bin"],
)
def test_path_pattern_recognises_machines(line: str) -> None:
    assert MACHINE_PATHS.search(line)


def test_no_file_names_a_package_registry(repository_root: Path) -> None:
    assert _lines_matching(repository_root, REGISTRY_HOSTS) == []


def test_no_file_names_a_path_of_some_machine(repository_root: Path) -> None:
    assert _lines_matching(repository_root, MACHINE_PATHS) == []


def test_no_build_product_or_key_is_in_the_repository(repository_root: Path) -> None:
    unwanted = {".key", ".o", ".pem", ".pyc", ".pyd", ".rlib", ".so", ".whl"}
    assert [
        name for name in _repository_files(repository_root) if Path(name).suffix in unwanted
    ] == []


def test_links_between_documents_lead_somewhere(repository_root: Path) -> None:
    link = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)")
    broken = []
    for name in _repository_files(repository_root):
        if not name.endswith(".md"):
            continue
        document = repository_root / name
        broken += [
            f"{name} -> {target}"
            for target in link.findall(document.read_text(encoding="utf-8"))
            if "://" not in target and not (document.parent / target).exists()
        ]
    assert broken == []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_typed_and_documented(repository_root: Path, package: str) -> None:
    assert (repository_root / package / "py.typed").is_file()
    assert (repository_root / package / "__init__.py").read_text(encoding="utf-8").startswith('"""')


def test_packages_agree_with_the_build_configuration(repository_root: Path) -> None:
    tool = tomllib.loads((repository_root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    expected = sorted(PACKAGES)
    assert tool["maturin"]["python-packages"] == expected
    assert tool["mypy"]["files"] == expected
    assert tool["importlinter"]["root_packages"] == expected


def test_every_direct_dependency_is_pinned(repository_root: Path) -> None:
    configuration = tomllib.loads((repository_root / "pyproject.toml").read_text(encoding="utf-8"))
    project = configuration["project"]
    wanted = list(chain(project["dependencies"], *project["optional-dependencies"].values()))
    names = {re.split(r"[\[<>=~! ]", wish, maxsplit=1)[0] for wish in wanted} - {"blindproof"}

    lock = (repository_root / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lock if line and not line.startswith("#")]

    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin)] == []
    pinned = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    assert names - pinned == set()


def _import_in_fresh_interpreter(root: Path, package: str) -> tuple[float, set[str]]:
    """Processor seconds which the import takes, and the top-level modules loaded after it."""
    program = (
        "import sys, time\n"
        "start = time.process_time()\n"
        f"import {package}\n"
        "print(time.process_time() - start)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    seconds, modules = subprocess.run(
        [sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return float(seconds), set(modules.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_loads_no_heavy_module(repository_root: Path, package: str) -> None:
    _, modules = _import_in_fresh_interpreter(repository_root, package)
    assert modules & HEAVY_MODULES == set()


def test_importing_the_client_is_quick(repository_root: Path) -> None:
    # The best of three: a busy machine may delay one run, a slow import delays them all.
    best = min(_import_in_fresh_interpreter(repository_root, "client_sdk")[0] for _ in range(3))
    assert best < IMPORT_SECONDS


def test_importing_the_server_loads_no_client_code(repository_root: Path) -> None:
    _, modules = _import_in_fresh_interpreter(repository_root, "server")
    assert "server" in modules
    assert "client_sdk" not in modules
