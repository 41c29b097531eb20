"""docs/models.md: what of other libraries can be served, from what the importers themselves say.

`python -m blindproof.models_document` prints it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from fhe_layers.importing import onnx_model, pytorch, scikit_learn, xgboost_model
from fhe_layers.importing.imported import Support, Treatment

LIBRARIES: tuple[tuple[str, str, tuple[Support, ...]], ...] = (
    ("scikit-learn", "estimator", scikit_learn.SUPPORT),
    ("ONNX", "operator", onnx_model.SUPPORT),
    ("PyTorch", "module or function", pytorch.SUPPORT),
    ("XGBoost", "objective or option", xgboost_model.SUPPORT),
)
"""Heading, what a row is about, and the rows."""

_MEANING = {
    Treatment.ENCRYPTED: "evaluated on ciphertexts and proved",
    Treatment.FOLDED: "done once, at compilation: merged into weights next to it",
    Treatment.CLIENT: "done by the client, as the model card says, before it encrypts or after it "
    "decrypts",
    Treatment.REFUSED: "an error that names it; the note says what to use instead",
}

_INTRODUCTION = """\
# Models that can be served

`blindproof.compile(model, sample)` and `blindproof compile MODEL --sample table.csv` take a
trained model and records like those that will be asked about. Models are fitted scikit-learn
estimators, pipelines and searches; XGBoost models or their JSON files; ONNX models or files;
PyTorch modules; and model files ([model-file.md](model-file.md)). Pickled files are never opened:
load them yourself and pass the estimator. What cannot be served is one error that names the part,
its kind, the reason, and what to use instead.

Nothing is dropped. `explain()` lists every part of a model and where it went, and the compiled
model is run on the sample in the clear, in integers, exactly as it will be evaluated: `simulate()`
gives the values that encrypted answers approximate, and a model that loses more than half a point
of accuracy, or 0.01 of R², is refused unless `allow_loss` is given.

## The sample

* **Ranges.** Each column of numbers gets the range of the sample, widened by a quarter of its
  width on either side (`margin`), or the one given in `ranges`. Ranges are on the model card, so
  they are public. A client refuses a value outside of them, naming the column: error bounds hold
  for inputs in range only.
* **Inputs.** Numbers are scaled to [-1, 1]; the scaling, and scalers and projections of the
  pipeline, go into the first weights. Widths that outliers made cost precision: give ranges, or
  leave such records out.
* **Categories.** A column of texts that the model one-hot encodes is a category: the client turns
  it into one input for each of the texts. The texts are on the card. Others are refused.
* **Missing values.** An error, unless the model has an imputer for the column; then the card says
  what stands for a missing value, and the client puts it there.
* **Columns that are no secret.** Those in `plaintext` travel in the clear and enter the same
  proved evaluation; those in `local` stay with the client and are no inputs at all.

## Outputs and links

The server computes what comes before a model's last function: log-odds, scores, sums of leaves.
The last function is the card's *link*, and the client applies it after decryption.

| link | outputs | the client makes of them |
|---|---|---|
| `identity` | any | the prediction |
| `exp` | any | the prediction: the exponential of each |
| `logistic` | one | the probability and label of two classes |
| `sign` | one | the label of two classes |
| `softmax` | one a class | probabilities, and the label of the largest |
| `argmax` | one a class | the label of the largest |
| `probability` | one, or one a class | probabilities as they are, and the label of the largest |

A network without a link, as PyTorch modules and many ONNX files are, is a regression unless
`labels` names its classes.

## Networks

Weights act on ciphertexts, and so do squares, products and polynomials up to degree 4; every
multiplication doubles the bits that values take, and three in a row are what parameters of 128-bit
security have room for. ReLU, sigmoid and tanh are refused, or replaced by polynomials fitted on
the sample if `activation_degree` is given: check what `simulate()` makes of it, or better, train
with squares.

## Trees

Comparisons have no form on encrypted numbers, so clients make them: each column of a model of
trees has public *edges*, and the client sends one bit for each, 1 where the value is above it.
Which edges a model uses, in which tree, and the values of its leaves stay private. Thresholds move
to the edge next to them that misplaces the fewest records of the sample; `edges` sets how many
each column gets. Training on binned columns (`KBinsDiscretizer` before the trees, or the bins of
`HistGradientBoosting`) loses nothing, as bins are edges. Nor does `show_thresholds`, which makes
the trees' own thresholds the edges: they are public then, requests are smaller, and which tree
compares where and the values of leaves stay private.

Trees that read one column each, such as boosted stumps, become a linear model over bits, in
batches and in single records. Trees up to depth 3 become private selections of bits and products
along their paths, in batches. Deeper ones are refused.

## What becomes of each part

"""


def document() -> str:
    """The whole of docs/models.md."""
    meanings = "".join(f"* *{kind}*: {text};\n" for kind, text in _MEANING.items())
    sections = "".join(
        f"\n## {heading}\n\n{_table(row, support)}" for heading, row, support in LIBRARIES
    )
    closing = (
        "\nThe tables are written by `python -m blindproof.models_document`, from what the "
        "importers themselves say.\n"
    )
    return _INTRODUCTION + meanings.rstrip(";\n") + ".\n" + sections + closing


def _table(heading: str, support: Iterable[Support]) -> str:
    """Rows that differ in their names only are one; what is refused comes last."""
    rows: dict[tuple[Treatment, str], list[str]] = {}
    order = list(Treatment)
    for entry in sorted(support, key=lambda entry: order.index(entry.treatment)):
        rows.setdefault((entry.treatment, entry.note), []).append(entry.operator)
    lines = [f"| {heading} | what becomes of it | note |", "|---|---|---|"]
    lines += [
        f"| {_names(operators)} | {treatment} | {_cell(note)} |"
        for (treatment, note), operators in rows.items()
    ]
    return "\n".join(lines) + "\n"


def _names(operators: Sequence[str]) -> str:
    return ", ".join(f"`{operator}`" for operator in operators)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(document())
