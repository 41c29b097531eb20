"""A licensed model: its customer pins a digest, and whatever else the vendor serves is refused."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
from cheating_vendor import cheating_server
from sklearn.datasets import load_wine
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split
from vendor import compiled_model

import blindproof

PLOT = Path(__file__).with_name("result.png")


def command(*arguments: str | Path) -> str:
    """What a command prints; an error if it fails."""
    line = [sys.executable, "-m", "blindproof", *map(str, arguments)]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout  # noqa: S603


def refusal(attempt: Callable[[], object]) -> str:
    """The error that an attempt ends in."""
    try:
        attempt()
    except blindproof.BlindproofError as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("this should have been refused")


def main() -> None:
    """Publish, pin, predict, archive, audit; then be cheated in three ways, and draw."""
    data = load_wine(as_frame=True)
    growers = data.target.map({0: "grower A", 1: "grower B", 2: "grower C"})
    _, wines, _, truth = train_test_split(data.data, growers, random_state=0, stratify=growers)

    with tempfile.TemporaryDirectory() as home, blindproof.LocalServer() as server:
        # The vendor publishes, and gives the customer a bundle without the weights.
        card = server.publish(compiled_model(data.data, growers, c=1.0))
        pinned, bundle = card.digest.hex(), Path(home) / "wine.blindproof"
        command(
            "models", "export", pinned, "--models", server.models, "--public", "--output", bundle
        )

        # The customer verifies it offline, reads what is stated, pins the digest, and asks.
        print(command("models", "verify", bundle).splitlines()[-1].strip())
        print(f"licence: {card.about.licence}, stated: {dict(card.about.metrics)}")
        model = server.model(pinned, packing="batch")
        answer, evidence = model.answer(wines), Path(home) / "wine.evidence"
        answer.result.save(evidence)
        right = (answer.predictions == truth).mean()
        print(f"verified predictions: {len(wines)}, right: {right:.4f}")

        # Years later, an auditor who holds no secret.
        (audited,) = blindproof.verify_evidence(evidence, pinned)
        print(f"audited offline: {audited.records} records, {audited.soundness_bits:.0f} bits")

        refused = {}
        with (
            cheating_server(server.models) as (address, ca),
            blindproof.VerifiedModel(address, model=pinned, ca=ca) as cheated,
        ):
            refused["other weights"] = refusal(lambda: cheated.predict(wines))
        altered = bytearray(evidence.read_bytes())
        altered[-1] ^= 1
        evidence.write_bytes(altered)
        refused["altered evidence"] = refusal(lambda: blindproof.verify_evidence(evidence, pinned))
        shutil.rmtree(server.models / pinned)
        server.publish(compiled_model(data.data, growers, c=0.0001))  # same name and version
        refused["another model"] = refusal(lambda: server.model(pinned).predict(wines))
    for what, error in refused.items():
        print(f"refused, {what}: {error}")

    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        truth, answer.predictions, cmap="Blues", colorbar=False, ax=axes
    )
    axes.set(title="verified answers of the pinned model", xlabel="predicted", ylabel="true")
    figure.savefig(PLOT, dpi=80)
    print(f"plot: {PLOT.name}")


if __name__ == "__main__":
    main()
