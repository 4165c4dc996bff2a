"""Targets from scikit-learn's classifiers, and from whatever else has their interface (XGBoost, LightGBM, ...)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from privsec.core.access import Access
from privsec.core.errors import ConfigError, DataError, did_you_mean
from privsec.core.target import Target
from privsec.targets.answers import FLOOR, Answers, TargetError
from privsec.targets.host import from_callable, listed


def from_sklearn(
    estimator: Any,
    *,
    shape: Sequence[int] | None = None,
    batch_size: int = 4096,
    budget: int | None = None,
    grants: Access | None = None,
    floor: float = FLOOR,
) -> Target:
    """The Target of a fitted classifier or pipeline; a list of them makes a stack.

    It answers with `predict_proba`, else `decision_function` (taken as logits), else `predict`. The classes of the
    Target are the positions in `classes_`: write labels as `encode(estimator, y)`.

    Args:
        estimator: has `classes_` and one of the three methods. Fitted on a DataFrame, it is asked with one. All columns
            must be numbers; where the pipeline begins with text, use `from_callable` and turn codes into text there.
        shape: shape of one record; by default [D] as the estimator was fitted. Records of several axes are flattened
            where it was fitted on tables.
        batch_size: records of one call.
        budget: how many records may be asked about; None for no limit.
        grants: the most that an attacker may ask, where that is less than the answers give.
        floor: what a smaller probability is taken to be. A forest of n trees or a vote of n neighbors says 0 where it
            means "less than 1 / n": something like 1 / (2 n) is sensible there.

    Raises:
        TargetError: the estimator is not fitted, no classifier, or those of a list do not fit together.

    >>> from sklearn.linear_model import LogisticRegression
    >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32), ["no", "no", "yes", "yes"]
    >>> target = from_sklearn(LogisticRegression().fit(x, y))
    >>> target.labels(x).tolist() == encode(["no", "yes"], y).tolist()
    True
    """
    estimators, stacked = listed(estimator)
    classes = classes_of(estimators[0])
    for other in estimators[1:]:
        if classes_of(other).tolist() != classes.tolist():
            raise TargetError(
                f"the estimators of a stack know the same classes; got {_some(classes)} and {_some(classes_of(other))}"
                ": every training set must have records of all classes"
            )
    questions = [_question(one, classes) for one in estimators]
    if len({answers for answers, _ in questions}) > 1:
        raise TargetError("the estimators of a stack answer alike: some have predict_proba and others have not")
    features = getattr(estimators[0], "n_features_in_", None)
    if shape is None and features is None:
        raise ConfigError("this estimator does not say how many features it takes: pass shape=(D,)")
    record: tuple[int, ...] = (int(features or 0),) if shape is None else tuple(shape)
    flatten = len(record) > 1 and features == math.prod(record)
    if features is not None and not flatten and record[-1:] != (features,):
        raise ConfigError(f"the estimator was fitted on {features} features, and shape is {list(record)}")
    predicts = [
        _asked(question, _columns(one), flatten) for one, (_, question) in zip(estimators, questions, strict=True)
    ]
    return from_callable(
        predicts if stacked else predicts[0],
        num_classes=len(classes),
        shape=record,
        answers=questions[0][0],
        batch_size=batch_size,
        budget=budget,
        grants=grants,
        floor=floor,
    )


def encode(classes: Any, y: Any) -> np.ndarray:
    """Labels of any type as codes int32 [N]: the position of each in `classes`.

    Args:
        classes: a fitted classifier, or its list of classes.
        y: N labels.

    Raises:
        DataError: a label is none of the classes.

    >>> encode(["cat", "dog"], ["dog", "cat", "dog"])
    array([1, 0, 1], dtype=int32)
    """
    known = classes_of(classes) if hasattr(classes, "classes_") else np.asarray(classes)
    codes = {label: code for code, label in enumerate(known.tolist())}
    labels = np.asarray(y).tolist()
    for record, label in enumerate(labels):
        if label not in codes:
            raise DataError(
                f"the label {label!r} ({type(label).__name__}) of record {record} is none of the model's classes "
                f"{_some(known)}.{did_you_mean(label, map(str, codes))}"
            )
    return np.array([codes[label] for label in labels], np.int32)


def classes_of(estimator: Any) -> np.ndarray:
    """The labels a fitted classifier gives, in the order of its answers' columns.

    Raises:
        TargetError: it is not fitted, no classifier, or has several outputs.
    """
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        raise TargetError(f"{type(estimator).__name__} has no `classes_`: fit it first, and only classifiers have them")
    if isinstance(classes, list) or np.ndim(classes) != 1 or len(classes) < 2:
        raise TargetError(
            f"{type(estimator).__name__} must have one output of at least two classes; its `classes_` are {classes!r}"
        )
    return np.asarray(classes)


def _question(estimator: Any, classes: np.ndarray) -> tuple[Answers, Callable[[Any], Any]]:
    if hasattr(estimator, "predict_proba"):
        return "probabilities", estimator.predict_proba
    if hasattr(estimator, "decision_function") and not _votes(estimator, classes):
        return "logits", estimator.decision_function
    return "labels", lambda x: encode(classes, estimator.predict(x))


def _votes(estimator: Any, classes: np.ndarray) -> bool:
    """Whether `decision_function` has a column for each pair of classes."""
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    return len(classes) > 2 and getattr(last, "decision_function_shape", None) == "ovo"


def _columns(estimator: Any) -> list[str] | None:
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else list(names)


def _asked(question: Callable[[Any], Any], columns: list[str] | None, flatten: bool) -> Callable[[np.ndarray], Any]:
    def predict(x: np.ndarray) -> Any:
        records = x.reshape(len(x), -1) if flatten else x
        if columns is None:
            return question(records)
        import pandas as pd

        return question(pd.DataFrame(records, columns=columns))

    return predict


def _some(classes: np.ndarray) -> str:
    shown = ", ".join(map(repr, classes.tolist()[:8]))
    return f"[{shown}, ...]" if len(classes) > 8 else f"[{shown}]"
