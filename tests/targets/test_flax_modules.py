from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from privsec.core.access import Access
from privsec.core.errors import ConfigError
from privsec.targets import TargetError, from_flax, stack
from tests.oracles import training as oracle


class Net(nnx.Module):
    def __init__(self, seed: int, outputs: int = 3):
        rngs = nnx.Rngs(seed)
        self.first, self.norm = nnx.Linear(5, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs)
        self.drop, self.last = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(8, outputs, rngs=rngs)
        self.table = nnx.Variable(jnp.arange(8))  # kept, and no float

    def __call__(self, x):
        return self.last(self.drop(nnx.relu(self.norm(self.first(x))))[:, self.table[...]])


class Linen(linen.Module):
    outputs: int = 3

    @linen.compact
    def __call__(self, x, train: bool):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x))
        return linen.Dense(self.outputs)(linen.Dropout(0.5, deterministic=not train)(linen.relu(x)))


def trained(seed: int, **options) -> Net:
    """A net whose batch statistics are its own."""
    module = Net(seed, **options)
    module(jax.random.normal(jax.random.key(seed), (64, 5)) * 2 + seed)
    return module


def naive(module: Net, x) -> np.ndarray:
    def to(name, z):
        layer = getattr(module, name)
        return z @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...], np.float64)

    norm = {name: np.asarray(getattr(module.norm, name)[...], np.float64) for name in ("mean", "var", "scale", "bias")}
    z = (to("first", np.asarray(x, np.float64)) - norm["mean"]) / np.sqrt(norm["var"] + module.norm.epsilon)
    return to("last", np.maximum(z * norm["scale"] + norm["bias"], 0))


def variables_of(seed: int):
    made = Linen().init(jax.random.key(seed), jnp.zeros((1, 5)), train=False)
    mean = jax.tree.map(lambda leaf: leaf + seed, made["batch_stats"])
    return {"params": made["params"], "batch_stats": mean}


def test_answers_of_an_nnx_module_in_evaluation_mode(examples):
    module = trained(1)
    target = from_flax(module, num_classes=3, shape=(5,))
    assert not module.drop.deterministic and not module.norm.use_running_average  # left as it was
    assert target.grants is Access.WEIGHTS and target.traceable and target.spent is None
    expected = oracle.signals(naive(module, examples.x), examples.y)["margin"]
    np.testing.assert_allclose(target.observe(examples, "margin")[0], expected, atol=1e-4)


def test_linen_with_its_variables(examples):
    variables = variables_of(1)
    target = from_flax(Linen(), variables, num_classes=3, shape=(5,))
    expected = Linen().apply(variables, examples.x, train=False)
    np.testing.assert_allclose(target.logits(examples.x), expected, atol=1e-6)
    training = {"train": True}  # batch statistics may not change here
    with pytest.raises(TargetError, match="pass `arguments`"):
        from_flax(Linen(), variables, num_classes=3, shape=(5,), arguments=training)


@pytest.mark.parametrize("kind", ["nnx", "linen", "one by one"])
def test_a_list_is_a_stack_with_statistics_of_its_own(examples, kind):
    modules = [trained(seed) for seed in range(3)]
    if kind == "nnx":
        target = from_flax(modules, num_classes=3, shape=(5,))
    elif kind == "linen":
        target = from_flax(Linen(), [variables_of(seed) for seed in range(3)], num_classes=3, shape=(5,))
    else:
        target = stack([from_flax(module, num_classes=3, shape=(5,)) for module in modules])
    answers = target.logits(examples.x)
    for m in range(3):
        alone = (
            Linen().apply(variables_of(m), examples.x, train=False)
            if kind == "linen"
            else naive(modules[m], examples.x)
        )
        np.testing.assert_allclose(answers[m], alone, atol=1e-4)
    assert target.size == 3 and target.grants is Access.WEIGHTS


def test_gradients_flow_to_what_was_learned_and_to_nothing_else(examples):
    target = from_flax(trained(1), num_classes=3, shape=(5,))
    slope = jax.jit(jax.grad(lambda params: target.model.apply(params, examples.x)[:, 0].sum()))(target.params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(slope.learned["first"]))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(slope.kept)) and jax.tree.leaves(slope.kept)
    assert np.abs(jax.grad(lambda x: target.log_scores(x)[:, 0].sum())(jnp.asarray(examples.x))).max() > 0


def test_modules_that_are_built_differently_are_not_stacked():
    wide, narrow = (
        nnx.Sequential(nnx.Linear(5, n, rngs=nnx.Rngs(0)), nnx.Linear(n, 3, rngs=nnx.Rngs(0))) for n in (8, 4)
    )
    with pytest.raises(TargetError, match="built differently"):
        from_flax([wide, narrow], num_classes=3, shape=(5,))
    other = trained(0)
    other.table[...] = jnp.arange(8)[::-1]
    with pytest.raises(TargetError, match="built differently"):
        from_flax([trained(0), other], num_classes=3, shape=(5,))


class Ending(nnx.Module):
    def __init__(self, inner, last):
        self.inner, self.last = inner, last

    def __call__(self, x):
        return self.last(self.inner(x))


def test_modules_that_end_in_a_softmax_or_a_sigmoid(examples):
    expected = naive(trained(1), examples.x)
    for last, answers in ((nnx.softmax, "probabilities"), (nnx.log_softmax, "log_probabilities")):
        target = from_flax(Ending(trained(1), last), num_classes=3, shape=(5,), answers=answers)  # type: ignore[arg-type]
        np.testing.assert_allclose(target.log_scores(examples.x), oracle.log_softmax(expected), atol=1e-4)
    with pytest.raises(TargetError, match="pass answers='probabilities'"):
        from_flax(Ending(trained(1), nnx.softmax), num_classes=3, shape=(5,))
    z = naive(trained(1, outputs=1), examples.x)[:, 0]
    one = from_flax(trained(1, outputs=1), num_classes=2, shape=(5,))
    sigmoid = from_flax(Ending(trained(1, outputs=1), nnx.sigmoid), num_classes=2, shape=(5,), answers="probabilities")
    for target in (one, sigmoid):
        np.testing.assert_allclose(target.scores(examples.x)[:, 1], 1 / (1 + np.exp(-z)), atol=1e-5)


def test_what_cannot_be_asked_is_told():
    with pytest.raises(TargetError, match="function is no flax module"):
        from_flax(lambda x: x, num_classes=3, shape=(5,))
    with pytest.raises(TargetError, match=r"records of shape \[4\]"):
        from_flax(trained(0), num_classes=3, shape=(4,))
    with pytest.raises(TargetError, match="num_classes"):
        from_flax(trained(0), num_classes=4, shape=(5,))
    with pytest.raises(ConfigError, match="holds no weights"):
        from_flax(Linen(), num_classes=3, shape=(5,))
    with pytest.raises(ConfigError, match="with 'params'; got one with Dense_0"):
        from_flax(Linen(), {"Dense_0": {}}, num_classes=3, shape=(5,))
    with pytest.raises(ConfigError, match="leave `variables` out"):
        from_flax(trained(0), {}, num_classes=3, shape=(5,))
    with pytest.raises(ConfigError, match="give others to from_callable"):
        from_flax(trained(0), num_classes=3, shape=(5,), answers="labels")
