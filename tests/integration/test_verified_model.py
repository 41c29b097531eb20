"""The estimator-like object and the local server, as a person who tries them meets them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.base import is_classifier, is_regressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import RocCurveDisplay, accuracy_score, r2_score

from blindproof.local_server import LocalServer, NotRunningError
from client_sdk import AsyncClient, Phase, Result, progress, verify_evidence
from client_sdk.ephemeral import EphemeralKeyStore
from client_sdk.progress import PhaseProgress
from client_sdk.tables import NotOfferedError
from client_sdk.verified_model import AsyncVerifiedModel, VerifiedModel
from protocol.errors import InputError, KeyStoreError, ModelError
from protocol.model import ModelCard
from protocol.parameters import Mode
from tests.integration import example_models

COLUMNS = ["x0", "x1", "x2"]
ROWS = example_models.records(12)
FRAME = pd.DataFrame(ROWS, columns=COLUMNS, index=[f"patient {row}" for row in range(len(ROWS))])


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture(scope="module")
def cards(server: LocalServer) -> dict[str, ModelCard]:
    """A classification, the same with integer labels, and a regression with two outputs."""
    logistic = example_models.linear_model()
    models = {
        "logistic": logistic,
        "integers": replace(logistic, name="integers", labels=("0", "1"), integer_labels=True),
        "regression": example_models.linear_model(outputs=2, link="identity", name="regression"),
    }
    return {
        name: server.publish(model, mode=Mode.PRIVATE, precision_bits=16.0)
        for name, model in models.items()
    }


@pytest.fixture
def model(server: LocalServer, cards: dict[str, ModelCard]) -> Iterator[VerifiedModel]:
    with server.model(cards["logistic"]) as opened:
        yield opened


def log_odds(rows: np.ndarray) -> np.ndarray:
    linear = example_models.linear_model()
    return ((rows - 1.0) / 2.0 @ linear.weights.T + linear.intercept)[:, 0]


def test_it_looks_like_a_fitted_estimator(model, cards):
    assert repr(model).startswith(f"VerifiedModel(model={cards['logistic'].digest.hex()[:16]}…")
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.feature_names_in_.tolist() == COLUMNS
    assert model.n_features_in_ == 3
    assert model.card == cards["logistic"]
    assert "'ex' version '1', model=" in repr(model)
    assert model.last_result is None


def test_labels_probabilities_and_log_odds_are_verified(model, tmp_path):
    expected = log_odds(ROWS)
    labels = model.predict(ROWS)
    assert labels.tolist() == np.where(expected > 0, "yes", "no").tolist()
    result = model.last_result
    assert isinstance(result, Result)
    assert result.soundness_bits > 100
    result.save(tmp_path / "evidence")
    (verified,) = verify_evidence(tmp_path / "evidence", model.card.digest)
    assert verified.records == len(ROWS)
    assert np.allclose(model.decision_function(ROWS), expected, atol=1e-3)
    likely = model.predict_proba(ROWS)
    assert np.allclose(likely[:, 1], 1 / (1 + np.exp(-expected)), atol=1e-3)
    assert model.last_result is not result


def test_a_frame_comes_back_with_its_index_whatever_the_order_of_columns(model):
    shuffled = FRAME[COLUMNS[::-1]].iloc[::-1]
    labels = model.predict(shuffled)
    assert isinstance(labels, pd.Series)
    assert labels.index.equals(shuffled.index)
    assert labels.loc[FRAME.index].tolist() == model.predict(ROWS).tolist()
    frame = model.predict_frame(shuffled)
    assert frame.index.equals(shuffled.index)
    assert (frame["error_bound"] == model.last_result.error_bound).all()
    assert (frame["label"] == labels).all()


def test_scikit_learn_takes_it_where_it_only_predicts(model):
    truth = np.where(log_odds(ROWS) > 0, "yes", "no")
    truth[0] = "no" if truth[0] == "yes" else "yes"
    assert is_classifier(model)
    assert model.score(FRAME, truth) == accuracy_score(truth, model.predict(FRAME))
    with pytest.raises(InputError, match="which are texts"):
        model.score(FRAME, np.zeros(len(FRAME), dtype=int))
    importances = permutation_importance(model, FRAME, truth, n_repeats=1)
    assert importances.importances.shape == (3, 1)
    pytest.importorskip("matplotlib").use("agg")
    with pytest.raises(NotOfferedError, match="served, not fitted"):
        model.fit(FRAME, truth)
    assert RocCurveDisplay.from_estimator(model, ROWS, truth).roc_auc > 0.5


def test_integer_labels_and_regressions(server, cards):
    integers = server.model(cards["integers"])
    assert integers.predict(ROWS).tolist() == (log_odds(ROWS) > 0).astype(int).tolist()
    assert integers.score(ROWS, log_odds(ROWS) > 0) == 1.0
    regression = server.model(cards["regression"])
    found = regression.predict(FRAME)
    assert list(found.columns) == ["y0", "y1"]
    assert is_regressor(regression)
    truth = found.to_numpy() + np.arange(24.0).reshape(12, 2)
    assert regression.score(FRAME, truth) == pytest.approx(r2_score(truth, found))
    assert not hasattr(regression, "classes_")


def test_what_a_model_does_not_offer_costs_no_request(server, cards):
    phases: list[Phase] = []
    regression = server.model(cards["regression"], observer=phases.append)
    for method in (regression.predict_proba, regression.decision_function):
        with pytest.raises(NotOfferedError, match="'regression' has the link 'identity'"):
            method(ROWS)
    assert phases == []


def test_one_record_by_name_and_wrong_records(model):
    single = model.predict(dict(zip(COLUMNS, ROWS[0], strict=True)))
    assert single.tolist() == model.predict(ROWS[:1]).tolist()
    with pytest.raises(InputError, match="column 'x1', row 2: the value is outside"):
        model.predict([[0, 0, 0], [0, 0, 0], [0, 99, 0]])
    assert model.last_result is None


def test_a_stream_gives_what_predict_gives_and_saves_evidence(model, tmp_path):
    counted: list[int] = []
    client = model._client
    results = list(
        client.stream(FRAME, batch=5, evidence=tmp_path / "evidence", progress=counted.append)
    )
    assert [len(result.values) for result in results] == [5, 5, 2]
    assert counted == [5, 10, 12]
    assert np.concatenate([result.values for result in results])[:, 0] == pytest.approx(
        log_odds(ROWS), abs=1e-3
    )
    files = sorted((tmp_path / "evidence").glob("*.evidence"))
    receipts = sorted((tmp_path / "evidence").glob("*.receipt.json"))
    assert [path.name[:7] for path in files] == ["000001-", "000002-", "000003-"]
    assert [path.name.partition(".")[0] for path in receipts] == [path.stem for path in files]
    for path, receipt, result in zip(files, receipts, results, strict=True):
        result.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == path.read_bytes()
        assert receipt.read_text() == result.receipt.to_json()


def test_a_stream_of_frames_keeps_their_indices(model):
    answers = list(model.stream((FRAME[:7], FRAME[7:]), batch=4))
    assert [list(answer.index) for answer in answers] == [
        list(FRAME.index[a:b]) for a, b in ((0, 4), (4, 7), (7, 11), (11, 12))
    ]
    joined = pd.concat([answer.predictions for answer in answers])
    assert joined.equals(model.predict(FRAME))


def test_a_stream_reads_one_request_ahead_and_stops_when_it_is_left(model):
    taken: list[int] = []

    def rows():
        for number, row in enumerate(ROWS):
            taken.append(number)
            yield row

    stream = model.stream(rows(), batch=2)
    first = next(stream)
    assert len(first.predictions) == 2
    assert len(taken) == 4
    stream.close()
    assert len(taken) == 4
    assert len(model.predict(ROWS)) == 12  # the client still works


def test_a_bad_record_ends_a_stream_where_it_is(model):
    rows = ROWS.copy()
    rows[7, 2] = 99.0
    stream = model.stream(rows, batch=3)
    assert len(next(stream).predictions) == 3
    assert len(next(stream).predictions) == 3
    with pytest.raises(InputError, match="column 'x2', row 7"):
        next(stream)


def test_a_closed_client_ends_its_streams(server, cards):
    model = server.model(cards["logistic"])
    stream = model.stream(ROWS, batch=2)
    next(stream)
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(stream)


def test_the_bar_counts_requests(server, cards, monkeypatch):
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "PhaseProgress", lambda: PhaseProgress(console, after=0.0))
    model = server.model(cards["logistic"], packing="single", progress=True)
    model.predict(ROWS[:4])
    assert "of 4: " in written.getvalue()


def test_asyncio(server, cards):
    async def rows():
        for row in ROWS:
            yield row

    async def play() -> None:
        options = {"model": cards["logistic"].digest, "keys": server.keys, "ca": server.ca}
        unconnected = AsyncVerifiedModel(server.address, **options)
        assert not hasattr(unconnected, "classes_")
        await unconnected.close()
        async with AsyncVerifiedModel(server.address, **options) as model:
            assert model.classes_.tolist() == ["no", "yes"]
            assert "'ex' version '1'" in repr(model)
            labels, likely = await asyncio.gather(model.predict(FRAME), model.predict_proba(ROWS))
            assert ((likely[:, 1] > 0.5) == (labels == "yes")).all()
            assert (await model.decision_function(FRAME)).index.equals(FRAME.index)
            assert await model.score(FRAME, labels) == 1.0
            assert len(await model.predict_frame(FRAME)) == 12
            parts = [answer.predictions async for answer in model.stream(rows(), batch=5)]
            assert np.concatenate(parts).tolist() == labels.tolist()
            assert model.last_result is not None

    asyncio.run(play())


def test_keys_may_be_a_directory_a_store_or_nothing(server, cards, tmp_path, monkeypatch):
    options = {"model": cards["logistic"].digest.hex(), "ca": server.ca}
    monkeypatch.setenv("BLINDPROOF_PASSPHRASE", "of this test")
    with VerifiedModel(server.address, keys=tmp_path / "keys", **options) as model:
        first = model.predict(ROWS)
        enrolled = model.last_result.key_digests
    with VerifiedModel(server.address, keys=str(tmp_path / "keys"), **options) as model:
        assert model.predict(ROWS).tolist() == first.tolist()
        assert model.last_result.key_digests == enrolled
    monkeypatch.delenv("BLINDPROOF_PASSPHRASE")
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(KeyStoreError, match="BLINDPROOF_PASSPHRASE"):
        VerifiedModel(server.address, keys=tmp_path / "keys", **options)
    with VerifiedModel(server.address, **options) as model:
        store = model._connection.keys
        assert isinstance(store, EphemeralKeyStore)
        assert model.predict(ROWS).tolist() == first.tolist()
        assert model.last_result.key_digests != enrolled
    assert not store._path.exists()


def test_a_digest_that_is_none_leaves_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for kind in (VerifiedModel, AsyncVerifiedModel):
        with pytest.raises(ModelError, match="64 hexadecimal digits"):
            kind("127.0.0.1:1", model="no digest")
    assert list(tmp_path.iterdir()) == []


def test_a_local_server_cleans_up_and_refuses_to_be_used_outside(tmp_path):
    server = LocalServer(tmp_path / "models")
    assert repr(server) == "LocalServer(not running)"
    with pytest.raises(NotRunningError, match="with LocalServer"):
        server.publish(example_models.linear_model())
    with server:
        model = server.serve(example_models.linear_model(), precision_bits=16.0)
        ca = server.ca
        assert server.address in repr(server)
        assert len(model.predict(ROWS)) == 12
        with pytest.raises(ModelError, match="cannot publish a 'dict'"):
            server.publish({})
        with pytest.raises(RuntimeError, match="runs already"):
            server.__enter__()
    assert not ca.exists()
    with pytest.raises(RuntimeError, match="closed"):
        model.predict(ROWS)
    assert (tmp_path / "models" / model.card.digest.hex()).is_dir()
    with server:  # again, over what was published
        assert len(server.model(model.card).predict(ROWS)) == 12


def test_requests_at_work_together_count_their_own_bytes(server, cards):
    async def play() -> None:
        options = {"model": cards["logistic"].digest, "keys": server.keys, "ca": server.ca}
        async with AsyncClient(server.address, **options) as client:
            alone = await client.predict(ROWS)
            together = await asyncio.gather(*(client.predict(ROWS) for _ in range(3)))
            streamed = [result async for result in client.stream(ROWS, batch=4)]
        for result in (*together, *streamed):
            assert result.sent_bytes == pytest.approx(alone.sent_bytes, rel=0.01)
            assert result.received_bytes == pytest.approx(alone.received_bytes, rel=0.01)

    asyncio.run(play())
