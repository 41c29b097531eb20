"""Breast-cancer risk: a clinic asks a private model about patients whom its owner never sees."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import RocCurveDisplay, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import blindproof

PLOT = Path(__file__).with_name("result.png")


def main() -> None:
    """Train, serve, ask, compare with the model in the clear, draw."""
    data = load_breast_cancer(as_frame=True)
    diagnosis = data.target.map(dict(enumerate(data.target_names)))
    train, patients, known, truth = train_test_split(
        data.data, diagnosis, test_size=0.3, random_state=0, stratify=diagnosis
    )

    # The owner of the model: scikit-learn as ever, then one call. Ranges that a value may have come
    # from the sample, with a margin; a quarter of the width is the default, outliers want more.
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(train, known)
    compiled = blindproof.compile(fitted, train, target=known, name="breast-cancer", margin=1.0)
    print(f"compiled: {compiled}")

    with blindproof.LocalServer() as server:
        # The clinic: a data frame in, verified probabilities out, with the patients' index.
        model = server.serve(compiled, packing="batch")
        answer = model.answer(patients)
    verified, result = answer.probabilities, answer.result

    plain = fitted.predict_proba(patients)
    log_odds = answer.decision_values.to_numpy()
    errors = np.abs(log_odds - compiled.simulate(patients).values[:, 0])
    probability_errors = np.abs(verified.to_numpy() - plain)
    auc = roc_auc_score(truth == "malignant", verified["malignant"])
    same = (answer.predictions == fitted.predict(patients)).sum()

    print(verified.head().round(4))
    print(f"patients: {len(patients)}")
    print(f"same diagnosis as the model in the clear: {same} of {len(patients)}")
    print(f"right diagnosis: {(answer.predictions == truth).mean():.1%}, area under ROC: {auc:.3f}")
    print(f"largest change of a probability: {probability_errors.max():.4f}")
    print(f"log-odds within the proved bound: {(errors <= result.error_bound).all()}")
    print(f"soundness: {result.soundness_bits:.0f} bits")
    print(f"sent: {result.sent_bytes / 1e6:.1f} MB, received: {result.received_bytes / 1e6:.1f} MB")

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    left.scatter(plain[:, 1], verified["malignant"], s=14, alpha=0.5)
    left.plot([0, 1], [0, 1], "k-", lw=0.6)
    left.set(title="probability of malignant", xlabel="in the clear", ylabel="encrypted, verified")
    middle.hist(errors * 1e9, bins=30)
    middle.axvline(result.error_bound * 1e9, color="C3", label="proved bound")
    middle.set(title="error of log-odds, in billionths", xlabel="from the committed model")
    middle.legend(frameon=False)
    RocCurveDisplay.from_predictions(
        truth, verified["malignant"], pos_label="malignant", name="verified", ax=right
    )
    right.set(title="ROC", xlabel="false positives", ylabel="true positives")
    figure.savefig(PLOT, dpi=80)
    print(f"plot: {PLOT.name}")


if __name__ == "__main__":
    main()
