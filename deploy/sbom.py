"""Write the image's bill of materials, CycloneDX 1.6 JSON: ``python -m deploy.sbom FILE``.

Everything in it is read from what fixes the image: Python distributions and the hashes of their
files from deploy/requirements.txt, crates of the kernels from Cargo.lock.  Licences and who needs
whom are those of the environment that runs this, in which the same versions are installed.
TenSEAL's wheel has SEAL linked into it, which no index names: it stands below TenSEAL.

The same commit gives the same bytes, with SOURCE_DATE_EPOCH as time.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tomllib
import uuid
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.requirements import EXTRA, PINNED, ROOT, needed

CARGO_LOCK = ROOT / "kernels" / "Cargo.lock"
KERNELS = "blindproof-kernels"
LINKED = {"tenseal": (("Microsoft SEAL", "seal", "4.3", "MIT"),)}
"""Libraries inside a wheel: name, package, version as its streams state it, licence."""
_PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?P<hashes>(?: \\\n +--hash=\S+)+)")


def python_components(text: str) -> Iterator[Component]:
    """Of a file of requirements with hashes."""
    for pin in _PIN.finditer(text):
        name, version = pin["name"], pin["version"]
        found = distribution(name)
        if found.version != version:
            raise SystemExit(f"{name} {found.version} is installed here, the image has {version}")
        component = Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"python:{name}",
            purl=PackageURL("pypi", name=name, version=version),
            hashes=[
                HashType(alg=HashAlgorithm.SHA_256, content=digest)
                for digest in re.findall(r"sha256:([0-9a-f]{64})", pin["hashes"])
            ],
            licenses=[_licence(found)],
        )
        for title, package, linked, licence in LINKED.get(name, ()):
            component.components.add(
                Component(
                    name=title,
                    version=linked,
                    type=ComponentType.LIBRARY,
                    bom_ref=f"linked:{package}",
                    purl=PackageURL("generic", name=package, version=linked),
                    licenses=[LicenseExpression(licence)],
                )
            )
        yield component


def crates(lock: dict[str, Any]) -> Iterator[Component]:
    """Of a lock file of Cargo."""
    for package in lock["package"]:
        checksum = package.get("checksum")  # none: ours
        yield Component(
            name=package["name"],
            version=package["version"],
            type=ComponentType.LIBRARY,
            bom_ref=_crate(package),
            purl=PackageURL("cargo", name=package["name"], version=package["version"]),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else [],
        )


def python_needs(
    requirements: Iterable[str], extras: Collection[str], present: set[str]
) -> set[str]:
    """Which of the distributions that are present some requirements name, on this machine."""
    found: set[str] = set()
    for text in requirements:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in {"", *extras}
        )
        if wanted and name in present:
            found.add(name)
    return found


def crate_needs(lock: dict[str, Any]) -> Iterator[Dependency]:
    """Which crate needs which: "name", or "name version" where several versions are there."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for package in lock["package"]:
        by_name.setdefault(package["name"], []).append(package)
    for package in lock["package"]:
        needed = []
        for text in package.get("dependencies", ()):
            name, _, version = text.partition(" ")
            needed += [one for one in by_name[name] if version in {"", one["version"]}]
        yield Dependency(
            _reference(_crate(package)), [Dependency(_reference(_crate(one))) for one in needed]
        )


def bill() -> Bom:
    """The whole bill."""
    requirements, lock_text = PINNED.read_text("utf-8"), CARGO_LOCK.read_text("utf-8")
    lock = tomllib.loads(lock_text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bom = Bom()
    digest = hashlib.sha256((requirements + lock_text).encode()).hexdigest()
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, digest)
    bom.metadata.timestamp = datetime.fromtimestamp(
        int(os.environ.get("SOURCE_DATE_EPOCH", "315532800")), tz=UTC
    )
    image = Component(
        name="blindproof",
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref="blindproof",
        licenses=[LicenseExpression("Apache-2.0")],
    )
    bom.metadata.component = image
    distributions = list(python_components(requirements))
    bom.components.update(distributions)
    bom.components.update(crates(lock))
    present = {component.name for component in distributions}
    direct = python_needs([*needed(project, None), *needed(project, EXTRA)], (), present)
    kernels = next(crate for crate in lock["package"] if crate["name"] == KERNELS)
    _depends(bom, "blindproof", {*(f"python:{name}" for name in direct), _crate(kernels)})
    for name in present:
        found = distribution(name)
        below = python_needs(
            found.requires or (), found.metadata.get_all("Provides-Extra") or (), present
        )
        linked = {f"linked:{package}" for _, package, _, _ in LINKED.get(name, ())}
        _depends(
            bom, f"python:{name}", {f"python:{one}" for one in below} - {f"python:{name}"} | linked
        )
    bom.dependencies.update(crate_needs(lock))
    return bom


def _depends(bom: Bom, reference: str, needed: set[str]) -> None:
    bom.dependencies.add(
        Dependency(_reference(reference), [Dependency(_reference(one)) for one in needed])
    )


def _reference(text: str) -> Any:  # noqa: ANN401 -- the library's type has no public name
    return Component(name=text, bom_ref=text).bom_ref


def _crate(package: dict[str, Any]) -> str:
    return f"crate:{package['name']}@{package['version']}"


def _licence(found: Distribution) -> DisjunctiveLicense | LicenseExpression:
    def stated(field: str) -> list[str]:
        return found.metadata.get_all(field) or []

    for expression in stated("License-Expression"):
        return LicenseExpression(expression)
    names = [
        line.rpartition(" :: ")[2]
        for line in stated("Classifier")
        if line.startswith("License :: ")
    ] or [line.partition("\n")[0] for line in stated("License")]
    return DisjunctiveLicense(name=" and ".join(names) or "not stated")


def main() -> None:
    """Write it to the file that is named."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m deploy.sbom FILE")
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(JsonV1Dot6(bill()).output_as_string(indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
