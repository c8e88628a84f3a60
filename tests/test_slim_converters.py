"""Every kind of scikit-learn model answers in ONNX as it does in Python, in float64."""

import warnings
from functools import cache

import numpy as np
import pytest
from sklearn import (
    cluster,
    compose,
    covariance,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    kernel_approximation,
    kernel_ridge,
    linear_model,
    mixture,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_multilabel_classification
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import kernels
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from slim_conversions import Pair, frame_of, pair

from fnmodel.errors import InputError, UnsupportedModelError

LIMIT = 1e-10
"""Relative to 1 or to the answer: what rounding in another order may do, and nothing else."""


@cache
def _rows():
    rows = np.random.default_rng(0).normal(2, 1, (160, 4))
    rows[:, 3] = np.abs(rows[:, 3]) + 0.1
    return rows


def _labels(classes):
    weights = np.array([1.0, -0.5, 0.8, 0.2])
    score = _rows() @ weights + np.random.default_rng(1).normal(0, 0.7, len(_rows()))
    return np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]))


def _two():
    return _rows(), _labels(2)


def _three():
    return _rows(), _labels(3)


def _words():
    return _rows(), np.array(["rot", "grün", "blau"])[_labels(3)]


def _positive():
    return np.abs(_rows()) + 0.01, _labels(3)


def _number():
    rows = _rows()
    return rows, np.exp(rows[:, 0] / 3) + rows[:, 3]


def _numbers():
    rows, target = _number()
    return rows, np.c_[target, -target, target**2]


def _many():
    return make_multilabel_classification(120, 6, n_classes=3, random_state=0)


def _holed():
    rows = _rows().copy()
    rows[np.random.default_rng(2).random(rows.shape) < 0.1] = np.nan
    return rows, _labels(2)


def _scaled(model):
    return make_pipeline(preprocessing.StandardScaler(), model)


def _before(step):
    return make_pipeline(step, preprocessing.StandardScaler(), linear_model.LogisticRegression())


LR = linear_model.LogisticRegression
FOREST = ensemble.RandomForestClassifier(5, max_depth=4, random_state=0)
MEMBERS = [
    ("a", LR()),
    ("b", tree.DecisionTreeClassifier(max_depth=3)),
    ("c", naive_bayes.GaussianNB()),
]
ANSWERING = [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=3))]

CLASSIFIERS = {
    "logistic": LR(),
    "logistic, CV": linear_model.LogisticRegressionCV(Cs=3, cv=2, max_iter=50),
    "SGD, log loss": linear_model.SGDClassifier(loss="log_loss", random_state=0),
    "SGD, Huber": linear_model.SGDClassifier(loss="modified_huber", random_state=0),
    "perceptron": linear_model.Perceptron(),
    "ridge": linear_model.RidgeClassifier(),
    "linear SVC": _scaled(svm.LinearSVC()),
    "LDA": discriminant_analysis.LinearDiscriminantAnalysis(),
    "QDA": discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1),
    "SVC, rbf": svm.SVC(),
    "SVC, poly": _scaled(svm.SVC(kernel="poly")),
    "SVC, break ties": svm.SVC(break_ties=True),
    "NuSVC, linear": svm.NuSVC(kernel="linear", nu=0.3),
    "SVC, probabilities": svm.SVC(probability=True, random_state=0),
    "neighbours": neighbors.KNeighborsClassifier(),
    "neighbours, distance": neighbors.KNeighborsClassifier(weights="distance"),
    "neighbours, Manhattan": neighbors.KNeighborsClassifier(p=1, weights="distance"),
    "neighbours, cosine": neighbors.KNeighborsClassifier(metric="cosine"),
    "radius": neighbors.RadiusNeighborsClassifier(1.2, outlier_label="most_frequent"),
    "radius, distance": neighbors.RadiusNeighborsClassifier(
        1.2, weights="distance", outlier_label="most_frequent"
    ),
    "centroid": neighbors.NearestCentroid(),
    "centroid, priors": neighbors.NearestCentroid(priors="empirical", shrink_threshold=0.1),
    "Gaussian Bayes": naive_bayes.GaussianNB(),
    "Bernoulli Bayes": naive_bayes.BernoulliNB(binarize=1.5),
    "network": _scaled(neural_network.MLPClassifier((5, 3), activation="logistic", max_iter=50)),
    "network, relu": _scaled(neural_network.MLPClassifier((6,), max_iter=50)),
    "forest": FOREST,
    "AdaBoost of logistic": ensemble.AdaBoostClassifier(LR(), n_estimators=4),
    "bagging of logistic": ensemble.BaggingClassifier(LR(), 4, max_features=0.5, random_state=0),
    "bagging of SVC": ensemble.BaggingClassifier(svm.LinearSVC(), 3, random_state=0),
    "voting, soft": ensemble.VotingClassifier(MEMBERS, voting="soft", weights=[1, 2, 0.5]),
    "voting, hard": ensemble.VotingClassifier(MEMBERS, weights=[1, 2, 0.5]),
    "stacking": ensemble.StackingClassifier(MEMBERS, cv=2),
    "stacking, passthrough": ensemble.StackingClassifier(
        MEMBERS, cv=2, passthrough=True, final_estimator=FOREST
    ),
    "stacking of labels": ensemble.StackingClassifier(MEMBERS, cv=2, stack_method="predict"),
    "one against the rest": multiclass.OneVsRestClassifier(LR()),
    "one against the rest, SVC": multiclass.OneVsRestClassifier(svm.LinearSVC()),
    "one against one": multiclass.OneVsOneClassifier(LR()),
    "one against one, forest": multiclass.OneVsOneClassifier(FOREST),
    "output code": multiclass.OutputCodeClassifier(LR(), code_size=3, random_state=0),
    "grid search": GridSearchCV(LR(), {"C": [0.1, 1]}, cv=2),
    "dummy": dummy.DummyClassifier(),
}
CALIBRATED = {
    "logistic": LR(),
    "pipeline": _scaled(LR()),
    "Bayes": naive_bayes.GaussianNB(),
    "forest": FOREST,
    "boosting": ensemble.GradientBoostingClassifier(n_estimators=4),
    "SVC": svm.SVC(),
}
REGRESSORS = {
    "linear": linear_model.LinearRegression(),
    "Poisson": linear_model.PoissonRegressor(),
    "Gamma": linear_model.GammaRegressor(),
    "Tweedie, identity": linear_model.TweedieRegressor(power=0, link="identity"),
    "Huber": linear_model.HuberRegressor(max_iter=1000),
    "RANSAC": linear_model.RANSACRegressor(random_state=0),
    "PLS": cross_decomposition.PLSRegression(2),
    "kernel ridge": kernel_ridge.KernelRidge(kernel="rbf"),
    "kernel ridge, Laplacian": kernel_ridge.KernelRidge(kernel="laplacian"),
    "SVR": svm.SVR(C=5),
    "SVR, sigmoid": _scaled(svm.SVR(kernel="sigmoid")),
    "NuSVR": svm.NuSVR(),
    "neighbours, distance": neighbors.KNeighborsRegressor(weights="distance"),
    "radius": neighbors.RadiusNeighborsRegressor(1.0),
    "AdaBoost": ensemble.AdaBoostRegressor(n_estimators=6, random_state=0),
    "bagging of ridge": ensemble.BaggingRegressor(linear_model.Ridge(), 3, max_features=0.5),
    "voting": ensemble.VotingRegressor(ANSWERING, weights=[1, 3]),
    "stacking": ensemble.StackingRegressor(ANSWERING, cv=2, passthrough=True),
    "network": neural_network.MLPRegressor(hidden_layer_sizes=(4,), max_iter=50),
    "Gaussian process": gaussian_process.GaussianProcessRegressor(
        kernels.ConstantKernel(2) * kernels.Matern(nu=2.5) + kernels.WhiteKernel(),
        optimizer=None,
        normalize_y=True,
    ),
    "Gaussian process, quadratic": gaussian_process.GaussianProcessRegressor(
        kernels.RationalQuadratic() + kernels.DotProduct(), alpha=0.1, optimizer=None
    ),
    "target, log1p": compose.TransformedTargetRegressor(
        linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1
    ),
    "target, power": compose.TransformedTargetRegressor(
        linear_model.Ridge(), transformer=preprocessing.PowerTransformer()
    ),
    "target, quantiles": compose.TransformedTargetRegressor(
        linear_model.Ridge(), transformer=preprocessing.QuantileTransformer(n_quantiles=30)
    ),
    "elimination": feature_selection.RFE(linear_model.Ridge(), n_features_to_select=2),
    "frozen": FrozenEstimator(linear_model.Ridge().fit(*_number())),
    "dummy": dummy.DummyRegressor(strategy="median"),
}
SEVERAL = {
    "linear": linear_model.LinearRegression(),
    "PLS": cross_decomposition.PLSRegression(2),
    "neighbours": neighbors.KNeighborsRegressor(weights="distance"),
    "one each": multioutput.MultiOutputRegressor(linear_model.Ridge()),
    "chain": multioutput.RegressorChain(linear_model.Ridge(), order=[1, 2, 0]),
    "forest": ensemble.RandomForestRegressor(4, random_state=0),
    "target scaler": compose.TransformedTargetRegressor(
        linear_model.Ridge(), transformer=preprocessing.StandardScaler()
    ),
}
MULTILABEL = {
    "rest": multiclass.OneVsRestClassifier(LR()),
    "each": multioutput.MultiOutputClassifier(LR()),
    "chain": multioutput.ClassifierChain(LR(), order=[2, 0, 1]),
    "chain of probabilities": multioutput.ClassifierChain(FOREST, chain_method="predict_proba"),
    "forest": FOREST,
    "network": neural_network.MLPClassifier((5,), max_iter=30),
    "ridge": linear_model.RidgeClassifier(),
}
TRANSFORMERS = {
    "min-max, clipped": preprocessing.MinMaxScaler((-2, 3), clip=True),
    "largest": preprocessing.MaxAbsScaler(),
    "robust": preprocessing.RobustScaler(unit_variance=True),
    "normalizer, l1": preprocessing.Normalizer("l1"),
    "binarizer": preprocessing.Binarizer(threshold=1.5),
    "power": preprocessing.PowerTransformer(),
    "quantiles": preprocessing.QuantileTransformer(n_quantiles=40),
    "quantiles, normal": preprocessing.QuantileTransformer(
        n_quantiles=40, output_distribution="normal"
    ),
    "bins": preprocessing.KBinsDiscretizer(4, encode="onehot-dense", quantile_method="linear"),
    "bins, then one-hot": make_pipeline(
        preprocessing.KBinsDiscretizer(4, encode="ordinal", quantile_method="linear"),
        preprocessing.OneHotEncoder(sparse_output=False),
    ),
    "polynomials": preprocessing.PolynomialFeatures(3, interaction_only=True),
    "splines": preprocessing.SplineTransformer(),
    "splines, linear": preprocessing.SplineTransformer(degree=1, extrapolation="linear"),
    "splines, no bias": preprocessing.SplineTransformer(include_bias=False, extrapolation="linear"),
    "splines, continued": preprocessing.SplineTransformer(extrapolation="continue"),
    "splines, periodic": preprocessing.SplineTransformer(extrapolation="periodic"),
    "components": decomposition.PCA(2, whiten=True),
    "singular values": decomposition.TruncatedSVD(2),
    "independent": decomposition.FastICA(2, random_state=0),
    "factors": decomposition.FactorAnalysis(2),
    "kernel components": decomposition.KernelPCA(3, kernel="rbf"),
    "Nystroem": kernel_approximation.Nystroem(n_components=10, random_state=0),
    "Fourier features": kernel_approximation.RBFSampler(n_components=8, random_state=0),
    "chosen": feature_selection.SelectKBest(k=2),
    "union": FeatureUnion(
        [("a", decomposition.PCA(2)), ("b", "passthrough"), ("c", "drop")],
        transformer_weights={"a": 2.5},
    ),
    "square root": preprocessing.FunctionTransformer(np.square),
    "cube root": preprocessing.FunctionTransformer(np.cbrt),
}
FILLERS = {
    "mean": impute.SimpleImputer(),
    "median, indicator": impute.SimpleImputer(strategy="median", add_indicator=True),
    "constant": impute.SimpleImputer(strategy="constant", fill_value=-9),
    "neighbours": impute.KNNImputer(n_neighbors=3),
    "in turn": impute.IterativeImputer(max_iter=3, random_state=0),
    "indicator": FeatureUnion(
        [("a", impute.SimpleImputer()), ("b", impute.MissingIndicator(error_on_new=False))]
    ),
}
UNSUPERVISED = {
    "k-means": cluster.KMeans(3, n_init=1, random_state=0),
    "bisecting": cluster.BisectingKMeans(4, random_state=0),
    "Birch": cluster.Birch(n_clusters=3, threshold=0.3),
    "mean shift": cluster.MeanShift(),
    "mixture": mixture.GaussianMixture(2, random_state=0),
    "mixture, diagonal": mixture.GaussianMixture(3, covariance_type="diag", random_state=0),
    "mixture, Bayes": mixture.BayesianGaussianMixture(n_components=2, random_state=0),
    "scaled mixture": _scaled(mixture.GaussianMixture(2, random_state=0)),
    "isolation": ensemble.IsolationForest(n_estimators=8, random_state=0),
    "local density": neighbors.LocalOutlierFactor(novelty=True),
    "one class": svm.OneClassSVM(nu=0.2),
    "one class, SGD": linear_model.SGDOneClassSVM(random_state=0),
    "ellipse": covariance.EllipticEnvelope(random_state=0),
}


def _cases():
    for name, model in CLASSIFIERS.items():
        yield pytest.param(model, _two, id=f"{name}, two classes")
        yield pytest.param(model, _words, id=f"{name}, three words")
    for name, model in CALIBRATED.items():
        for method in ("sigmoid", "isotonic", "temperature"):
            calibrated = CalibratedClassifierCV(model, method=method, cv=2)
            data = _two if method == "isotonic" else _three
            yield pytest.param(calibrated, data, id=f"calibrated {name}, {method}")
    whole = CalibratedClassifierCV(FOREST, cv=2, ensemble=False)
    yield pytest.param(whole, _three, id="calibrated, one for all")
    yield pytest.param(FixedThresholdClassifier(LR(), threshold=0.3), _two, id="fixed threshold")
    tuned = TunedThresholdClassifierCV(LR(), cv=2, random_state=0)
    yield pytest.param(tuned, _two, id="tuned threshold")
    for counts in (naive_bayes.MultinomialNB(), naive_bayes.ComplementNB(norm=True)):
        yield pytest.param(counts, _positive, id=type(counts).__name__)
    groups = (
        ("several numbers", SEVERAL, _numbers),
        ("labels", MULTILABEL, _many),
        ("number", REGRESSORS, _number),
        ("transformer", TRANSFORMERS, _three),
        ("filler", FILLERS, _holed),
        ("unsupervised", UNSUPERVISED, _three),
    )
    for title, models, data in groups:
        for name, model in models.items():
            yield pytest.param(model, data, id=f"{title}: {name}")
    for name, model in (TRANSFORMERS | FILLERS).items():
        data = _holed if name in FILLERS else _three
        yield pytest.param(_before(model), data, id=f"before a model: {name}")


def _asked(rows):
    """Return rows inside and outside of the training rows, with holes where these have some."""
    rng = np.random.default_rng(3)
    low, high = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
    beyond = (high - low) / 4
    asked = rng.uniform(low - beyond, high + beyond, (60, rows.shape[1]))
    if np.isnan(rows).any():
        asked[rng.random(asked.shape) < 0.2] = np.nan
    return asked


def _fitted(model, data) -> tuple[Pair, np.ndarray]:
    rows, target = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pair(model.fit(rows, target), rows), rows


@pytest.mark.parametrize(("model", "data"), _cases())
def test_answers_are_the_originals(model, data):
    """On its training rows, on others, and on one row alone, no answer differs but by rounding."""
    both, rows = _fitted(model, data)

    assert both.difference(rows) < LIMIT
    assert both.difference(_asked(rows)) < LIMIT
    assert both.difference(rows[:1]) < LIMIT
    assert both.predictor.predict(both.records(rows[:0])) == []


def test_training_rows_are_their_own_nearest_neighbours():
    """At distance 0 only the rows that are met count, as often as they occur."""
    rows = np.repeat(_rows()[:20], 2, axis=0)
    target = np.arange(40.0)
    model = neighbors.KNeighborsRegressor(3, weights="distance", algorithm="kd_tree")

    both = pair(model.fit(rows, target), rows)
    _, answers = both.answers(rows)

    np.testing.assert_array_equal(answers["value"].ravel(), np.repeat(target[::2] + 0.5, 2))


def test_isotonic_regression_alone():
    """A model of one column takes it as a table of one column."""
    rows, target = _number()
    model = isotonic.IsotonicRegression(out_of_bounds="clip").fit(rows[:, 0], target)

    both = pair(model, rows[:, :1])

    assert both.difference(_asked(rows[:, :1])) < LIMIT


def test_small_probabilities_keep_their_digits():
    """Scores of -800 in each class have a largest one, which sums and shares must not lose."""
    rows, target = _three()
    model = linear_model.SGDClassifier(loss="log_loss", random_state=0).fit(rows, target)
    model.intercept_ -= 1000 + model.decision_function(rows).max()

    both = pair(model, rows)

    assert (model.decision_function(rows) < -700).all(axis=1).any()
    assert both.difference(rows) < 1e-8


STEPPED = {
    "log": _before(preprocessing.FunctionTransformer(np.log)),
    "log, scaled first": make_pipeline(
        preprocessing.FunctionTransformer(np.log), preprocessing.StandardScaler(), svm.SVC()
    ),
    "reciprocal": _before(preprocessing.FunctionTransformer(np.reciprocal)),
    "box-cox": make_pipeline(preprocessing.PowerTransformer("box-cox"), LR()),
    "exp": make_pipeline(preprocessing.FunctionTransformer(np.exp), decomposition.PCA(2), LR()),
    "a forest takes missing values": make_pipeline(
        preprocessing.FunctionTransformer(np.log), FOREST
    ),
    "boosting takes anything": make_pipeline(
        preprocessing.FunctionTransformer(np.log),
        ensemble.HistGradientBoostingClassifier(max_iter=3),
    ),
}


@pytest.mark.parametrize("kind", STEPPED)
@pytest.mark.parametrize("value", [-1.0, 0.0, 800.0])
def test_what_the_original_cannot_compute_is_refused(kind, value):
    """Where a logarithm or a power is not finite, both answer the same, or neither answers."""
    both, rows = _fitted(STEPPED[kind], _positive)
    odd = rows[:2].copy()
    odd[1, 1] = value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            both.original.answer(frame_of(odd))
    except ValueError:
        with pytest.raises(InputError, match="takes finite numbers only"):
            both.predictor.predict(both.records(odd))
    else:
        assert both.difference(odd) < LIMIT


class Louder(preprocessing.StandardScaler):
    """A scaler with an idea of its own."""

    def transform(self, X, copy=None):  # noqa: N803
        """Return twice what a scaler returns."""
        return 2 * super().transform(X, copy)


def _doubled(values):
    return 2 * values


REFUSED = {
    "GaussianProcessClassifier.*Laplace": gaussian_process.GaussianProcessClassifier(),
    "'functiontransformer'.*'_doubled' is Python code": _before(
        preprocessing.FunctionTransformer(_doubled)
    ),
    "its function takes arguments: decimals": _before(
        preprocessing.FunctionTransformer(np.round, kw_args={"decimals": 1})
    ),
    "'louder' .Louder.*StandardScaler with Python code of its own": _before(Louder()),
    "its weights are a Python function": neighbors.KNeighborsClassifier(weights=_doubled),
    "its metric is 'braycurtis'": neighbors.KNeighborsClassifier(metric="braycurtis"),
    "give it outlier_label": neighbors.RadiusNeighborsClassifier(2.0),
    "its kernel is 'a function'": svm.SVC(kernel=lambda a, b: a @ b.T),
    "'nmf' .NMF.*optimisation": make_pipeline(decomposition.NMF(2, max_iter=500), LR()),
    "draws at random": dummy.DummyClassifier(strategy="uniform"),
    "sample_posterior": _before(impute.IterativeImputer(sample_posterior=True, max_iter=2)),
    "refuses values beyond its knots": _before(
        preprocessing.SplineTransformer(extrapolation="error")
    ),
    "neither predict nor transform": neighbors.KernelDensity(),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_onnx_cannot_say_is_refused_by_name(reason):
    """The message names the step and the reason; the hint says what to do."""
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        _fitted(REFUSED[reason], _positive)
    assert caught.value.hint


def test_isotonic_regression_that_refuses_is_refused():
    """The default of isotonic regression raises beyond its range, which ONNX cannot do."""
    rows, target = _number()
    model = isotonic.IsotonicRegression(out_of_bounds="raise").fit(rows[:, 0], target)

    with pytest.raises(UnsupportedModelError, match="refuses numbers beyond its range"):
        pair(model, rows[:, :1])
