"""Write deploy/requirements.txt: what the image installs, each file by its hash.

The versions are those of requirements.lock, the packages what `blindproof[service]` needs on Linux;
pip resolves both, for each processor the image is built for, and reports the hashes.  Nothing is
installed.  Run by `make requirements`; needs a package index.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PINNED = ROOT / "deploy" / "requirements.txt"
PINNED_BUILD = ROOT / "deploy" / "requirements-build.txt"

EXTRA = "service"
PROCESSORS = ("x86_64", "aarch64")
PYTHON = "3.11"
GLIBC = ("2014", "_2_26", "_2_27", "_2_28", "_2_31", "_2_34")
"""Tags of wheels that run on Debian 12, whose C library is 2.36."""

HEADER = """\
# {what}
# Written by `make requirements` from pyproject.toml and requirements.lock. Each line allows exactly
# the files whose hashes it has: wheels for Python {python} on Linux, {processors}.
"""


def needed(project: Mapping[str, Any], extra: str | None) -> Iterator[str]:
    """Requirements of the project, or of one of its extras and of the extras which that names."""
    if extra is None:
        yield from project["dependencies"]
        return
    for requirement in project["optional-dependencies"][extra]:
        own = re.fullmatch(rf"{project['name']}\[(?P<extras>[^]]+)\]", requirement)
        if own is None:
            yield requirement
        else:
            for other in own["extras"].split(","):
                yield from needed(project, other.strip())


def hashes(requirements: Sequence[str], processor: str) -> dict[str, str]:
    """`name==version` of everything that is needed on a processor, with the hash of its wheel.

    Raises:
        subprocess.CalledProcessError: pip finds no such set of wheels, and has said why.
    """
    platforms = [f"--platform=manylinux{glibc}_{processor}" for glibc in GLIBC]
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        subprocess.run(  # noqa: S603 -- this interpreter's pip, and our own requirements
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"),
                *("--ignore-installed", "--only-binary=:all:", f"--python-version={PYTHON}"),
                *platforms,
                *(f"--target={scratch}/never", f"--report={report}", f"--constraint={LOCK}"),
                *requirements,
            ],
            check=True,
        )
        installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {
        f"{canonical(one['metadata']['name'])}=={one['metadata']['version']}": one["download_info"][
            "archive_info"
        ]["hashes"]["sha256"]
        for one in installed
    }


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(what: str, requirements: Sequence[str]) -> str:
    """The text of a file of hashes."""
    allowed: dict[str, set[str]] = defaultdict(set)
    for processor in PROCESSORS:
        for pin, digest in hashes(requirements, processor).items():
            allowed[pin].add(digest)
    lines = [
        " \\\n    ".join((pin, *(f"--hash=sha256:{digest}" for digest in sorted(digests))))
        for pin, digests in sorted(allowed.items())
    ]
    header = HEADER.format(what=what, python=PYTHON, processors=" and ".join(PROCESSORS))
    return header + "\n".join(lines) + "\n"


def main() -> None:
    """Write both files."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = configuration["project"]
    wanted = [*needed(project, None), *needed(project, EXTRA)]
    PINNED.write_text(
        pinned(f"What the image installs beside blindproof itself: the extra `{EXTRA}`.", wanted),
        encoding="utf-8",
    )
    PINNED_BUILD.write_text(
        pinned("What builds the wheel.", configuration["build-system"]["requires"]),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
