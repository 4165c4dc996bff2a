"""A model outside of JAX that has memorized its training records, fast enough to be audited many times."""

from __future__ import annotations

import numpy as np

from privsec import targets

CLASSES, FEATURES = 4, 6


def records(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, size).astype(np.int32)


def fit(x: np.ndarray, y: np.ndarray, seed: int, strength: float = 3.0):
    """Logits that favor the label of a known record; everything else is noise of the model's own."""
    known = {row.tobytes(): label for row, label in zip(np.asarray(x, np.float32), y, strict=True)}
    weights = np.random.default_rng(seed).normal(size=(FEATURES, CLASSES))

    def predict(x: np.ndarray) -> np.ndarray:
        logits = x @ weights
        for n, row in enumerate(np.asarray(x, np.float32)):
            if (label := known.get(row.tobytes())) is not None:
                logits[n, label] += strength
        e = np.exp(logits - logits.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    return predict


def target(x: np.ndarray, y: np.ndarray, **settings):
    return targets.from_callable(fit(x, y, 0), num_classes=CLASSES, shape=(FEATURES,), **settings)
