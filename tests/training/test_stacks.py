from __future__ import annotations

import jax
import numpy as np
import pytest

from privsec.attacks.evasion.pgd import PGD
from privsec.attacks.inversion.mi_face import MIFace
from privsec.attacks.membership.lira import LiRA
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.signals import SCALARS
from privsec.core.target import Target
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training import stacks
from privsec.training.stacks import Stack, stack

MODELS, RECORDS, FEATURES, CLASSES = 6, 40, 5, 3
MODEL = model_of(MLP(hidden=(8,)), (FEATURES,), CLASSES)
RNG = np.random.default_rng(0)
DATA = Examples(
    RNG.uniform(size=(RECORDS, FEATURES)).astype(np.float32), RNG.integers(0, CLASSES, RECORDS).astype(np.int32)
)
EACH = [jax.device_get(MODEL.init(jax.random.key(m))) for m in range(MODELS)]
SECRETS = jax.random.split(jax.random.key(1), MODELS)
BOX = (np.float32(0), np.float32(1))


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def mapped(monkeypatch) -> Target:
    monkeypatch.setattr(stacks, "IN_MEMORY", 0)
    return Target.of(MODEL, stack(EACH), SECRETS)


def test_a_stack_is_its_models_wherever_it_is(monkeypatch, tmp_path):
    small = stack(EACH)
    monkeypatch.setattr(stacks, "IN_MEMORY", 0)
    made = Stack(MODELS, tmp_path)
    for m in reversed(range(MODELS)):  # models come as they are finished
        made.put(m, EACH[m])
    large = made.whole
    for leaf in jax.tree.leaves(large):
        assert isinstance(leaf, np.memmap)
        assert not leaf.flags.writeable
    assert not list(tmp_path.iterdir())  # the file has no name, so that nothing is left of it
    equal(small, large)
    for m in range(MODELS):
        equal(EACH[m], jax.tree.map(lambda leaf, m=m: leaf[m], large))


def test_what_is_put_in_is_checked():
    made = Stack(2)
    made.put(0, {"w": np.ones(2), "n": np.array(3)})
    with pytest.raises(ValueError, match="another structure"):
        made.put(1, {"w": np.ones(2)})
    with pytest.raises(ValueError, match="broadcast"):
        made.put(1, {"w": np.ones(3), "n": np.array(3)})


def test_a_mapped_stack_answers_and_is_attacked_alike(monkeypatch):
    """Signals, sub-stacks, one program for all, and attacks that ask, differentiate and invert: the same bytes."""
    held = Target.of(MODEL, stack(EACH), SECRETS)
    large = mapped(monkeypatch)
    for signal in SCALARS:
        np.testing.assert_array_equal(large.observe(DATA, signal), held.observe(DATA, signal))
    for which in (2, slice(1, 4), np.arange(MODELS) % 2 == 0):
        np.testing.assert_array_equal(large[which].logits(DATA.x), held[which].logits(DATA.x))
    np.testing.assert_array_equal(large.logits(DATA.x), held.logits(DATA.x))
    member = (np.arange(MODELS)[:, None] + np.arange(RECORDS)) % 2 == 0
    usable = ~np.eye(MODELS, dtype=bool)
    for attack in (LiRA(), PGD(steps=3), MIFace(steps=5)):
        found = [
            attack.run(target, Knowledge(CLASSES, DATA, DATA, target, member, usable, points=DATA, box=BOX), SECRETS[0])
            for target in (held.record(DATA), large.record(DATA))
        ]
        equal(*found)


def test_recorded_answers_are_one_model_s(monkeypatch):
    """Streaming over models mixes up none: row m is what model m says alone."""
    large = mapped(monkeypatch).record(DATA)
    for m in range(MODELS):
        alone = Target.of(MODEL, EACH[m], SECRETS[m])
        np.testing.assert_array_equal(large.observe(DATA, "margin")[m], alone.observe(DATA, "margin")[0])
