from __future__ import annotations

import copy
import pickle
from dataclasses import asdict, replace

import numpy as np
import pytest

from audit.proven_receipt import ProvenReceipt
from client_sdk.result import Result, Timings, classes, read_outputs
from tests.unit.audit.test_proven_receipt import PROVEN
from wire.inference import ServerTimings

TIMINGS = Timings(1.0, 2.0, 3.0, 4.0, ServerTimings(1.0, 2.0, 3.0, 4.0))


@pytest.fixture
def result() -> Result:
    return Result(
        values=np.array([[0.5], [-0.5]]),
        labels=("yes", "no"),
        probabilities=np.array([[0.4, 0.6], [0.6, 0.4]]),
        predictions=None,
        error_bound=1e-8,
        precision_bits=26.6,
        disclosure_log2=32,
        soundness_bits=101.0,
        model_digest=bytes(range(32)),
        evidence=(),
        receipts=(),
        countersigned=(),
        timings=TIMINGS,
        sent_bytes=10,
        received_bytes=20,
        raw=np.array([[0.123456789], [-0.5]]),
    )


@pytest.mark.accepts("C-43")
@pytest.mark.rejects("C-43")
def test_raw_values_need_the_words(result):
    for answer in (False, 1, "yes", None):
        with pytest.raises(PermissionError):
            result.raw_values(i_understand_raw_values_can_reveal_the_key=answer)
    raw = result.raw_values(i_understand_raw_values_can_reveal_the_key=True)
    assert raw[0, 0] == 0.123456789


def test_the_repr_says_what_it_is_worth_and_no_value(result):
    text = repr(result)
    assert "2 records, 1 outputs, labels, probabilities" in text
    assert "soundness_bits=101.0" in text
    assert "0.123" not in text
    assert "0.5" not in text


def test_a_result_is_frozen(result):
    with pytest.raises(AttributeError):
        result.values = np.zeros((1, 1))


def test_timings_add_up():
    total = Timings.total([TIMINGS, TIMINGS])
    assert total == Timings(2.0, 4.0, 6.0, 8.0, ServerTimings(2.0, 4.0, 6.0, 8.0))


def test_a_classification_has_labels_and_probabilities(card):
    reading = read_outputs(card, np.array([[-1.0], [0.0], [1.0]]))
    assert reading.labels == ("no", "no", "yes")
    assert reading.probabilities[:, 1] == pytest.approx([1 / (1 + np.e), 0.5, np.e / (1 + np.e)])
    assert reading.predictions is None


def test_a_regression_has_predictions_alone(card):
    regression = replace(card, link="exp", labels=())
    reading = read_outputs(regression, np.array([[0.0], [1.0]]))
    assert (reading.labels, reading.probabilities) == (None, None)
    assert reading.predictions == pytest.approx(np.array([[1.0], [np.e]]))


def test_labels_have_the_type_that_the_card_says(card):
    assert classes(card).tolist() == ["no", "yes"]
    numbered = replace(card, labels=("-1", "7"), integer_labels=True)
    assert classes(numbered).dtype == np.int64
    assert classes(numbered).tolist() == [-1, 7]
    assert classes(replace(numbered, integer_labels=False)).tolist() == ["-1", "7"]


def test_what_walks_a_result_does_not_meet_raw_values(result):
    for shown in (
        vars(result),
        asdict(result),
        result.__getstate__(),
        tuple(result.__dict__.values()),
    ):
        assert "0.123456789" not in repr(shown)
    assert b"raw" not in pickle.dumps(result)


def pickled(result: Result) -> Result:
    restored: Result = pickle.loads(pickle.dumps(result))  # noqa: S301  (just made here)
    return restored


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_has_no_raw_values(result, duplicate):
    again = duplicate(result)
    assert np.array_equal(again.values, result.values)
    assert again.error_bound == result.error_bound
    with pytest.raises(ValueError, match="has no raw values"):
        again.raw_values(i_understand_raw_values_can_reveal_the_key=True)
    assert result.raw_values(i_understand_raw_values_can_reveal_the_key=True)[0, 0] == 0.123456789


def test_one_receipt_is_saved_as_it_is_called(result, tmp_path):
    one = replace(result, receipts=(PROVEN,), raw=result.values)
    assert one.receipt == PROVEN
    assert one.save_receipt(tmp_path / "receipt.json") == (tmp_path / "receipt.json",)
    (path,) = tmp_path.iterdir()
    assert path.read_text() == PROVEN.to_json()
    assert path.stat().st_mode & 0o777 == 0o600


def test_several_receipts_are_numbered(result, tmp_path):
    receipts = (PROVEN, replace(PROVEN, index=5))
    several = replace(result, receipts=receipts, raw=result.values)
    paths = several.save_receipt(str(tmp_path / "receipt.json"))
    assert [path.name for path in paths] == ["receipt-1.json", "receipt-2.json"]
    assert [ProvenReceipt.from_json(path.read_text()) for path in paths] == list(receipts)
