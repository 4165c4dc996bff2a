from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.errors import ConfigError, DataError
from privsec.core.signals import SIGNALS
from privsec.targets import TargetError, encode, from_sklearn
from tests.oracles import training as oracle

NAMES = np.array(["ant", "bee", "cat"])


@pytest.fixture
def named(examples) -> np.ndarray:
    """The examples' labels as text."""
    return NAMES[examples.y]


def test_signals_are_those_of_its_probabilities(examples, named):
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(examples.x, named)
    target = from_sklearn(pipeline)
    assert (target.model.shape, target.model.num_classes, target.grants) == ((5,), 3, Access.SCORES)
    coded = Examples(examples.x, encode(pipeline, named))
    expected = oracle.signals(np.log(pipeline.predict_proba(examples.x)), coded.y)
    for name in SIGNALS:
        np.testing.assert_allclose(target.observe(coded, name)[0], expected[name], atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(NAMES[np.asarray(target.labels(examples.x))], pipeline.predict(examples.x))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("estimator", "access"),
    [
        (RandomForestClassifier(5, random_state=0), Access.SCORES),
        (RidgeClassifier(), Access.LOGITS),
        (Perceptron(), Access.LOGITS),
        (SVC(), Access.LOGITS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_richest_answer_is_taken_and_labels_agree(examples, named, estimator, access, classes):
    y = np.where(named == "cat", "ant", named) if classes == 2 else named
    target = from_sklearn(estimator.fit(examples.x, y))
    assert target.grants is access
    np.testing.assert_array_equal(target.labels(examples.x), encode(estimator, estimator.predict(examples.x)))


class OnlyPredicts:
    classes_ = NAMES
    n_features_in_ = 5

    def predict(self, x):
        return NAMES[(x[:, 0] > 0).astype(int)]


def test_a_classifier_without_scores_gives_labels(examples):
    target = from_sklearn(OnlyPredicts())
    assert target.grants is Access.LABELS
    np.testing.assert_array_equal(target.labels(examples.x), examples.x[:, 0] > 0)
    votes = SVC(decision_function_shape="ovo").fit(examples.x, examples.y)
    assert from_sklearn(votes).grants is from_sklearn(make_pipeline(votes)).grants is Access.LABELS


def test_shares_of_votes_get_a_floor(examples, named):
    tree = DecisionTreeClassifier().fit(examples.x, named)
    target = from_sklearn(tree, floor=0.01)
    margins = target.observe(Examples(examples.x, encode(tree, named)), "margin")
    np.testing.assert_allclose(margins, -np.log(0.02), atol=1e-5)


def test_images_are_flattened_and_tables_asked_as_tables(examples, named):
    flat = LogisticRegression().fit(examples.x[:, :4], named)
    images = examples.x[:, :4].reshape(-1, 2, 2)
    by_image = from_sklearn(flat, shape=(2, 2)).scores(images)
    np.testing.assert_allclose(by_image, flat.predict_proba(examples.x[:, :4]), atol=1e-6)
    frame = pd.DataFrame(examples.x, columns=list("abcde"))
    with_names = LogisticRegression().fit(frame, named)
    scores = from_sklearn(with_names).scores(examples.x)  # without names scikit-learn would warn
    np.testing.assert_allclose(scores, with_names.predict_proba(frame), atol=1e-6)


def test_a_list_is_a_stack(examples, named):
    halves = [LogisticRegression().fit(examples.x[rows], named[rows]) for rows in (slice(0, 12), slice(11, None))]
    target = from_sklearn(halves, budget=2 * 23)
    expected = np.stack([half.predict_proba(examples.x) for half in halves])
    np.testing.assert_allclose(target.scores(examples.x), expected, atol=1e-6)
    assert target.spent == 2 * 23
    two_classes = LogisticRegression().fit(examples.x[named != "cat"], named[named != "cat"])
    with pytest.raises(TargetError, match="records of all classes"):
        from_sklearn([halves[0], two_classes])
    with pytest.raises(TargetError, match="answer alike"):
        from_sklearn([halves[0], OnlyPredicts()])


def test_what_is_no_fitted_classifier_is_refused(examples):
    with pytest.raises(TargetError, match="LogisticRegression has no `classes_`: fit it first"):
        from_sklearn(LogisticRegression())
    with pytest.raises(TargetError, match="only classifiers"):
        from_sklearn(LinearRegression().fit(examples.x, examples.y))
    both = np.stack([examples.y, examples.y], axis=1)
    with pytest.raises(TargetError, match="one output"):
        from_sklearn(DecisionTreeClassifier().fit(examples.x, both))
    fitted = LogisticRegression().fit(examples.x, examples.y)
    with pytest.raises(ConfigError, match="fitted on 5 features"):
        from_sklearn(fitted, shape=(4,))
    del fitted.n_features_in_
    with pytest.raises(ConfigError, match=r"pass shape=\(D,\)"):
        from_sklearn(fitted)


@pytest.mark.parametrize(
    ("classes", "y", "codes"),
    [
        (["no", "yes"], ["yes", "no"], [1, 0]),
        ([False, True], [True, False], [1, 0]),
        ([-1, 1], np.array([1.0, -1.0]), [1, 0]),
        (["b", "a"], pd.Series(["a", "b"]), [1, 0]),
    ],
)
def test_labels_of_any_type_become_codes(classes, y, codes):
    assert encode(classes, y).tolist() == codes and encode(classes, y).dtype == np.int32


def test_an_unknown_label_is_an_error():
    with pytest.raises(DataError, match=r"label 'bea' \(str\) of record 1 .*\['ant', 'bee', 'cat'\].*mean 'bee'"):
        encode(NAMES, ["ant", "bea"])
    with pytest.raises(DataError, match=r"label 1 \(int\)"):
        encode(["0", "1"], [1])
