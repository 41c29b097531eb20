"""Diabetes progression: laboratory values encrypted, sex and age band in the clear, names kept."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import blindproof

PLOT = Path(__file__).with_name("result.png")
HARMLESS = ["sex", "age band"]
LABORATORY = ["bmi", "pressure", "cholesterol", "ldl", "hdl", "cholesterol/hdl", "ltg", "glucose"]


def patients() -> tuple[pd.DataFrame, "pd.Series[float]"]:
    """The table as a clinic would have it, and how the disease progressed in a year."""
    raw, progression = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    table = raw.iloc[:, 2:].set_axis(LABORATORY, axis=1)
    table.insert(0, "patient", [f"P{number:04}" for number in range(len(table))])
    table.insert(1, "sex", raw["sex"].map({1.0: "first", 2.0: "second"}))
    bands = ["under 30", "30 to 44", "45 to 59", "60 and over"]
    table.insert(2, "age band", pd.cut(raw["age"], [0, 29, 44, 59, 120], labels=bands).astype(str))
    return table, progression


def main() -> None:
    """Train, compile with and without plaintext columns, ask both, compare, draw."""
    table, progression = patients()
    train, asked, known, truth = train_test_split(table, progression, random_state=3)
    fitted = make_pipeline(
        ColumnTransformer(
            [("bands", OneHotEncoder(), HARMLESS), ("laboratory", StandardScaler(), LABORATORY)]
        ),
        Ridge(),
    ).fit(train, known)

    compiled = blindproof.compile(
        fitted, train, target=known, plaintext=HARMLESS, local=["patient"], margin=0.5
    )
    all_encrypted = blindproof.compile(fitted, train, local=["patient"], margin=0.5)
    with blindproof.LocalServer() as server:
        model = server.serve(compiled, packing="batch")
        model.predict(asked.head(1))  # the first request of a key store carries its keys as well
        selective = model.answer(asked)
        encrypted = server.serve(all_encrypted, packing="batch").answer(asked)
    predicted = selective.predictions
    sent = {
        "all encrypted": encrypted.result.sent_bytes / 1e6,
        "selective": selective.result.sent_bytes / 1e6,
    }

    for column in selective.card.features:
        print(f"{column.name}: {column.privacy}")
    print(f"stays with the clinic: {', '.join(selective.card.local)}")
    print(asked[["patient", *HARMLESS]].assign(progression=predicted.round(1)).head())
    plain = r2_score(truth, fitted.predict(asked))
    print(f"R2 of {len(asked)} verified predictions: {r2_score(truth, predicted):.3f}")
    print(f"R2 of the model in the clear: {plain:.3f}")
    print(f"within {selective.result.error_bound:.1e} of the committed model, as proved")
    print(f"sent, all columns encrypted: {sent['all encrypted']:.2f} MB")
    print(f"sent, selective encryption: {sent['selective']:.2f} MB")

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.8), layout="constrained", width_ratios=[2, 1]
    )
    left.scatter(truth, predicted, s=16, alpha=0.6)
    left.axline((150, 150), slope=1, color="k", lw=0.6)
    left.set(title="progression in a year", xlabel="actual", ylabel="predicted, verified")
    bars = right.bar(list(sent), list(sent.values()), color=["C7", "C0"], width=0.6)
    right.bar_label(bars, fmt="%.2f MB")
    right.margins(y=0.1)
    right.set(title="sent in one request", ylabel="MB")
    figure.savefig(PLOT, dpi=80)
    print(f"plot: {PLOT.name}")


if __name__ == "__main__":
    main()
