import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.errors import ConfigError
from privsec.defenses.model.mahalanobis import Mahalanobis
from privsec.defenses.model.pruning import Pruning, pruned
from privsec.defenses.training.ensemble import Ensemble
from tests.defenses.model.toys import linear, records
from tests.oracles import defended

KEY = jax.random.key(0)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.7])
def test_the_smallest_weights_go(share):
    matrix = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    np.testing.assert_array_equal(pruned(jnp.asarray(matrix), share), defended.pruned(matrix, share))


def test_matrices_are_pruned_each_by_itself_and_biases_kept():
    model, rng = linear(), np.random.default_rng(0)
    params = [rng.normal(size=shape).astype(np.float32) for shape in ((6, 5), (4,), (3, 1))]
    made = Pruning(share=0.5).on_params(model, params, records(4), KEY)
    np.testing.assert_array_equal(made[0], defended.pruned(params[0], 0.5))
    assert made[1] is params[1] and made[2] is params[2]
    assert Pruning(share=0.5).on_model(model) is model


def test_members_of_an_ensemble_are_pruned_each_by_itself():
    one, rng = linear(), np.random.default_rng(0)
    model = Ensemble(members=3).on_model(one)
    kernels, biases = (rng.normal(size=(3, *shape)).astype(np.float32) for shape in ((4, 3), (3,)))
    kernels *= np.array([1, 10, 100], np.float32)[:, None, None]
    last = Pruning(share=0.5).on_params(model, {"last": {"kernel": kernels, "bias": biases}}, records(4), KEY)["last"]
    np.testing.assert_array_equal(last["kernel"], [defended.pruned(kernel, 0.5) for kernel in kernels])
    np.testing.assert_array_equal(last["bias"], biases)


def test_a_detector_is_fitted_after_pruning():
    with pytest.raises(ConfigError, match="Write pruning before"):
        Pruning().on_model(Mahalanobis().on_model(linear()))
