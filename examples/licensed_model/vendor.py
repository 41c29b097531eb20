"""The vendor's model, with what is said of it."""

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import blindproof


def compiled_model(wines: pd.DataFrame, kinds: "pd.Series[str]", c: float) -> blindproof.Compiled:
    """What the vendor trains: which of three growers a wine is from."""
    train, held_out, known, truth = train_test_split(wines, kinds, random_state=0, stratify=kinds)
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=c)).fit(train, known)
    about = blindproof.About(
        intended_use="tells the grower of a wine from its chemical analysis; not for labelling",
        training_data="133 of the 178 Italian wines that scikit-learn brings along",
        licence="LicenseRef-Vendor-1.0",
        metrics=(("held-out accuracy", round(fitted.score(held_out, truth), 4)),),
    )
    return blindproof.compile(fitted, train, name="wine", about=about, margin=1.0)
