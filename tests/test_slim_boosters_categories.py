"""Boosters that know columns by categories get them as callers send them: as text, or numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from boosters_cases import compared

from fnmodel.errors import InputError, UnsupportedModelError
from fnmodel.slim.readers.boosters import category_maps, feature_names, served
from fnmodel.slim.trees import categories
from fnmodel.slim.trees.cityhash import category

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")
cb = pytest.importorskip("catboost")

CITIES = ["Köln", "東京", "x", "y", "it's", "b,c"]
ROWS = 600
XGB: dict[str, Any] = {"n_estimators": 12, "max_depth": 4, "n_jobs": 1, "enable_categorical": True}
LGB: dict[str, Any] = {
    "n_estimators": 12, "num_leaves": 12, "n_jobs": 1, "verbose": -1, "min_data_per_group": 5,
}  # fmt: skip
CAT: dict[str, Any] = {
    "iterations": 25, "depth": 5, "verbose": 0, "allow_writing_files": False, "thread_count": 1,
}  # fmt: skip
COMBINED: dict[str, Any] = {
    "simple_ctr": ["Borders", "Buckets", "BinarizedTargetMeanValue", "Counter"],
    "combinations_ctr": ["Borders", "Buckets", "BinarizedTargetMeanValue", "Counter"],
    "one_hot_max_size": 2,
    "max_ctr_complexity": 3,
}


def _plain(seed: int = 0) -> Any:
    """Return what callers send: text, whole numbers, numbers."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a b": random.normal(size=ROWS),
            "city": random.choice(np.array(CITIES, dtype=object), ROWS),
            "k": random.integers(10, 16, ROWS),
            "c": random.normal(size=ROWS),
        }
    )


PLAIN = _plain()
TYPED = PLAIN.assign(city=pd.Categorical(PLAIN.city), k=pd.Categorical(PLAIN.k))
TWO = (PLAIN.city.isin(["x", "東京"]) ^ (PLAIN.k % 2 == 0) ^ (PLAIN["a b"] > 0)).astype(int)
THREE = TWO + (PLAIN.c > 1)


def _asked(*, holes: bool) -> Any:
    """Return rows with categories that nobody saw, and with missing ones."""
    random = np.random.default_rng(7)
    rows = _plain(1)
    rows.loc[random.integers(0, ROWS, 60), "city"] = "unseen ☃"
    rows.loc[random.integers(0, ROWS, 60), "k"] = 99
    if holes:
        rows["k"] = rows["k"].astype(float)
        rows.loc[random.integers(0, ROWS, 60), "k"] = np.nan
        rows.loc[random.integers(0, ROWS, 60), "city"] = None
        rows.loc[random.integers(0, ROWS, 60), "c"] = np.nan
    return rows


@pytest.mark.parametrize("holes", [False, True], ids=["full", "holes"])
@pytest.mark.parametrize("frame", [TYPED, PLAIN], ids=["parquet", "csv"])
@pytest.mark.parametrize("onehot", [1, 50])
def test_xgboost_takes_its_categories_as_text(
    onehot: int, frame: Any, holes: bool, tmp_path: Path
) -> None:
    """Text beyond ASCII and missing categories too; whole numbers stay numbers."""
    model = xgb.XGBClassifier(max_cat_to_onehot=onehot, **XGB).fit(TYPED, THREE)
    rows = _asked(holes=holes)
    learned = (rows.city.isin(CITIES) | rows.city.isna()) & (rows.k.isin(PLAIN.k) | rows.k.isna())

    found = compared(model, frame, rows[learned].reset_index(drop=True), tmp_path)

    assert found.far < 1e-6
    assert found.flips == 0
    by_name = {feature.name: feature for feature in found.signature.features}
    assert sorted(by_name["city"].categories) == sorted(CITIES)
    assert by_name["k"].datatype == ("FP64" if holes else "INT64")
    assert by_name["city"].closed
    assert by_name["k"].closed


@pytest.mark.parametrize("holes", [False, True], ids=["full", "holes"])
@pytest.mark.parametrize("frame", [TYPED, PLAIN], ids=["parquet", "csv"])
def test_lightgbm_takes_its_categories_as_text(frame: Any, holes: bool, tmp_path: Path) -> None:
    """The columns keep the caller's names, blanks and all."""
    model = lgb.LGBMClassifier(**LGB).fit(TYPED, THREE)

    found = compared(model, frame, _asked(holes=holes), tmp_path)

    assert found.far < 1e-14
    assert found.flips == 0
    assert [feature.name for feature in found.signature.features] == list(PLAIN.columns)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"one_hot_max_size": 20},
        COMBINED,
        {"nan_mode": "Max", **COMBINED},
        {"grow_policy": "Lossguide"},
    ],
    ids=["default", "one-hot", "combined", "combined, max", "lossguide"],
)
def test_catboost_takes_its_categories_as_text(more: dict[str, Any], tmp_path: Path) -> None:
    """What it counts for categories and their combinations is in the graph, to the last bit."""
    rows = _asked(holes=False)
    rows["c"] = rows["c"].mask(rows.index % 9 == 0)
    plain = PLAIN.assign(c=PLAIN.c.mask(PLAIN.index % 7 == 0))
    model = cb.CatBoostClassifier(**CAT, **more).fit(plain, THREE, cat_features=["city", "k"])

    found = compared(model, plain, rows, tmp_path)

    assert found.far < 1e-14
    assert found.flips == 0


def test_catboost_combines_categories_with_each_other_and_with_splits() -> None:
    """The cases above are about combinations of all three kinds."""
    random = np.random.default_rng(0)
    letters = {name: random.choice(list("abcdef"), 600) for name in "pq"}
    rows = pd.DataFrame({**letters, "c": random.normal(size=600), "b": random.integers(0, 2, 600)})
    together = (rows.p.map(ord) * 7 + rows.q.map(ord) * 3) % 5 > 2
    model = cb.CatBoostClassifier(**{**CAT, "iterations": 40}, **COMBINED).fit(
        rows, (together ^ (rows.b > 0)).astype(int), cat_features=["p", "q", "b"]
    )
    read = categories.read(model)
    assert read is not None
    projections = [table.projection for table in read.counted]

    assert any(len(projection.categories) > 1 for projection in projections)
    assert any(projection.above for projection in projections)
    assert any(projection.equal for projection in projections)


@pytest.mark.parametrize("kind", ["value", "rank", "only categories", "booleans"])
def test_other_catboost_models_with_categories(kind: str, tmp_path: Path) -> None:
    """Regression, ranking, no number at all, and categories that are true or false."""
    plain, rows = PLAIN, _asked(holes=False)
    if kind == "value":
        model = cb.CatBoostRegressor(**CAT).fit(plain, THREE + plain.c, cat_features=["city", "k"])
    elif kind == "rank":
        group = np.repeat(np.arange(12), ROWS // 12)
        pool = cb.Pool(plain, TWO, cat_features=["city", "k"], group_id=group)
        model = cb.CatBoostRanker(**CAT).fit(pool)
    elif kind == "only categories":
        plain, rows = plain[["city", "k"]], rows[["city", "k"]]
        model = cb.CatBoostClassifier(**CAT).fit(plain, TWO, cat_features=[0, 1])
    else:
        plain, rows = plain.assign(b=plain.c > 0), rows.assign(b=rows.c > 0)
        model = cb.CatBoostClassifier(**CAT).fit(plain, TWO, cat_features=["city", "k", "b"])

    found = compared(model, plain, rows, tmp_path)

    assert found.far < 1e-14
    assert found.flips == 0


def test_categories_that_the_sample_lacks_are_not_let_in(tmp_path: Path) -> None:
    """CatBoost keeps hashes only, so a text that the sample lacks might be one it knows."""
    model = cb.CatBoostClassifier(**CAT).fit(PLAIN, TWO, cat_features=["city", "k"])
    part = PLAIN[PLAIN.city != "x"]

    found = compared(model, part, part.head(50), tmp_path / "known")
    assert found.far < 1e-14
    city = found.signature.features[1]
    assert "x" not in city.categories
    assert city.closed
    with pytest.raises(InputError, match="city"):
        compared(model, part, PLAIN[PLAIN.city == "x"].head(1), tmp_path / "other")


def test_xgboost_fails_on_an_unseen_text_and_answers_a_missing_one() -> None:
    """What stands for it here does what its own frame does."""
    words = PLAIN.assign(city=PLAIN.city.map(dict(zip(CITIES, "abcdef", strict=True))))
    typed = words.assign(city=pd.Categorical(words.city), k=pd.Categorical(words.k))
    model = xgb.XGBRegressor(max_cat_to_onehot=1, **XGB).fit(typed, THREE)
    ready, plain = served(model, typed)
    unseen = typed.assign(city=pd.Categorical(["zzz"] * ROWS, categories=["a", "zzz"]))
    missing = typed.assign(city=pd.Categorical([None] * ROWS, categories=list("abcdef")))

    for ask in (lambda: ready.predict(plain.assign(city="zzz")), lambda: model.predict(unseen)):
        with pytest.raises(ValueError, match="in the training"):
            ask()
    assert np.array_equal(ready.predict(plain.assign(city=None)), model.predict(missing))
    assert np.array_equal(ready.predict(plain), model.predict(typed))


def test_lightgbm_answers_alike_through_its_own_frame() -> None:
    """What is asked of the original is what its own frame with categories gives."""
    model = lgb.LGBMRegressor(**LGB).fit(TYPED, THREE)
    ready, plain = served(model, PLAIN)

    assert np.array_equal(ready.predict(plain), model.predict(TYPED))


def test_category_maps_come_in_the_order_of_the_codes() -> None:
    """Text sorted as pandas sorts it, numbers as numbers, an order as it was given."""
    ordered = TYPED.assign(
        city=pd.Categorical(PLAIN.city, categories=CITIES[::-1], ordered=True),
        half=pd.Categorical(PLAIN.c > 0),
    )
    model = lgb.LGBMRegressor(**LGB).fit(ordered, THREE)

    assert category_maps(model, ordered) == {
        "city": tuple(CITIES[::-1]),
        "k": (10, 11, 12, 13, 14, 15),
        "half": (0, 1),
    }


def test_lightgbm_says_when_it_cannot_tell_the_columns() -> None:
    """It names ordered columns nowhere, and numbers do not tell that they were categories."""
    ordered = TYPED.assign(k=pd.Categorical(PLAIN.k, ordered=True))
    model = lgb.LGBMRegressor(**LGB).fit(ordered, THREE)

    with pytest.raises(UnsupportedModelError, match="2 columns by categories"):
        category_maps(model, PLAIN)
    assert set(category_maps(model, ordered)) == {"city", "k"}


def test_xgboost_keeps_ascii_texts_itself() -> None:
    """No frame is needed for these."""
    frame = pd.DataFrame({"s": pd.Categorical(["a", "bb", "c c"] * 40), "x": np.arange(120.0)})
    model = xgb.XGBRegressor(**XGB).fit(frame, np.arange(120) % 3)

    assert category_maps(model) == {"s": ("a", "bb", "c c")}


def test_xgboost_says_when_it_kept_a_text_wrongly() -> None:
    """Letters beyond ASCII are cut in its file; a sample without all of them does not help."""
    model = xgb.XGBRegressor(**XGB).fit(TYPED, THREE)

    with pytest.raises(UnsupportedModelError, match="'city'"):
        category_maps(model)
    with pytest.raises(UnsupportedModelError, match="'city'"):
        category_maps(model, PLAIN[PLAIN.city != "東京"])


def test_catboost_says_that_it_needs_rows() -> None:
    """Hashes cannot be turned back into texts."""
    model = cb.CatBoostClassifier(**CAT).fit(PLAIN, TWO, cat_features=["city", "k"])

    with pytest.raises(UnsupportedModelError, match="rows are needed"):
        category_maps(model)


def test_models_without_categories_have_no_maps() -> None:
    """A column of codes is a column of numbers."""
    numbers = PLAIN[["k", "c"]]
    model = lgb.LGBMRegressor(**LGB).fit(numbers, THREE, categorical_feature=["k"])

    assert category_maps(model, numbers) == {}
    assert category_maps(object()) == {}


def test_features_keep_the_names_that_callers_know() -> None:
    """LightGBM replaces blanks; names that a framework made up are none."""
    named = lgb.LGBMRegressor(**LGB).fit(PLAIN[["a b", "c"]], THREE)
    array = PLAIN[["a b", "c"]].to_numpy()

    assert feature_names(named, ["c", "a b"]) == ("a b", "c")
    assert feature_names(named) == ("a_b", "c")
    assert feature_names(lgb.LGBMRegressor(**LGB).fit(array, THREE)) == ()
    assert feature_names(xgb.XGBRegressor(**XGB).fit(array, THREE)) == ()
    assert feature_names(cb.CatBoostRegressor(**CAT).fit(array, THREE)) == ()


@pytest.mark.parametrize("size", [*range(20), 31, 32, 33, 63, 64, 65, 128, 129, 200])
def test_a_category_has_catboosts_own_hash(size: int) -> None:
    """The hash takes another way for each range of lengths; bytes count, not letters."""
    text = ("aé東-z" * 60)[:size]
    frame = pd.DataFrame({"c": [text, "another"] * 20})
    more = {**CAT, "iterations": 1, "depth": 1, "one_hot_max_size": 4}
    model = cb.CatBoostRegressor(**more).fit(frame, [0, 1] * 20, cat_features=["c"])
    read = categories.read(model)
    assert read is not None

    assert {value for _, value in read.equal} <= {category(text), category("another")}
    assert read.equal
