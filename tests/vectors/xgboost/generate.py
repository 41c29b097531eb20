"""Write the vectors beside this file: ``python -m tests.vectors.xgboost.generate``.

Models as XGBoost saves them, fitted on generated data, and in `expected.json` the margins that the
library itself computes of some inputs. Versions of the library differ in the last digits only; the
one that wrote the files is in them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

FOLDER = Path(__file__).resolve().parent
RECORDS, FEATURES, KEPT = 200, 4, 12
NAMES = ["width", "height", "depth", "weight"]

MODELS: dict[str, dict[str, Any]] = {
    "binary": {"objective": "binary:logistic"},
    "three_classes": {"objective": "multi:softprob", "num_class": 3},
    "regression": {"objective": "reg:squarederror"},
    "counts": {"objective": "count:poisson"},
    "forest": {"objective": "reg:squarederror", "num_parallel_tree": 2, "subsample": 0.5},
}


def targets(inputs: np.ndarray, objective: str) -> np.ndarray:
    """Something to learn."""
    score = inputs[:, 0] + 2 * (inputs[:, 1] > 0.3) * inputs[:, 2]
    if objective == "binary:logistic":
        return score > 0.5
    if objective == "multi:softprob":
        return np.digitize(score, [0.2, 1.0])
    return np.floor(2 + np.abs(score)) if objective == "count:poisson" else score


def main() -> None:
    """Write every file."""
    rng = np.random.default_rng(20260101)
    inputs = rng.uniform(-1, 2, (RECORDS, FEATURES)).astype(np.float32)
    expected: dict[str, Any] = {"inputs": inputs[:KEPT].tolist()}
    for name, parameters in MODELS.items():
        data = xgboost.DMatrix(
            inputs, targets(inputs, parameters["objective"]), feature_names=NAMES
        )
        settings = {"max_depth": 2, "seed": 1, "nthread": 1, **parameters}
        booster = xgboost.train(settings, data, num_boost_round=3)
        booster.save_model(FOLDER / f"{name}.json")
        kept = xgboost.DMatrix(inputs[:KEPT], feature_names=NAMES)
        margins = booster.predict(kept, output_margin=True)
        expected[name] = margins.reshape(KEPT, -1).tolist()
    text = json.dumps(expected, indent=1)
    (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
