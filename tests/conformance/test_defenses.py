"""Every defense in the catalog passes the exam that privsec ships, and goes with DP-SGD or says that it does not."""

import jax
import numpy as np
import pytest

from privsec.core.data import Examples
from privsec.core.defense import OutputDefense, TrainingDefense
from privsec.core.errors import ConfigError
from privsec.defenses import DEFENSES
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.privacy.accounting import epsilon
from privsec.testing import DEFENSE_CHECKS
from privsec.testing.exam_training_defense import mixes_records, plain_recipe

NEEDED = {"dp_sgd": {"epsilon": 8}}
"""What a defense cannot be built without."""
VARIANTS = {
    "noise": [{"mechanism": "laplace", "scale": 0.01}],
    "rounding": [{"decimals": 1}],
    "temperature": [{"temperature": 0.5}],
    "top_k": [{"k": 1}],
    "label_smoothing": [{"strength": -0.05}],
    "feature_squeezing": [{"bits": None}],
}

INSTANCES = [
    DEFENSES.parse({"name": name, **NEEDED.get(name, {}), **settings})
    for name in DEFENSES.specs
    for settings in ({}, *VARIANTS.get(name, ()))
]


def titled(defense):
    settings = defense.model_dump(exclude_defaults=True)
    return ",".join([defense.name, *(f"{key}={value}" for key, value in settings.items())])


@pytest.mark.parametrize("check", DEFENSE_CHECKS)
@pytest.mark.parametrize("defense", INSTANCES, ids=titled)
def test_defense(defense, check):
    DEFENSE_CHECKS[check](defense)


@pytest.mark.parametrize("defense", [d for d in INSTANCES if isinstance(d, TrainingDefense)], ids=titled)
def test_a_training_defense_before_dp_sgd_keeps_epsilon_or_is_refused(defense):
    """DP-SGD is the last word on sampling and gradient, so the claim can only break by transforms that mix records."""
    private = DPSGD(epsilon=8, delta=1e-4)
    try:
        made = private.on_recipe(defense.on_recipe(plain_recipe()))
    except ConfigError as reason:
        assert defense.name in str(reason)
        return
    assert not mixes_records(made)
    assert made.dp_event == private.on_recipe(plain_recipe()).dp_event
    assert epsilon(made.dp_event, 1e-4) == pytest.approx(8, rel=1e-2)


@pytest.mark.parametrize("first", [d for d in INSTANCES if isinstance(d, OutputDefense)], ids=titled)
def test_output_defenses_compose_in_any_order(first):
    """A list composes left to right: what one answers, the next takes."""
    log_scores = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (16, 5)) * 4)
    x, secret = jax.random.normal(jax.random.key(1), (16, 3)), jax.random.key(2)
    public = Examples(np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32), np.zeros(200, np.int32))
    first = first.fitted(public)
    for name, spec in DEFENSES.specs.items():
        if issubclass(spec, OutputDefense):
            then = DEFENSES.parse({"name": name, **NEEDED.get(name, {})}).fitted(public)
            answer = np.asarray(then.on_outputs(first.on_outputs(log_scores, x, secret), x, secret), np.float64)
            assert np.isfinite(answer).all()
            np.testing.assert_allclose(np.exp(answer).sum(axis=-1), 1, atol=1e-4)
