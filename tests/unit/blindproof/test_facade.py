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


def network(**changes: object) -> blindproof.NetworkModel:
    """Written with the facade's names and plain lists."""
    described = {
        "name": "network",
        "version": "1",
        "purpose": "tests",
        "features": (blindproof.Feature("a", 0, 1, 0, 1), blindproof.Feature("b", 0, 1, 0, 1)),
        "network": blindproof.NetworkSpec(
            [2],
            [
                blindproof.DenseSpec([[0.5, -0.25], [0.1, 0.9]], [0.1, 0]),
                blindproof.PolynomialSpec([0, 0, 1]),
                blindproof.DenseSpec([[1, -1]], [0]),
            ],
        ),
        "outputs": ("y",),
        "labels": (),
        "link": "identity",
        **changes,
    }
    return blindproof.NetworkModel(**described)


def test_a_network_is_published_with_names_of_the_facade_alone(tmp_path):
    models = str(tmp_path)
    private = blindproof.publish_network(models, network())
    public = blindproof.publish_network(models, network(), mode="public")
    single = blindproof.publish_collapsed(models, network(), mode="public")
    assert (private.mode, public.mode) == (blindproof.Mode.PRIVATE, blindproof.Mode.PUBLIC)
    assert [profile.packing for profile in single.profiles] == [blindproof.Packing.SINGLE]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == sorted(
        card.digest.hex() for card in (private, public, single)
    )


def test_a_linear_model_takes_lists_and_a_path_as_text(tmp_path):
    linear = blindproof.LinearModel(
        name="linear",
        version="1",
        purpose="tests",
        features=network().features,
        weights=[[1, 2]],
        intercept=[0],
        outputs=("y",),
        labels=(),
        link="identity",
    )
    card = blindproof.publish_linear(str(tmp_path), linear, mode="public")
    assert card.mode is blindproof.Mode.PUBLIC


def test_what_the_facade_cannot_use_is_its_own_error(tmp_path):
    with pytest.raises(blindproof.BlindproofError, match="expected 'private' or 'public'"):
        blindproof.publish_network(tmp_path, network(), mode="hidden")
    with pytest.raises(blindproof.BlindproofError, match="weights of a dense layer: expected num"):
        blindproof.DenseSpec([[1], [2, 3]], [0, 0])
    with pytest.raises(blindproof.BlindproofError, match="weights: expected numbers"):
        blindproof.LinearModel(
            name="n",
            version="1",
            purpose="",
            features=(),
            weights=[[1], [2, 3]],
            intercept=[0],
            outputs=("y",),
            labels=(),
            link="identity",
        )
    far = (blindproof.Feature("far", -1e308, 1e308, 0, 1), network().features[1])
    with pytest.raises(blindproof.BlindproofError, match="feature 'far': its range"):
        blindproof.publish_network(tmp_path, network(features=far))


def test_importing_it_loads_nothing_heavy(repository_root):
    code = (
        "import sys, blindproof; "
        "print({'numpy', 'grpc', 'tenseal', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=repository_root, capture_output=True, check=True
    )
    assert shown.stdout.strip() == b"set()"
