"""Invented applications for credit, and what became of them."""

import numpy as np
import pandas as pd


def applications(count: int) -> tuple[pd.DataFrame, "pd.Series[str]"]:
    """So many of them; one in ten does not state an income."""
    draw = np.random.default_rng(11)
    table = pd.DataFrame(
        {
            "employment": draw.choice(
                ["employed", "self-employed", "none"], count, p=[0.7, 0.2, 0.1]
            ),
            "purpose": draw.choice(["home", "car", "education", "other"], count),
            "age": draw.integers(18, 76, count),
            "income": np.round(np.exp(draw.normal(7.8, 0.45, count)), -1),
            "amount": np.round(np.exp(draw.normal(8.9, 0.7, count)), -2),
            "months": draw.choice([12, 24, 36, 48, 60], count),
            "late payments": draw.poisson(0.6, count),
        }
    )
    log_odds = (
        -1.9
        + table["employment"].map({"employed": -0.3, "self-employed": 0.3, "none": 1.2})
        + table["purpose"].map({"home": -0.4, "car": 0.0, "education": 0.2, "other": 0.4})
        + 1.1 * np.log(table["amount"] / table["income"] / 3)
        + 0.6 * table["late payments"]
        - 0.015 * (table["age"] - 40)
    )
    defaulted = draw.random(count) < 1 / (1 + np.exp(-log_odds))
    table.loc[draw.random(count) < 0.1, "income"] = np.nan
    return table, pd.Series(np.where(defaulted, "default", "repaid"), index=table.index)
