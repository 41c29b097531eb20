"""Credit risk: boosted trees over texts and gaps; thresholds and scores stay private."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from applicants import applications
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import blindproof

PLOT = Path(__file__).with_name("result.png")
TEXTS = ["employment", "purpose"]

# What clients may ask about, whatever the sample holds.
RANGES = {
    "age": (18, 100),
    "income": (0, 50_000),
    "amount": (0, 500_000),
    "months": (6, 120),
    "late payments": (0, 50),
}


def main() -> None:
    """Train, serve, score applicants, check the probabilities against what happened, draw."""
    table, outcome = applications(6000)
    train, asked, known, truth = train_test_split(table, outcome, random_state=0, test_size=0.4)
    columns = ColumnTransformer(
        [
            ("texts", OneHotEncoder(), TEXTS),
            ("numbers", SimpleImputer(strategy="median"), list(RANGES)),
        ]
    )
    trees = GradientBoostingClassifier(
        n_estimators=60, learning_rate=0.2, max_depth=1, random_state=0
    )
    fitted = make_pipeline(columns, trees).fit(train, known)

    # Clients compare each number with public edges, quantiles of the sample; which of them the
    # trees use is private. Fewer edges make smaller requests; `compile` measures what they cost.
    compiled = blindproof.compile(
        fitted, train, target=known, name="credit-risk", ranges=RANGES, edges=24
    )
    print(f"compiled: {compiled}")
    with blindproof.LocalServer() as server:
        model = server.serve(compiled, packing="batch")
        answer = model.answer(asked)
    risk = answer.probabilities["default"]
    defaulted = truth == "default"

    plain = fitted.predict_proba(asked)[:, 0]
    print(asked[["employment", "income", "amount"]].assign(risk=risk.round(3)).head())
    print(
        f"applicants: {len(asked)}, of whom {asked['income'].isna().sum()} do not state an income"
    )
    print(f"area under ROC, verified: {roc_auc_score(defaulted, risk):.3f}")
    print(f"area under ROC, in the clear: {roc_auc_score(defaulted, plain):.3f}")
    exact = np.array(compiled.simulate(asked).labels)
    print(f"same as the integer model: {(answer.predictions == exact).sum()} of {len(asked)}")
    result = answer.result
    print(f"sent: {result.sent_bytes / 1e6:.1f} MB, soundness: {result.soundness_bits:.0f} bits")

    deciles = pd.qcut(risk, 10, labels=False, duplicates="drop")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    left.hist(
        [risk[~defaulted], risk[defaulted]], bins=30, stacked=True, label=["repaid", "default"]
    )
    left.set(title="verified probability of default", xlabel="probability", ylabel="applicants")
    left.legend(frameon=False)
    right.plot(
        risk.groupby(deciles).mean(), defaulted.groupby(deciles).mean(), "o-", label="deciles"
    )
    right.axline((0, 0), slope=1, color="k", lw=0.6)
    right.set(title="calibration", xlabel="predicted", ylabel="share that defaulted")
    right.legend(frameon=False)
    figure.savefig(PLOT, dpi=80)
    print(f"plot: {PLOT.name}")


if __name__ == "__main__":
    main()
