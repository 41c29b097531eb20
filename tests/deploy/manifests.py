"""The files of deploy/ as their readers see them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
INSTALLATIONS = ("single", "scaled")


@cache
def resources(installation: str) -> list[dict[str, Any]]:
    """Everything that applying an installation makes, its base first; not to be changed."""
    found = []
    directory = KUBERNETES / installation
    for name in yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"]:
        path = directory / name
        if path.is_dir():
            found += resources(path.resolve().name)
        else:
            found += list(yaml.safe_load_all(path.read_text()))
    return found


def one(installation: str, kind: str, name: str | None = None) -> dict[str, Any]:
    """The only resource of a kind, or of a kind and a name."""
    (found,) = (
        resource
        for resource in resources(installation)
        if resource["kind"] == kind and name in {None, resource["metadata"]["name"]}
    )
    return found


def workload(installation: str) -> dict[str, Any]:
    """What runs the server."""
    return one(installation, "StatefulSet" if installation == "single" else "Deployment")


def pod(installation: str) -> dict[str, Any]:
    """The server's pod."""
    return workload(installation)["spec"]["template"]


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())


def settings_files() -> dict[str, str]:
    """Every file of settings that deploy/ brings, by where it is."""
    found = {
        str(path.relative_to(DEPLOY)): path.read_text()
        for path in (DEPLOY / "image.toml", DEPLOY / "compose" / "blindproof.toml")
    }
    for installation in INSTALLATIONS:
        data = one(installation, "ConfigMap")["data"]
        found[f"kubernetes/{installation}"] = data["blindproof.toml"]
    return found
