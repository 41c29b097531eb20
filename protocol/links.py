"""Links: what the client makes of released outputs.

Outputs are doubles (records, J).  A link is public, part of the card, and applied after
verification and decryption; nothing proves it, everybody recomputes it.

    link         J     labels   decision                   probabilities
    identity     any   0        none: a regression         none
    exp          any   0        none: it predicts exp(y)   none
    logistic     1     2        the second, if y > 0       1 / (1 + exp(-y)) of the second
    sign         1     2        the second, if y > 0       none
    argmax       >= 2  J        the largest output         none
    softmax      >= 2  J        the largest output         exp(y_j) / sum_i exp(y_i)
    probability  1     2        the second, if y > 1/2     y of the second
    probability  >= 2  J        the largest output         y_j / sum_i y_i

Ties go to the first label: 0 and 1/2 above are the first's, and of equal outputs the first wins.
Decisions are comparisons of the released outputs themselves, never of rounded probabilities.
Released outputs have errors: those of `probability` are clipped to [0, 1] before they are divided
by their sum, which is 1 but for that.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from protocol.errors import ModelError

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]

IDENTITY = "identity"
EXP = "exp"
LOGISTIC = "logistic"
SIGN = "sign"
ARGMAX = "argmax"
SOFTMAX = "softmax"
PROBABILITY = "probability"

_REGRESSIONS = frozenset({IDENTITY, EXP})
_ONE_OUTPUT = frozenset({LOGISTIC, SIGN})
_SEVERAL_OUTPUTS = frozenset({ARGMAX, SOFTMAX})
LINKS = (IDENTITY, LOGISTIC, SIGN, ARGMAX, SOFTMAX, PROBABILITY, EXP)


def labels_count(link: str, outputs: int) -> int:
    """How many labels a model of this link and so many outputs has; 0 for a regression.

    Raises:
        ModelError: an unknown link, or one that takes another number of outputs.
    """
    if link not in LINKS:
        raise ModelError(f"unknown link {link[:40]!r}; there are {', '.join(LINKS)}")
    if outputs < 1:
        raise ModelError("a model needs at least one output")
    if link in _REGRESSIONS:
        return 0
    if link in _ONE_OUTPUT and outputs != 1:
        raise ModelError(f"the {link} link takes one output, found {outputs}")
    if link in _SEVERAL_OUTPUTS and outputs == 1:
        raise ModelError(f"the {link} link takes two outputs or more")
    return 2 if outputs == 1 else outputs


def decide(link: str, values: Floats) -> Indices | None:
    """Indices of the labels (records,) by outputs (records, J); None for a regression.

    Raises:
        ModelError: the link takes another number of outputs.
    """
    if not labels_count(link, values.shape[1]):
        return None
    if values.shape[1] > 1:
        largest: Indices = values.argmax(axis=1).astype(np.int64)
        return largest
    threshold = 0.5 if link == PROBABILITY else 0.0
    return (values[:, 0] > threshold).astype(np.int64)


def probabilities(link: str, values: Floats) -> Floats | None:
    """Probabilities of the labels (records, labels); None where the link has none.

    Raises:
        ModelError: the link takes another number of outputs.
    """
    labels_count(link, values.shape[1])
    if link == LOGISTIC:
        # exp of a number that is not positive: no overflow on either side
        small = np.exp(-np.abs(values[:, 0]))
        likelier, other = 1 / (1 + small), small / (1 + small)
        second = np.where(values[:, 0] >= 0, likelier, other)
        return np.column_stack([np.where(values[:, 0] >= 0, other, likelier), second])
    if link == SOFTMAX:
        raised = np.exp(values - values.max(axis=1, keepdims=True))
        return _shares(raised)
    if link != PROBABILITY:
        return None
    stated = np.clip(values, 0.0, 1.0)
    if values.shape[1] == 1:
        return np.column_stack([1 - stated[:, 0], stated[:, 0]])
    return _shares(stated)


def predictions(link: str, values: Floats) -> Floats | None:
    """What a regression predicts (records, J); None for a classification.

    Raises:
        ModelError: the link takes another number of outputs.
    """
    if labels_count(link, values.shape[1]):
        return None
    if link == EXP:
        with np.errstate(over="ignore"):  # beyond a double it is infinite
            raised: Floats = np.exp(values)
        return raised
    return values.copy()


def _shares(parts: Floats) -> Floats:
    """Rows divided by their sums; equal shares where all parts are zero."""
    totals = parts.sum(axis=1, keepdims=True)
    empty = totals == 0
    shares: Floats = np.where(empty, 1 / parts.shape[1], parts / np.where(empty, 1.0, totals))
    return shares
