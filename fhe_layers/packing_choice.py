"""Which way to publish a network that can be collapsed: for one record at a time, or for batches.

A single record over monomials (`fhe_layers.collapse`) is answered in a fraction of the time of a
batch; a batch holds thousands of records. Seconds are predictions, of the same kind as those of
`fhe_layers.network_cost`: good for comparing, within a factor of two otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fhe_layers.network_planner import NetworkPlan
from fhe_layers.planner import Plan
from protocol.errors import ParameterError, PlanningError
from protocol.parameters import CkksParameters, Packing

_SINGLE_BASE_SECONDS = 0.012
_SINGLE_WORD_SECONDS = 3.3e-6
"""Of one record, client and server, per limb and coefficient: N = 8192 with two limbs take 66 ms
on the machine of docs/performance.md. Monomials hardly matter, up to thousands of them."""


@dataclass(frozen=True)
class PackingChoice:
    """A packing, and why.

    Attributes:
        packing: what is faster for the records expected, of what is possible.
        seconds: predicted for all of them.
        reason: a sentence for people.
    """

    packing: Packing
    seconds: float
    reason: str


def single_seconds(parameters: CkksParameters) -> float:
    """Predicted seconds of one record in single-record packing, the network not counted."""
    words = parameters.ring_degree * len(parameters.moduli)
    return _SINGLE_BASE_SECONDS + _SINGLE_WORD_SECONDS * words


def choose_packing(
    records: int, batch: NetworkPlan | PlanningError, single: Plan | PlanningError
) -> PackingChoice:
    """Compare the two for a number of records that come together.

    Args:
        records: how many.
        batch: the plan of the network in batches, or why there is none.
        single: the plan of the collapsed network, or why there is none.

    Raises:
        ParameterError: no records.
        PlanningError: neither is possible; says why.
    """
    if records < 1:
        raise ParameterError(f"{records} records expected: at least one is needed")
    if isinstance(single, PlanningError):
        if isinstance(batch, PlanningError):
            raise PlanningError(f"no packing is possible. Batch: {batch}. Single: {single}")
        seconds = _batch_seconds(records, batch)
        return PackingChoice(Packing.BATCH, seconds, f"batch, since single is impossible: {single}")
    one = single_seconds(single.parameters)
    if isinstance(batch, PlanningError):
        reason = f"single, since batch is impossible: {batch}"
        return PackingChoice(Packing.SINGLE, records * one, reason)
    many = _batch_seconds(records, batch)
    packing = Packing.SINGLE if records * one < many else Packing.BATCH
    crossing = math.floor(batch.cost.total_seconds / one) + 1
    expected = "1 record" if records == 1 else f"{records} records"
    reason = (
        f"{packing}: {expected} in about {records * one:.2g} s one by one over monomials, in "
        f"{many:.2g} s in batches, which are faster from about {crossing} records"
    )
    return PackingChoice(packing, min(records * one, many), reason)


def _batch_seconds(records: int, plan: NetworkPlan) -> float:
    return math.ceil(records / plan.parameters.slots) * plan.cost.total_seconds
