"""The quickstart's attacks as others write them, for `torch_table.py`: NumPy for each target, and ART's classes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

WALK = {"norm": 2, "max_iter": 7, "init_eval": 50, "max_eval": 10_000, "init_size": 100, "verbose": False}
"""HopSkipJump's rounds: what about 1,000 queries a record pay for, beginning with 50 directions."""
GAMMA = 2.0
SMALLEST = 1e-6
"""Added to probabilities before a logarithm."""
MI_FACE_STEPS = 300


class Work(Protocol):
    """Candidates x, y [N], who trains on which (bool [M, N]), and the rows that the boundary attack walks from."""

    x: np.ndarray
    y: np.ndarray
    member: np.ndarray
    rows: np.ndarray
    classes: int

    def references(self, t: int) -> np.ndarray:
        """The models that the attacker on target t may use."""
        ...


def margin(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The logit of the true class's probability."""
    own = p[..., np.arange(len(y)), y]
    return np.log(own + SMALLEST) - np.log(np.maximum(p.sum(-1) - own, 0) + SMALLEST)


def modified_entropy(work: Work, p: np.ndarray, t: int) -> np.ndarray:
    """Song and Mittal's, negative, measured from its mean on OUT references of the class."""
    own = np.arange(work.classes) == work.y[:, None]
    terms = np.where(own, (1 - p) * np.log(p + SMALLEST), p * np.log(np.maximum(1 - p, 0) + SMALLEST))
    values = -np.log(np.maximum(-terms.sum(-1), 1e-30))
    mine = work.references(t)
    scores = np.empty(len(work.y))
    for label in range(work.classes):
        rows = work.y == label
        known = values[mine][:, rows][~work.member[mine][:, rows]]
        scores[rows] = (values[t, rows] - known.mean()) / (known.std() + 1e-12)
    return scores


def lira(work: Work, phi: np.ndarray, t: int) -> np.ndarray:
    """Two normals for each record, collected record by record; the variance is common, as for few references."""
    stats = importlib.import_module("scipy.stats")
    mine = work.references(t)
    log_density = []
    for was_in in (True, False):
        known = [phi[mine, n][work.member[mine, n] == was_in] for n in range(len(work.y))]
        mean = np.array([values.mean() for values in known])
        squares = sum(((values - values.mean()) ** 2).sum() for values in known)
        spread = np.sqrt(squares / sum(len(values) - 1 for values in known))
        log_density.append(stats.norm.logpdf(phi[t], mean, spread + 1e-30))
    return log_density[0] - log_density[1]


def attack_r(work: Work, phi: np.ndarray, t: int) -> np.ndarray:
    """The share of OUT references whose loss is higher."""
    mine = work.references(t)
    out = ~work.member[mine]
    return np.sum(out * (phi[mine] < phi[t]), axis=0) / out.sum(axis=0)


def rmia(work: Work, p: np.ndarray, z: np.ndarray, t: int, among: np.ndarray, a: float | None) -> np.ndarray:
    """The share of the population that each record outdoes, from the matrix of ratios; offline where `a` is given."""
    out = ~work.member[among]
    outside = np.sum(out * p[among], axis=0) / out.sum(axis=0)
    if a is None:
        expected = (outside + np.sum(~out * p[among], axis=0) / (~out).sum(axis=0)) / 2
    else:
        expected = ((1 + a) * outside + 1 - a) / 2
    ratio_x = p[t] / (expected + 1e-30)
    ratio_z = z[t] / (z[among].mean(axis=0) + 1e-30)
    return np.mean(ratio_x[:, None] / (ratio_z + 1e-30) >= GAMMA, axis=1)


def rmia_offline(work: Work, p: np.ndarray, z: np.ndarray, t: int) -> np.ndarray:
    """With the `a` that does best against one of the references, attacked with the others."""
    area = importlib.import_module("sklearn.metrics").roc_auc_score
    mine = work.references(t)
    judge = mine[0]
    others = mine[mine // 2 != judge // 2]
    tried = np.linspace(0, 1, 11)
    found = [area(work.member[judge], rmia(work, p, z, judge, others, a)) for a in tried]
    return rmia(work, p, z, t, mine, float(tried[int(np.argmax(found))]))


def correctness(work: Work, served: list[Any]) -> np.ndarray:
    """ART's rule."""
    inference = importlib.import_module("art.attacks.inference.membership_inference")
    rule = inference.MembershipInferenceBlackBoxRuleBased
    return np.array([rule(model).infer(work.x, work.y) for model in served], float)


def boundary(work: Work, served: list[Any]) -> np.ndarray:
    """ART's label-only attack, a HopSkipJump from each of the rows."""
    inference = importlib.import_module("art.attacks.inference.membership_inference")
    x, y = work.x[work.rows], np.eye(work.classes, dtype=np.float32)[work.y[work.rows]]
    attacks = [inference.LabelOnlyDecisionBoundary(model, 1.0) for model in served]
    return np.array([attack.infer(x, y, probabilities=True, **WALK)[:, 1] for attack in attacks])


def mi_face(work: Work, served: list[Any], steps: int = MI_FACE_STEPS) -> float:
    """ART's, all classes in one batch; how sure the models are of what they gave away."""
    invert = importlib.import_module("art.attacks.inference.model_inversion").MIFace
    y = np.arange(work.classes)
    sure = []
    for model in served:
        x = invert(model, max_iter=steps, batch_size=len(y), verbose=False).infer(None, y)
        sure.append(model.predict(x)[y, y].mean())
    return float(np.mean(sure))


def scored(work: Work, attack: Mapping[str, Any], p: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Scores [T, N] of an attack on probabilities: of the candidates, p [M, N, C], and z [M, Z] of the population."""
    targets, name = range(len(p)), attack["name"]
    own = p[:, np.arange(len(work.y)), work.y]
    if name == "loss":
        return np.log(own + SMALLEST)
    if name == "modified_entropy":
        return np.array([modified_entropy(work, p, t) for t in targets])
    if name in ("lira", "attack_r"):
        phi, of = margin(p, work.y), {"lira": lira, "attack_r": attack_r}[name]
        return np.array([of(work, phi, t) for t in targets])
    if attack.get("online", True):
        return np.array([rmia(work, own, z, t, work.references(t), None) for t in targets])
    return np.array([rmia_offline(work, own, z, t) for t in targets])
