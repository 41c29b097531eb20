"""The bill of materials: valid, whole, repeatable, and right about what no index names."""

from __future__ import annotations

import importlib
import json
import struct
import tomllib
from pathlib import Path

import pytest
import tenseal as ts
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy import sbom
from tests.deploy.manifests import ROOT


@pytest.fixture(scope="module")
def text() -> str:
    return JsonV1Dot6(sbom.bill()).output_as_string()


@pytest.fixture(scope="module")
def bill(text: str) -> dict:
    return json.loads(text)


def test_it_is_valid(text: str):
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"library"', '"book"', 1)) is not None


def test_it_is_the_same_again(text: str):
    assert JsonV1Dot6(sbom.bill()).output_as_string() == text


def test_everything_is_in_it_with_its_hash(bill: dict):
    parts = {component["bom-ref"]: component for component in bill["components"]}
    crates = tomllib.loads((ROOT / "kernels" / "Cargo.lock").read_text())["package"]
    for crate in crates:
        found = parts[f"crate:{crate['name']}@{crate['version']}"]
        hashes = [one["content"] for one in found.get("hashes", ())]
        assert hashes == ([crate["checksum"]] if "checksum" in crate else [])
    python = {reference for reference in parts if reference.startswith("python:")}
    assert len(python) + len(crates) == len(parts)
    assert {"python:grpcio", "python:psycopg-binary", "python:tenseal"} <= python
    assert all(parts[reference]["hashes"] and parts[reference]["licenses"] for reference in python)


def test_the_image_needs_each_of_its_parts(bill: dict):
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    reached, waiting = set(), ["blindproof"]
    while waiting:
        reference = waiting.pop()
        if reference not in reached:
            reached.add(reference)
            waiting += needs[reference]
    assert {component["bom-ref"] for component in bill["components"]} <= reached


def test_seal_has_the_version_that_its_streams_state(bill: dict, tmp_path: Path):
    """The wheel names no version; each of its streams begins with one."""
    importlib.import_module("tenseal.sealapi")  # without it a secret key cannot be saved
    context = ts.context(ts.SCHEME_TYPE.CKKS, 4096, coeff_mod_bit_sizes=[40, 40])
    context.secret_key().data.save(str(tmp_path / "stream"))
    magic, _, major, minor = struct.unpack_from("<HBBB", (tmp_path / "stream").read_bytes())
    assert magic == 0xA15E
    (wheel,) = (each for each in bill["components"] if each["name"] == "tenseal")
    (seal,) = wheel["components"]
    assert (seal["name"], seal["version"]) == ("Microsoft SEAL", f"{major}.{minor}")
