"""Who reads what, and what is never read."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from fhe_layers.importing.dispatch import ACCEPTED, Kind, import_model, kind_of
from fhe_layers.importing.imported import UnsupportedModelError
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from protocol.errors import ModelError


@pytest.fixture
def estimator():
    rng = np.random.default_rng(0)
    return LogisticRegression().fit(rng.normal(size=(20, 2)), np.arange(20) % 2)


def test_objects_are_told_by_their_library(estimator):
    xgboost = pytest.importorskip("xgboost")
    assert kind_of(estimator) is Kind.ESTIMATOR
    assert kind_of(GridSearchCV(estimator, {})) is Kind.ESTIMATOR
    assert kind_of(xgboost.XGBClassifier()) is Kind.BOOSTER
    assert kind_of(xgboost.Booster()) is Kind.BOOSTER
    assert kind_of({"learner": {}}) is Kind.BOOSTER


def test_an_onnx_model_is_one_as_an_object_and_as_bytes(estimator):
    skl2onnx = pytest.importorskip("skl2onnx")
    model = skl2onnx.to_onnx(estimator, np.zeros((1, 2), dtype=np.float32))
    assert kind_of(model) is Kind.ONNX
    assert kind_of(model.SerializeToString()) is Kind.ONNX
    imported = import_model(
        bytearray(model.SerializeToString()), Table.of(np.ones((2, 2))), ImportOptions()
    )
    assert imported.labels == ("0", "1")


def test_files_are_told_by_name_and_then_by_what_is_in_them(tmp_path):
    contents = {
        "model.onnx": (b"\x08\x08", Kind.ONNX),
        "MODEL.ONNX": (b"\x08\x08", Kind.ONNX),
        "booster.json": (json.dumps({"learner": {}}).encode(), Kind.BOOSTER),
        "model.json": (json.dumps({"features": []}).encode(), Kind.MODEL_FILE),
        "unnamed": (b"\x08\x08", Kind.ONNX),
    }
    for name, (content, kind) in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert kind_of(path) is kind
        assert kind_of(str(path)) is kind


def test_other_json_is_told_from_models(tmp_path):
    path = tmp_path / "data.json"
    path.write_text('{"name": "m"}')
    with pytest.raises(ModelError, match=r"neither XGBoost's JSON.*'learner'.*'features'"):
        kind_of(path)


@pytest.mark.parametrize("name", ["model.pkl", "model.pickle", "model.joblib", "model.PKL"])
def test_pickled_files_are_not_even_opened(name):
    # There is no such file, and that is not what the message is about.
    with pytest.raises(ModelError, match=r"runs whatever code it holds.*pass the estimator"):
        kind_of(name)


def test_pickles_are_known_whatever_their_file_is_called(tmp_path, estimator):
    path = tmp_path / "model.bin2"
    path.write_bytes(pickle.dumps(estimator))
    with pytest.raises(ModelError, match=r"model\.bin2: these bytes are a pickle"):
        kind_of(path)
    with pytest.raises(ModelError, match="these bytes are a pickle"):
        kind_of(path.read_bytes())


def test_weights_without_layers_say_what_to_do():
    with pytest.raises(ModelError, match=r"net\.pt: weights without .*torch\.onnx\.export"):
        kind_of("net.pt")
    with pytest.raises(UnsupportedModelError, match=r"save_model\('model.json'\)"):
        kind_of("booster.ubj")


@pytest.mark.parametrize("model", [3, None, object(), {"weights": []}, LogisticRegression.fit])
def test_anything_else_is_an_error_that_lists_what_is_accepted(model):
    with pytest.raises(ModelError) as raised:
        kind_of(model)
    assert ACCEPTED in str(raised.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.onnx: No such file"):
        kind_of(tmp_path / "absent.onnx")
    for content in (b"{", b"[1]", b"\xff"):
        (tmp_path / "odd.json").write_bytes(content)
        with pytest.raises(ModelError, match=r"odd\.json: (not a JSON|neither an XGBoost)"):
            kind_of(tmp_path / "odd.json")
    with pytest.raises(ModelError, match="an empty model"):
        kind_of(b"")


def test_telling_kinds_apart_imports_no_library(repository_root):
    code = (
        "import sys; from fhe_layers.importing.dispatch import kind_of; kind_of(b'\\x08'); "
        "print({'onnx', 'sklearn', 'torch', 'xgboost'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=repository_root, capture_output=True, check=True
    )
    assert shown.stdout.strip() == b"set()"
