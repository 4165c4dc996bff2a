"""Shapes stated in signatures are executed here, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from privsec.attacks.membership.lira import likelihood_ratio
from privsec.attacks.membership.rmia import preferred_share
from privsec.core.signals import margin
from privsec.defenses.outputs.noise import draw
from privsec.measures.intervals import cluster_mean
from privsec.nets.convolutions import patches
from privsec.ops.ascend import project_ball
from privsec.ops.leave_out import moments
from privsec.training.gradients import cross_entropy

# Broadcasting would let most of these pass, with numbers that mean nothing.
WRONG = {
    "as many labels as records": lambda: margin(jnp.zeros((4, 3)), jnp.zeros(5, int)),
    "labels are integers": lambda: margin(jnp.zeros((4, 3)), jnp.zeros(4)),
    "who was trained on what is a row a reference": lambda: likelihood_ratio(
        np.zeros((2, 5)), np.zeros((4, 5)), np.ones((1, 5), bool), np.ones((2, 4), bool)
    ),
    "masks are masks": lambda: moments(np.zeros((4, 5)), np.ones((4, 5)), np.ones((2, 4), bool)),
    "a population for each target": lambda: preferred_share(np.zeros((2, 5)), np.zeros((1, 9)), 2.0),
    "a cluster for each target": lambda: cluster_mean(np.zeros(4), np.arange(6)),
    "a center for each record": lambda: project_ball(jnp.ones((4, 2)), jnp.ones((1, 2)), 1.0, "l2"),
    "soft targets": lambda: cross_entropy(jnp.zeros((4, 3)), jnp.zeros(3)),
    "images have channels": lambda: patches(jnp.zeros((4, 8, 8)), 3),
    "a key for each answer": lambda: draw("gaussian", jax.random.key(0), 3),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_shape_is_refused_under_pytest(call):
    with pytest.raises(TypeCheckError):
        call()


def test_nothing_is_checked_at_run_time():
    script = """
import sys
import jax.numpy as jnp
import privsec.attacks
from privsec.core.signals import entropy
assert len(privsec.attacks.ATTACKS.specs) > 5
assert entropy(jnp.zeros((4, 3)), jnp.zeros(5)).shape == (4,)  # it does not look at the labels
assert "beartype" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
