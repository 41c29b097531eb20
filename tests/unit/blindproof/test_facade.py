from __future__ import annotations

import subprocess
import sys

import pytest

import blindproof


def test_every_public_name_is_there():
    for name in blindproof.__all__:
        assert getattr(blindproof, name) is not None
    assert dir(blindproof) == sorted(blindproof.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        blindproof.nothing  # noqa: B018


def test_importing_it_loads_nothing_heavy(repository_root):
    code = (
        "import sys, blindproof; "
        "print({'numpy', 'grpc', 'tenseal', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=repository_root, capture_output=True, check=True
    )
    assert shown.stdout.strip() == b"set()"
