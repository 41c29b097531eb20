"""Precision against cost, drawn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from client_sdk.tables import MissingPackageError
from protocol.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from blindproof.compiled import Compiled
    from blindproof.prepared import Offer

LEAST_BITS, MOST_BITS = 6, 24
"""Precisions that are asked for, or more if more was reached anyway."""

LOGARITHMIC_FROM = 30
"""Axes are logarithmic where the dearest plan takes so many times what the cheapest does."""

_FORMATS = {".pdf", ".png", ".svg"}
_COLOURS = {"batch": "#1f6f8b", "single": "#c8553d"}


def plot_trade_off(compiled: Compiled, path: Path) -> None:
    """Draw what every precision from 6 bits on takes: megabytes and seconds of a request.

    Parameters come in steps, and so do costs. The plan that was made is marked.

    Raises:
        ParameterError: the file is neither PNG, SVG nor PDF.
        MissingPackageError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ParameterError(f"{path}: a plot is written as {', '.join(sorted(_FORMATS))}")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "plots need matplotlib: pip install 'blindproof[plot]'"
        ) from error
    # Identifiers in an SVG are random unless salted, and dates change: same model, same file.
    with rc_context({"svg.hashsalt": "blindproof"}):
        figure = Figure(figsize=(7.0, 6.0), layout="constrained")
        sizes, seconds = figure.subplots(2, 1, sharex=True)
        series = _series(compiled)
        for axes, cost in ((sizes, _megabytes), (seconds, _seconds)):
            for packing, plans in series.items():
                _draw(axes, packing, plans, cost)
            for offer in compiled.offers:
                _mark(axes, offer, compiled.prepared.precision_bits, cost)
            costs = [cost(offer) for plans in series.values() for _, offer in plans]
            if max(costs) > LOGARITHMIC_FROM * min(costs):
                axes.set_yscale("log")
            else:
                axes.set_ylim(bottom=0)
            axes.grid(visible=True, alpha=0.3)
        sizes.set_title(f"{compiled.name} {compiled.model.version}")
        sizes.set_ylabel("request and answer, MB")
        sizes.legend(frameon=False)
        seconds.set_ylabel("predicted seconds")
        seconds.set_xlabel("precision wanted, bits below one unit of output")
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(path, metadata=metadata)


def _series(compiled: Compiled) -> dict[str, list[tuple[int, Offer]]]:
    """Of each packing the precisions wanted for which there are parameters, with their plans."""
    reached = max(offer.plan.precision_bits for offer in compiled.offers)
    series: dict[str, list[tuple[int, Offer]]] = {}
    plans: tuple[Offer, ...] = ()
    for bits in range(LEAST_BITS, max(MOST_BITS, math.floor(reached) + 4) + 1):
        # The cheapest plan of a precision is that of every lower one that needs as much.
        if not plans or min(offer.plan.precision_bits for offer in plans) < bits:
            plans = compiled.trade_off(bits)
        for offer in plans:
            series.setdefault(str(offer.packing), []).append((bits, offer))
    return series


def _draw(
    axes: Axes, packing: str, plans: list[tuple[int, Offer]], cost: Callable[[Offer], float]
) -> None:
    """One packing: what is wanted up to a precision costs what that one does."""
    wanted = [bits for bits, _ in plans]
    costs = [cost(offer) for _, offer in plans]
    axes.step(wanted, costs, where="pre", color=_COLOURS[packing], label=packing)


def _mark(axes: Axes, offer: Offer, wanted: float, cost: Callable[[Offer], float]) -> None:
    """The plan that was made."""
    packing = str(offer.packing)
    axes.plot(
        [wanted],
        [cost(offer)],
        "*",
        color=_COLOURS[packing],
        markersize=14,
        label=f"{packing}, as compiled: {offer.plan.precision_bits:.1f} bits",
    )


def _megabytes(offer: Offer) -> float:
    predicted = offer.predicted
    return (predicted.request_bytes + predicted.response_bytes + predicted.proof_bytes) / 1e6


def _seconds(offer: Offer) -> float:
    return offer.predicted.total_seconds
