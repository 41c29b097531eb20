"""Data and fitted estimators which the importer is tried on, one for each row of its document."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
from sklearn import (
    calibration,
    cluster,
    compose,
    cross_decomposition,
    datasets,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    kernel_approximation,
    kernel_ridge,
    linear_model,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    random_projection,
    svm,
    tree,
)

Fitted = tuple[object, object]
"""An estimator and the sample that it is imported with."""

Pipeline = pipeline.make_pipeline
Scaler = preprocessing.StandardScaler


@cache
def cancer() -> tuple[np.ndarray, np.ndarray]:
    return datasets.load_breast_cancer(return_X_y=True)


@cache
def wine() -> tuple[np.ndarray, np.ndarray]:
    values, labels = datasets.load_wine(return_X_y=True)
    return values, np.array(["barbera", "grignolino", "nebbiolo"])[labels]


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    return datasets.load_digits(return_X_y=True)


@cache
def diabetes() -> tuple[np.ndarray, np.ndarray]:
    return datasets.load_diabetes(return_X_y=True, scaled=False)


@cache
def mixed() -> tuple[pd.DataFrame, np.ndarray]:
    """Numbers and texts, each with missing values, and a column that nobody reads."""
    rng = np.random.default_rng(3)
    age = rng.integers(18, 90, 300).astype(float)
    income = rng.lognormal(3, 0.5, 300)
    city = rng.choice(["Lyon", "Oslo", "Porto", "Riga"], 300, p=[0.4, 0.3, 0.2, 0.1]).astype(object)
    plan = rng.choice(["basic", "full"], 300).astype(object)
    rooms = rng.integers(1, 5, 300)
    risk = age / 40 - income / 30 + (city == "Oslo") + 0.5 * (plan == "full") * rooms
    target = (risk + rng.normal(0, 0.3, 300) > np.median(risk)).astype(int)
    income[rng.choice(300, 20, replace=False)] = np.nan
    plan[rng.choice(300, 15, replace=False)] = np.nan
    frame = pd.DataFrame(
        {
            "account": np.arange(300),
            "age": age,
            "income": income,
            "city": city,
            "plan": plan,
            "rooms": rooms,
        }
    )
    return frame, target


def fit(estimator: object, data: tuple[object, np.ndarray]) -> Fitted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence, which is not the question here
        estimator.fit(*data)
    return estimator, data[0]


def scaled(
    estimator: object, data: Callable[[], tuple[object, np.ndarray]]
) -> Callable[[], Fitted]:
    return lambda: fit(Pipeline(Scaler(), estimator), data())


def after(*steps: object) -> Callable[[], Fitted]:
    """Transformers before a logistic regression on breast cancer."""
    return lambda: fit(Pipeline(*steps, linear_model.LogisticRegression()), cancer())


def on_columns(*parts: tuple[object, list[str]]) -> Callable[[], Fitted]:
    """Transformers of columns of the mixed table, before a logistic regression."""

    def made() -> Fitted:
        frame, target = mixed()
        names = [name for _, columns in parts for name in columns]
        columns = compose.make_column_transformer(*parts)
        model = Pipeline(columns, linear_model.LogisticRegression())
        return fit(model, (frame[list(dict.fromkeys(names))], target))

    return made


def positive() -> tuple[np.ndarray, np.ndarray]:
    return cancer()[0][:, :10], cancer()[1]


def targets() -> tuple[np.ndarray, np.ndarray]:
    values, target = diabetes()
    return values, np.column_stack([target, values[:, 2] * 3 + target**0.5])


def mlp_classifier(**options: object) -> neural_network.MLPClassifier:
    return neural_network.MLPClassifier((8, 6), random_state=1, max_iter=80, **options)


READ: dict[str, Callable[[], Fitted]] = {
    "LogisticRegression": scaled(linear_model.LogisticRegression(), wine),
    "LogisticRegressionCV": scaled(
        linear_model.LogisticRegressionCV(
            Cs=3, cv=3, l1_ratios=(0.0,), use_legacy_attributes=False
        ),
        cancer,
    ),
    "LinearDiscriminantAnalysis": lambda: fit(
        discriminant_analysis.LinearDiscriminantAnalysis(), wine()
    ),
    "SGDClassifier": scaled(
        linear_model.SGDClassifier(loss="log_loss", alpha=0.1, random_state=0), cancer
    ),
    "Perceptron": scaled(linear_model.Perceptron(), cancer),
    "LinearSVC": scaled(svm.LinearSVC(), wine),
    "RidgeClassifier": scaled(linear_model.RidgeClassifier(), wine),
    "RidgeClassifierCV": scaled(linear_model.RidgeClassifierCV(), cancer),
    "SVC": scaled(svm.SVC(kernel="linear"), cancer),
    "NuSVC": scaled(svm.NuSVC(kernel="linear", nu=0.2), cancer),
    "LinearRegression": lambda: fit(linear_model.LinearRegression(), diabetes()),
    "Ridge": scaled(linear_model.Ridge(), targets),
    "RidgeCV": scaled(linear_model.RidgeCV(), diabetes),
    "Lasso": scaled(linear_model.Lasso(), diabetes),
    "LassoCV": scaled(linear_model.LassoCV(cv=3), diabetes),
    "ElasticNet": scaled(linear_model.ElasticNet(), diabetes),
    "ElasticNetCV": scaled(linear_model.ElasticNetCV(cv=3), diabetes),
    "MultiTaskLasso": scaled(linear_model.MultiTaskLasso(), targets),
    "MultiTaskElasticNet": scaled(linear_model.MultiTaskElasticNet(), targets),
    "Lars": scaled(linear_model.Lars(), diabetes),
    "LassoLars": scaled(linear_model.LassoLars(), diabetes),
    "OrthogonalMatchingPursuit": scaled(linear_model.OrthogonalMatchingPursuit(), diabetes),
    "BayesianRidge": scaled(linear_model.BayesianRidge(), diabetes),
    "ARDRegression": scaled(linear_model.ARDRegression(), diabetes),
    "HuberRegressor": scaled(linear_model.HuberRegressor(), diabetes),
    "TheilSenRegressor": scaled(
        linear_model.TheilSenRegressor(max_subpopulation=50, random_state=0), diabetes
    ),
    "QuantileRegressor": scaled(linear_model.QuantileRegressor(alpha=0.1), diabetes),
    "SGDRegressor": scaled(linear_model.SGDRegressor(random_state=0), diabetes),
    "LinearSVR": scaled(svm.LinearSVR(random_state=0), diabetes),
    "SVR": scaled(svm.SVR(kernel="linear"), diabetes),
    "NuSVR": scaled(svm.NuSVR(kernel="linear"), diabetes),
    "PLSRegression": lambda: fit(cross_decomposition.PLSRegression(3), targets()),
    "PoissonRegressor": scaled(linear_model.PoissonRegressor(), diabetes),
    "GammaRegressor": scaled(linear_model.GammaRegressor(), diabetes),
    "TweedieRegressor": scaled(linear_model.TweedieRegressor(power=1.5), diabetes),
    "MLPClassifier": scaled(mlp_classifier(activation="identity"), wine),
    "MLPRegressor": scaled(
        neural_network.MLPRegressor(hidden_layer_sizes=(6,), activation="identity", random_state=1),
        targets,
    ),
    "OneVsRestClassifier": scaled(
        multiclass.OneVsRestClassifier(linear_model.LogisticRegression()), wine
    ),
    "MultiOutputRegressor": scaled(multioutput.MultiOutputRegressor(svm.LinearSVR()), targets),
    "TransformedTargetRegressor": scaled(
        compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=Scaler()), targets
    ),
    "Pipeline": lambda: fit(
        Pipeline(Pipeline(Scaler(), "passthrough"), Pipeline(linear_model.LogisticRegression())),
        cancer(),
    ),
    "GridSearchCV": lambda: fit(
        model_selection.GridSearchCV(
            Pipeline(Scaler(), linear_model.RidgeClassifier()),
            {"ridgeclassifier__alpha": [1, 10]},
            cv=3,
        ),
        cancer(),
    ),
    "RandomizedSearchCV": scaled(
        model_selection.RandomizedSearchCV(
            linear_model.Ridge(), {"alpha": [1, 10]}, n_iter=2, cv=3, random_state=0
        ),
        diabetes,
    ),
    "StandardScaler": after(Scaler(with_mean=False)),
    "MinMaxScaler": after(preprocessing.MinMaxScaler((-1, 2))),
    "MaxAbsScaler": after(preprocessing.MaxAbsScaler()),
    "RobustScaler": after(preprocessing.RobustScaler()),
    "PCA": after(Scaler(), decomposition.PCA(6, whiten=True)),
    "IncrementalPCA": lambda: fit(
        Pipeline(
            decomposition.IncrementalPCA(12, batch_size=300),
            linear_model.LogisticRegression(max_iter=50),
        ),
        digits(),
    ),
    "TruncatedSVD": after(Scaler(), decomposition.TruncatedSVD(6, random_state=0)),
    "FastICA": after(Scaler(), decomposition.FastICA(5, random_state=0, max_iter=500)),
    "GaussianRandomProjection": after(
        Scaler(), random_projection.GaussianRandomProjection(7, random_state=0)
    ),
    "SparseRandomProjection": after(
        Scaler(), random_projection.SparseRandomProjection(7, random_state=0)
    ),
    "SelectorMixin": after(
        feature_selection.VarianceThreshold(0.001), Scaler(), feature_selection.SelectKBest(k=8)
    ),
    "PolynomialFeatures": lambda: fit(
        Pipeline(Scaler(), preprocessing.PolynomialFeatures(2), linear_model.Ridge()), diabetes()
    ),
    "OneHotEncoder": on_columns(
        (preprocessing.OneHotEncoder(drop="first"), ["city"]),
        (preprocessing.OneHotEncoder(max_categories=3), ["rooms"]),
        (Scaler(), ["age"]),
    ),
    "OrdinalEncoder": on_columns((preprocessing.OrdinalEncoder(), ["city", "rooms"])),
    "TargetEncoder": on_columns(
        (preprocessing.TargetEncoder(random_state=0), ["city", "rooms"]), (Scaler(), ["age"])
    ),
    "KBinsDiscretizer": on_columns(
        (preprocessing.KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf"), ["age"]),
        (
            Pipeline(
                Scaler(),
                preprocessing.KBinsDiscretizer(3, encode="ordinal", strategy="uniform"),
            ),
            ["rooms"],
        ),
    ),
    "Binarizer": on_columns(
        (preprocessing.Binarizer(threshold=40), ["age"]), ("passthrough", ["rooms"])
    ),
    "SimpleImputer": on_columns(
        (Pipeline(impute.SimpleImputer(strategy="median"), Scaler()), ["income"]),
        (
            Pipeline(
                impute.SimpleImputer(strategy="constant", fill_value="none"),
                preprocessing.OneHotEncoder(),
            ),
            ["plan"],
        ),
    ),
    "FunctionTransformer": after(preprocessing.FunctionTransformer(), Scaler()),
    "FeatureUnion": lambda: fit(
        Pipeline(
            pipeline.FeatureUnion(
                [("scaled", Scaler()), ("reduced", decomposition.PCA(2)), ("gone", "drop")],
                transformer_weights={"reduced": 0.01},
            ),
            linear_model.LogisticRegression(),
        ),
        wine(),
    ),
    "ColumnTransformer": lambda: fit(
        Pipeline(
            compose.ColumnTransformer(
                [
                    ("first", Scaler(), slice(0, 5)),
                    ("mask", preprocessing.RobustScaler(), [False] * 5 + [True] * 7 + [False]),
                ],
                remainder="passthrough",
            ),
            linear_model.RidgeClassifier(),
        ),
        wine(),
    ),
}
"""A fitted case for every row that is read exactly."""

TREES: dict[str, Callable[[], Fitted]] = {
    "DecisionTreeClassifier": lambda: fit(
        tree.DecisionTreeClassifier(max_depth=3, random_state=0), wine()
    ),
    "DecisionTreeRegressor": lambda: fit(
        tree.DecisionTreeRegressor(max_depth=2, random_state=0), diabetes()
    ),
    "RandomForestClassifier": lambda: fit(
        ensemble.RandomForestClassifier(4, max_depth=2, random_state=0), cancer()
    ),
    "RandomForestRegressor": lambda: fit(
        ensemble.RandomForestRegressor(4, max_depth=2, random_state=0), diabetes()
    ),
    "ExtraTreesClassifier": lambda: fit(
        ensemble.ExtraTreesClassifier(4, max_depth=2, random_state=0), wine()
    ),
    "ExtraTreesRegressor": lambda: fit(
        ensemble.ExtraTreesRegressor(4, max_depth=2, random_state=0), diabetes()
    ),
    "GradientBoostingClassifier": lambda: fit(
        ensemble.GradientBoostingClassifier(n_estimators=10, max_depth=1, random_state=0), cancer()
    ),
    "GradientBoostingRegressor": lambda: fit(
        ensemble.GradientBoostingRegressor(n_estimators=10, max_depth=1, random_state=0), diabetes()
    ),
    "HistGradientBoostingClassifier": lambda: fit(
        ensemble.HistGradientBoostingClassifier(max_iter=5, max_depth=1), cancer()
    ),
    "HistGradientBoostingRegressor": lambda: fit(
        ensemble.HistGradientBoostingRegressor(max_iter=5, max_depth=1), diabetes()
    ),
}
"""A fitted case for every kind of trees; thresholds move to public edges."""


def refused_before(*steps: object) -> Callable[[], Fitted]:
    return lambda: fit(Pipeline(*steps, linear_model.LinearRegression()), diabetes())


def refused(
    estimator: object, data: Callable[[], tuple[object, np.ndarray]]
) -> Callable[[], Fitted]:
    return lambda: fit(estimator, data())


def words(vectorizer: object) -> Callable[[], Fitted]:
    def made() -> Fitted:
        frame, target = mixed()
        columns = compose.make_column_transformer((vectorizer, "city"))
        return fit(Pipeline(columns, linear_model.LogisticRegression()), (frame[["city"]], target))

    return made


def single(estimator: object) -> Callable[[], Fitted]:
    values, target = diabetes()
    return lambda: fit(estimator, (values[:, [2]], target))


def iterative_imputer() -> Fitted:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401

    return refused_before(impute.IterativeImputer())()


_CLASSIFIERS = [("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())]
_REGRESSORS = [("a", linear_model.Ridge()), ("b", linear_model.Lasso())]

REFUSED: dict[str, Callable[[], Fitted]] = {
    "Normalizer": refused_before(preprocessing.Normalizer()),
    "PowerTransformer": refused_before(preprocessing.PowerTransformer()),
    "QuantileTransformer": refused_before(preprocessing.QuantileTransformer(n_quantiles=10)),
    "SplineTransformer": refused_before(preprocessing.SplineTransformer()),
    "KernelPCA": refused_before(decomposition.KernelPCA(2)),
    "Nystroem": refused_before(kernel_approximation.Nystroem(n_components=5)),
    "RBFSampler": refused_before(kernel_approximation.RBFSampler(n_components=5)),
    "KernelRidge": refused(kernel_ridge.KernelRidge(), diabetes),
    "GaussianProcessClassifier": refused(
        gaussian_process.GaussianProcessClassifier(optimizer=None), cancer
    ),
    "GaussianProcessRegressor": refused(
        gaussian_process.GaussianProcessRegressor(optimizer=None), diabetes
    ),
    "KNeighborsClassifier": refused(neighbors.KNeighborsClassifier(), wine),
    "KNeighborsRegressor": refused(neighbors.KNeighborsRegressor(), diabetes),
    "KNNImputer": refused_before(impute.KNNImputer()),
    "IterativeImputer": iterative_imputer,
    "MissingIndicator": refused_before(
        pipeline.make_union(Scaler(), impute.MissingIndicator(features="all"))
    ),
    "GaussianNB": refused(naive_bayes.GaussianNB(), wine),
    "QuadraticDiscriminantAnalysis": refused(
        discriminant_analysis.QuadraticDiscriminantAnalysis(), wine
    ),
    "VotingClassifier": refused(ensemble.VotingClassifier(_CLASSIFIERS), wine),
    "VotingRegressor": refused(ensemble.VotingRegressor(_REGRESSORS), diabetes),
    "StackingClassifier": refused(ensemble.StackingClassifier(_CLASSIFIERS, cv=2), wine),
    "StackingRegressor": refused(ensemble.StackingRegressor(_REGRESSORS, cv=2), diabetes),
    "BaggingClassifier": refused(ensemble.BaggingClassifier(n_estimators=2), wine),
    "BaggingRegressor": refused(ensemble.BaggingRegressor(n_estimators=2), diabetes),
    "AdaBoostClassifier": refused(ensemble.AdaBoostClassifier(n_estimators=2), wine),
    "AdaBoostRegressor": refused(ensemble.AdaBoostRegressor(n_estimators=2), diabetes),
    "OneVsOneClassifier": refused(multiclass.OneVsOneClassifier(svm.LinearSVC()), wine),
    "CalibratedClassifierCV": refused(
        calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2), cancer
    ),
    "IsotonicRegression": single(isotonic.IsotonicRegression()),
    "CountVectorizer": words(feature_extraction.text.CountVectorizer()),
    "TfidfVectorizer": words(feature_extraction.text.TfidfVectorizer()),
    "KMeans": refused(cluster.KMeans(2, n_init=1), cancer),
}
"""A fitted case for every row that is refused."""
