"""scikit-learn's model kinds, fitted small."""

from collections.abc import Callable, Iterator
from typing import Any

import data
import numpy as np
from sklearn import (
    calibration,
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
    linear_model,
    mixture,
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
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - it is imported by name

Kind = tuple[str, Callable[[], tuple[Any, Any]]]
"""A name, and a call that returns the fitted model and the features it was fitted on."""


def _fit(model: Any, source: tuple[Any, Any]) -> Callable[[], tuple[Any, Any]]:
    rows, target = source
    return lambda: (model.fit(rows, target), rows)


def linear() -> Iterator[Kind]:
    """Yield linear models."""
    two, three, flat = data.cancer(), data.classes(), data.diabetes()
    lm = linear_model
    yield "logistic regression, two classes", _fit(_scaled(lm.LogisticRegression()), two)
    yield "logistic regression, unscaled", _fit(lm.LogisticRegression(max_iter=5000), two)
    yield "logistic regression, three classes", _fit(lm.LogisticRegression(), three)
    yield (
        "logistic regression, string labels",
        _fit(lm.LogisticRegression(), (three[0], np.array(["rot", "grün", "blau"])[three[1]])),
    )
    yield (
        "logistic regression, boolean labels",
        _fit(_scaled(lm.LogisticRegression()), (two[0], two[1].astype(bool))),
    )
    yield "logistic regression CV", _fit(_scaled(lm.LogisticRegressionCV(cv=3)), two)
    yield "SGD, log loss", _fit(_scaled(lm.SGDClassifier(loss="log_loss")), two)
    yield "SGD, modified Huber", _fit(_scaled(lm.SGDClassifier(loss="modified_huber")), three)
    yield "SGD, hinge", _fit(_scaled(lm.SGDClassifier()), three)
    yield "perceptron", _fit(_scaled(lm.Perceptron()), three)
    yield "passive aggressive", _fit(_scaled(lm.PassiveAggressiveClassifier()), three)
    yield "ridge classifier", _fit(lm.RidgeClassifier(), three)
    for model in (
        lm.LinearRegression(), lm.Ridge(), lm.RidgeCV(), lm.Lasso(), lm.ElasticNet(),
        lm.BayesianRidge(), lm.ARDRegression(), lm.HuberRegressor(), lm.TheilSenRegressor(
            max_subpopulation=100, random_state=0), lm.RANSACRegressor(random_state=0),
        lm.QuantileRegressor(), lm.SGDRegressor(), lm.Lars(), lm.OrthogonalMatchingPursuit(),
    ):  # fmt: skip
        yield type(model).__name__, _fit(model, flat)
    for model in (lm.PoissonRegressor(), lm.GammaRegressor(), lm.TweedieRegressor(power=1.5)):
        yield type(model).__name__, _fit(_scaled(model), data.counts())
    yield "multi-task lasso", _fit(lm.MultiTaskLasso(), data.numbers(3))
    yield "linear regression, three targets", _fit(lm.LinearRegression(), data.numbers(3))
    yield "PLS regression", _fit(cross_decomposition.PLSRegression(4), data.numbers())
    yield (
        "isotonic regression",
        _fit(isotonic.IsotonicRegression(out_of_bounds="clip"), (flat[0][:, 2], flat[1])),
    )


def _scaled(model: Any, scaler: Any = None) -> Any:
    return pipeline.make_pipeline(scaler or preprocessing.StandardScaler(), model)


def trees() -> Iterator[Kind]:
    """Yield trees and their ensembles."""
    two, three, flat = data.cancer(), data.classes(), data.numbers()
    yield "decision tree", _fit(tree.DecisionTreeClassifier(random_state=0), two)
    yield "decision tree, one leaf", _fit(tree.DecisionTreeClassifier(max_depth=1), two)
    yield "decision tree regressor", _fit(tree.DecisionTreeRegressor(random_state=0), flat)
    yield "extra tree", _fit(tree.ExtraTreeClassifier(random_state=0), three)
    yield "random forest, two classes", _fit(_forest(), two)
    yield "random forest, three classes", _fit(_forest(), three)
    yield "random forest, ten classes", _fit(_forest(), data.digits())
    yield "random forest, missing values", _fit(_forest(), data.holed())
    yield "random forest, balanced", _fit(_forest(class_weight="balanced"), three)
    yield (
        "random forest regressor",
        _fit(ensemble.RandomForestRegressor(30, random_state=0, n_jobs=1), flat),
    )
    yield (
        "random forest, three targets",
        _fit(ensemble.RandomForestRegressor(20, random_state=0), data.numbers(3)),
    )
    labels = np.c_[three[1] > 0, three[1] > 1].astype(int)
    yield "random forest, multilabel", _fit(_forest(), (three[0], labels))
    yield "extra trees", _fit(ensemble.ExtraTreesClassifier(30, random_state=0), three)
    yield "extra trees regressor", _fit(ensemble.ExtraTreesRegressor(20, random_state=0), flat)
    yield "scaler, random forest", _fit(_scaled(_forest()), three)
    gb = ensemble.GradientBoostingClassifier
    yield "gradient boosting, two classes", _fit(gb(n_estimators=50), two)
    yield "gradient boosting, three classes", _fit(gb(n_estimators=30), three)
    yield "gradient boosting, exponential loss", _fit(gb(loss="exponential", n_estimators=30), two)
    yield "gradient boosting, init zero", _fit(gb(init="zero", n_estimators=30), two)
    for loss in ("squared_error", "huber", "quantile"):
        model = ensemble.GradientBoostingRegressor(loss=loss, n_estimators=40)
        yield f"gradient boosting regressor, {loss}", _fit(model, flat)
    yield "scaler, gradient boosting", _fit(_scaled(gb(n_estimators=40)), two)
    hist = ensemble.HistGradientBoostingClassifier
    yield "histogram boosting, two classes", _fit(hist(max_iter=40), two)
    yield "histogram boosting, three classes", _fit(hist(max_iter=30), three)
    yield "histogram boosting, missing values", _fit(hist(max_iter=30), data.holed())
    codes = np.c_[np.arange(1500) * 7 % 11, three[0]]
    yield (
        "histogram boosting, categorical codes",
        _fit(hist(max_iter=30, categorical_features=[0]), (codes, three[1])),
    )
    for loss, source in (
        ("squared_error", flat), ("poisson", data.counts()), ("gamma", data.counts()),
        ("quantile", flat),
    ):  # fmt: skip
        extra = {"quantile": 0.9} if loss == "quantile" else {}
        model = ensemble.HistGradientBoostingRegressor(loss=loss, max_iter=30, **extra)
        yield f"histogram boosting regressor, {loss}", _fit(model, source)
    yield "scaler, histogram boosting", _fit(_scaled(hist(max_iter=30)), two)
    yield "isolation forest", lambda: (
        ensemble.IsolationForest(n_estimators=30, random_state=0).fit(three[0]), three[0]
    )  # fmt: skip


def _forest(**more: Any) -> Any:
    return ensemble.RandomForestClassifier(30, random_state=0, **more)


def ensembles() -> Iterator[Kind]:
    """Yield models made of models."""
    two, three, flat = data.cancer(), data.classes(), data.numbers()
    logistic = _scaled(linear_model.LogisticRegression())
    members = [("a", logistic), ("b", tree.DecisionTreeClassifier(max_depth=4)),
               ("c", naive_bayes.GaussianNB())]  # fmt: skip
    regressors = [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=5))]
    yield "AdaBoost", _fit(ensemble.AdaBoostClassifier(n_estimators=20), two)
    yield "AdaBoost, three classes", _fit(ensemble.AdaBoostClassifier(n_estimators=20), three)
    yield "AdaBoost regressor", _fit(ensemble.AdaBoostRegressor(n_estimators=15), flat)
    yield "bagging", _fit(ensemble.BaggingClassifier(random_state=0), three)
    yield "bagging regressor", _fit(ensemble.BaggingRegressor(random_state=0), flat)
    yield "voting, soft", _fit(ensemble.VotingClassifier(members, voting="soft"), two)
    yield "voting, hard", _fit(ensemble.VotingClassifier(members), three)
    yield "voting regressor", _fit(ensemble.VotingRegressor(regressors), flat)
    yield "stacking", _fit(ensemble.StackingClassifier(members, cv=3), two)
    yield (
        "stacking, passthrough",
        _fit(ensemble.StackingClassifier(members, cv=3, passthrough=True), three),
    )
    yield "stacking regressor", _fit(ensemble.StackingRegressor(regressors, cv=3), flat)
    calibrated = calibration.CalibratedClassifierCV
    yield "calibrated, sigmoid", _fit(calibrated(naive_bayes.GaussianNB(), cv=3), two)
    yield (
        "calibrated, isotonic",
        _fit(calibrated(naive_bayes.GaussianNB(), cv=3, method="isotonic"), three),
    )
    yield (
        "calibrated, temperature",
        _fit(calibrated(linear_model.LogisticRegression(), cv=3, method="temperature"), three),
    )
    yield "calibrated linear SVC", _fit(calibrated(svm.LinearSVC(), cv=3), three)
    yield "calibrated pipeline", _fit(calibrated(logistic, cv=3), two)
    yield "calibrated forest", _fit(calibrated(_forest(), cv=3, method="isotonic"), two)
    yield "tuned threshold", _fit(model_selection.TunedThresholdClassifierCV(logistic, cv=3), two)
    yield (
        "fixed threshold",
        _fit(model_selection.FixedThresholdClassifier(logistic, threshold=0.3), two),
    )
    yield "one against the rest", _fit(multiclass.OneVsRestClassifier(svm.LinearSVC()), three)
    yield (
        "one against one",
        _fit(multiclass.OneVsOneClassifier(linear_model.LogisticRegression()), three),
    )
    yield (
        "output code",
        _fit(
            multiclass.OutputCodeClassifier(linear_model.LogisticRegression(), random_state=0),
            three,
        ),
    )
    yield (
        "multi-output regressor",
        _fit(
            multioutput.MultiOutputRegressor(ensemble.GradientBoostingRegressor(n_estimators=10)),
            data.numbers(3),
        ),
    )
    labels = np.c_[three[1] > 0, three[1] > 1].astype(int)
    yield (
        "multi-output classifier",
        _fit(
            multioutput.MultiOutputClassifier(linear_model.LogisticRegression()), (three[0], labels)
        ),
    )
    yield (
        "classifier chain",
        _fit(multioutput.ClassifierChain(linear_model.LogisticRegression()), (three[0], labels)),
    )
    yield "regressor chain", _fit(multioutput.RegressorChain(linear_model.Ridge()), data.numbers(3))
    yield (
        "grid search",
        _fit(
            model_selection.GridSearchCV(tree.DecisionTreeClassifier(), {"max_depth": [2, 4]}),
            three,
        ),
    )
    yield (
        "target transformer, log1p",
        _fit(
            compose.TransformedTargetRegressor(
                linear_model.LinearRegression(), func=np.log1p, inverse_func=np.expm1
            ),
            data.counts(),
        ),
    )
    yield (
        "target transformer, scaler",
        _fit(
            compose.TransformedTargetRegressor(
                linear_model.Ridge(), transformer=preprocessing.StandardScaler()
            ),
            flat,
        ),
    )
    yield "dummy", _fit(dummy.DummyClassifier(), three)


def others() -> Iterator[Kind]:
    """Yield kernels, neighbours, Bayes, networks, clusters, outliers, mixtures."""
    two, three, flat, small = data.cancer(), data.classes(), data.diabetes(), data.wine()
    yield "SVC with probabilities", _fit(_scaled(svm.SVC(probability=True)), two)
    yield "SVC", _fit(_scaled(svm.SVC()), small)
    yield "SVC, linear kernel", _fit(_scaled(svm.SVC(kernel="linear")), small)
    yield "SVC, polynomial kernel", _fit(_scaled(svm.SVC(kernel="poly")), small)
    yield "NuSVC", _fit(_scaled(svm.NuSVC()), data.iris())
    yield "linear SVC", _fit(svm.LinearSVC(), three)
    yield "SVR", _fit(_scaled(svm.SVR(C=50)), flat)
    yield "linear SVR", _fit(_scaled(svm.LinearSVR()), flat)
    yield "one-class SVM", lambda: (svm.OneClassSVM().fit(small[0]), small[0])
    knn, knr = neighbors.KNeighborsClassifier, neighbors.KNeighborsRegressor
    yield "nearest neighbours", _fit(_scaled(knn()), small)
    yield "nearest neighbours, by distance", _fit(_scaled(knn(weights="distance")), small)
    yield "nearest neighbours regressor", _fit(knr(), flat)
    yield "nearest neighbours regressor, by distance", _fit(knr(weights="distance"), flat)
    yield "nearest neighbours, Manhattan", _fit(knn(metric="manhattan"), small)
    yield "nearest centroid", _fit(neighbors.NearestCentroid(), small)
    yield "local outlier factor", lambda: (
        neighbors.LocalOutlierFactor(novelty=True).fit(small[0]), small[0]
    )  # fmt: skip
    yield "Gaussian naive Bayes", _fit(naive_bayes.GaussianNB(), small)
    yield "Bernoulli naive Bayes", _fit(naive_bayes.BernoulliNB(binarize=8), data.digits())
    yield "multinomial naive Bayes", _fit(naive_bayes.MultinomialNB(), data.digits())
    yield "complement naive Bayes", _fit(naive_bayes.ComplementNB(), data.digits())
    yield (
        "categorical naive Bayes",
        _fit(
            naive_bayes.CategoricalNB(min_categories=17),
            (data.digits()[0].astype(int), data.digits()[1]),
        ),
    )
    yield "network", _fit(_scaled(neural_network.MLPClassifier((32,), max_iter=100)), three)
    yield (
        "network, tanh, two classes",
        _fit(_scaled(neural_network.MLPClassifier((16, 8), activation="tanh", max_iter=100)), two),
    )
    yield (
        "network regressor",
        _fit(
            _scaled(neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=200)),
            data.numbers(),
        ),
    )
    yield "linear discriminant", _fit(discriminant_analysis.LinearDiscriminantAnalysis(), small)
    yield (
        "quadratic discriminant",
        _fit(discriminant_analysis.QuadraticDiscriminantAnalysis(), small),
    )
    yield "Gaussian process regressor", _fit(
        gaussian_process.GaussianProcessRegressor(
            gaussian_process.kernels.RBF(1.0), alpha=0.1
        ), flat
    )  # fmt: skip
    yield (
        "Gaussian process classifier",
        _fit(gaussian_process.GaussianProcessClassifier(), (two[0][:80, :5], two[1][:80])),
    )
    yield "k-means", lambda: (cluster.KMeans(4, n_init=2, random_state=0).fit(small[0]), small[0])
    yield "mini-batch k-means", lambda: (
        cluster.MiniBatchKMeans(4, n_init=2, random_state=0).fit(small[0]), small[0]
    )  # fmt: skip
    yield "Gaussian mixture", lambda: (
        mixture.GaussianMixture(3, random_state=0).fit(small[0]), small[0]
    )  # fmt: skip
    yield "elliptic envelope", lambda: (
        covariance.EllipticEnvelope(random_state=0).fit(small[0]), small[0]
    )  # fmt: skip


def preparations() -> Iterator[Kind]:
    """Yield transformers in front of a model, and alone."""
    two, flat, three = data.cancer(), data.diabetes(), data.classes()
    p, logistic = preprocessing, linear_model.LogisticRegression
    for step in (
        p.MinMaxScaler(), p.MaxAbsScaler(), p.RobustScaler(), p.Normalizer(), p.Binarizer(),
        p.PowerTransformer(), p.QuantileTransformer(n_quantiles=50), p.KBinsDiscretizer(5),
        p.SplineTransformer(), decomposition.PCA(5), decomposition.TruncatedSVD(5),
        decomposition.FastICA(5, random_state=0), decomposition.KernelPCA(4),
        feature_selection.SelectKBest(k=5), feature_selection.VarianceThreshold(),
        feature_selection.SelectFromModel(tree.DecisionTreeClassifier(random_state=0)),
        feature_selection.RFE(logistic(max_iter=300), n_features_to_select=5),
        random_projection.GaussianRandomProjection(5, random_state=0),
        kernel_approximation.Nystroem(n_components=20, random_state=0),
        kernel_approximation.RBFSampler(n_components=20, random_state=0),
    ):  # fmt: skip
        yield (
            f"{type(step).__name__}, logistic regression",
            _fit(pipeline.make_pipeline(p.StandardScaler(), step, logistic(max_iter=500)), three),
        )
    yield (
        "polynomial features, ridge",
        _fit(pipeline.make_pipeline(p.PolynomialFeatures(2), linear_model.Ridge()), flat),
    )
    for function in (np.log1p, np.sqrt, np.abs, None):
        name = getattr(function, "__name__", "identity")
        yield (
            f"function transformer, {name}",
            _fit(
                pipeline.make_pipeline(
                    p.MinMaxScaler(), p.FunctionTransformer(function), logistic()
                ),
                two,
            ),
        )
    yield (
        "feature union",
        _fit(
            pipeline.make_pipeline(
                pipeline.make_union(decomposition.PCA(3), p.StandardScaler()),
                logistic(max_iter=500),
            ),
            two,
        ),
    )
    for filler in (
        impute.SimpleImputer(), impute.SimpleImputer(strategy="median", add_indicator=True),
        impute.SimpleImputer(strategy="constant", fill_value=-1), impute.KNNImputer(),
        impute.IterativeImputer() if hasattr(impute, "IterativeImputer") else None,
    ):  # fmt: skip
        if filler is not None:
            extra = ", indicator" if getattr(filler, "add_indicator", False) else ""
            named = f", {filler.strategy}" if hasattr(filler, "strategy") else ""
            yield (
                f"{type(filler).__name__}{named}{extra}, logistic regression",
                _fit(pipeline.make_pipeline(filler, logistic(max_iter=500)), data.holed()),
            )
    yield "PCA alone", lambda: (decomposition.PCA(5).fit(two[0]), two[0])
    yield "scaler alone", lambda: (p.StandardScaler().fit(two[0]), two[0])


def tables() -> Iterator[Kind]:
    """Yield column transformers over text, numbers and holes."""
    whole, holes = data.table(), data.holed_table()
    p, logistic = preprocessing, linear_model.LogisticRegression(max_iter=2000)
    hist = ensemble.HistGradientBoostingClassifier(max_iter=30)
    one_hot = p.OneHotEncoder
    unknown = p.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)

    def columns(text: Any, number: Any = None) -> Any:
        return compose.make_column_transformer(
            (text, ["city", "plan"]),
            (number or p.StandardScaler(), ["age (years)", "income", "score"]),
            ("passthrough", ["member"]),
        )

    def piped(*steps: Any) -> Any:
        return pipeline.make_pipeline(*steps)

    filled = piped(impute.SimpleImputer(), p.StandardScaler())
    most = impute.SimpleImputer(strategy="most_frequent")
    ignoring = one_hot(handle_unknown="ignore")
    yield "one-hot, logistic regression", _fit(piped(columns(ignoring), logistic), whole)
    yield "one-hot (errors), logistic regression", _fit(piped(columns(one_hot()), logistic), whole)
    yield (
        "one-hot (infrequent), logistic regression",
        _fit(
            piped(
                columns(one_hot(min_frequency=100, handle_unknown="infrequent_if_exist")), logistic
            ),
            whole,
        ),
    )
    yield (
        "one-hot (drop first), logistic regression",
        _fit(piped(columns(one_hot(drop="first")), logistic), whole),
    )
    yield "one-hot, random forest", _fit(piped(columns(ignoring), _forest()), whole)
    yield (
        "one-hot, gradient boosting, string labels",
        _fit(
            piped(columns(ignoring), ensemble.GradientBoostingClassifier(n_estimators=30)),
            (whole[0], np.array(["nein", "ja"])[whole[1]]),
        ),
    )
    yield "ordinal, random forest", _fit(piped(columns(unknown), _forest()), whole)
    yield (
        "ordinal (errors), random forest",
        _fit(piped(columns(p.OrdinalEncoder()), _forest()), whole),
    )
    yield "ordinal, histogram boosting", _fit(piped(columns(unknown), hist), whole)
    yield (
        "target encoder, logistic regression",
        _fit(piped(columns(p.TargetEncoder(random_state=0)), logistic), whole),
    )
    yield (
        "string imputer, one-hot",
        _fit(piped(columns(piped(most, ignoring), filled), logistic), holes),
    )
    yield (
        "string imputer (constant), one-hot",
        _fit(
            piped(
                columns(
                    piped(impute.SimpleImputer(strategy="constant", fill_value="?"), ignoring),
                    filled,
                ),
                logistic,
            ),
            holes,
        ),
    )
    yield "missing text as a category", _fit(piped(columns(ignoring, filled), logistic), holes)
    yield (
        "ordinal, missing values, histogram boosting",
        _fit(
            piped(
                columns(
                    p.OrdinalEncoder(
                        handle_unknown="use_encoded_value",
                        unknown_value=-1,
                        encoded_missing_value=-2,
                    ),
                    "passthrough",
                ),
                hist,
            ),
            holes,
        ),
    )
    yield (
        "one-hot, network",
        _fit(piped(columns(ignoring), neural_network.MLPClassifier((16,), max_iter=80)), whole),
    )
    yield "one-hot, SVC", _fit(piped(columns(ignoring), svm.SVC(probability=True)), whole)
    yield (
        "one-hot, calibrated",
        _fit(piped(columns(ignoring), calibration.CalibratedClassifierCV(_forest(), cv=3)), whole),
    )
    frame = whole[0].assign(city=whole[0]["city"].astype("category"))
    yield "category dtype, one-hot", _fit(piped(columns(ignoring), logistic), (frame, whole[1]))
    kinds = whole[0].assign(
        city=whole[0]["city"].astype("category"), plan=whole[0]["plan"].astype("category")
    )
    yield (
        "histogram boosting, categories from dtype",
        _fit(ensemble.HistGradientBoostingClassifier(max_iter=30), (kinds, whole[1])),
    )
