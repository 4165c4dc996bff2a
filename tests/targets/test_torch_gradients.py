from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.access import Access
from privsec.core.errors import AccessError, ConfigError, QueryBudgetExceeded
from privsec.core.target import compiled
from privsec.targets import TargetError, from_callable, from_torch, stack

torch = pytest.importorskip("torch")

SHAPE = (1, 6, 6)


def cnn(seed: int = 0, outputs: int = 3):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(64, outputs),
    ).eval()


@pytest.fixture
def images():
    return np.random.default_rng(0).random((7, *SHAPE)).astype(np.float32)


def loss_gradient(module, x, y):
    """The gradient of the summed cross-entropy, by torch alone."""
    records = torch.tensor(x, requires_grad=True)
    torch.nn.functional.cross_entropy(module(records), torch.tensor(y), reduction="sum").backward()
    module.zero_grad()
    return records.grad.numpy()


def cross_entropy(target, y):
    return lambda x: -jnp.sum(jax.nn.log_softmax(target.logits(x))[jnp.arange(len(y)), y])


@pytest.mark.parametrize("batch_size", [3, 1024])
def test_the_gradient_is_torchs_own(images, batch_size):
    module, y = cnn(), np.arange(7) % 3
    target = from_torch(module, shape=SHAPE, batch_size=batch_size)
    assert target.grants is Access.GRADIENTS
    value, gradient = jax.value_and_grad(cross_entropy(target, y))(jnp.asarray(images))
    np.testing.assert_allclose(gradient, loss_gradient(cnn(), images, y), atol=1e-6)
    assert target.spent == 7  # a gradient is one query, and its value comes along
    np.testing.assert_allclose(value, cross_entropy(target, y)(images), rtol=1e-6)
    assert target.spent == 14
    assert all(parameter.grad is None for parameter in module.parameters())


def test_gradients_of_scores_and_of_every_class(images):
    target, x = from_torch(cnn(), shape=SHAPE), jnp.asarray(images)
    answer, pull_back = jax.vjp(target.log_scores, x)
    rows = [pull_back(jnp.zeros_like(answer).at[:, c].set(1.0))[0] for c in range(3)]
    for c in range(3):
        np.testing.assert_allclose(rows[c], -loss_gradient(cnn(), images, np.full(7, c)), atol=1e-6)
    assert target.spent == 3 * 7


def test_a_module_in_training_mode_is_differentiated_in_evaluation_mode(images):
    module, y = cnn().train(), np.zeros(7, int)
    with pytest.warns(UserWarning, match="in training mode"):
        target = from_torch(module, shape=SHAPE)
    gradient = jax.grad(cross_entropy(target, y))(jnp.asarray(images))
    np.testing.assert_allclose(gradient, loss_gradient(cnn(), images, y), atol=1e-6)
    assert module.training and module[1].training


def test_of_one_logit_for_two_classes(images):
    module = torch.nn.Sequential(cnn(outputs=1), torch.nn.Flatten(0)).eval()
    target = from_torch(module, shape=SHAPE)
    records = torch.tensor(images, requires_grad=True)
    module(records).sum().backward()
    ours = jax.grad(lambda x: jnp.sum(target.logits(x) @ jnp.array([5.0, 2.0])))(jnp.asarray(images))
    np.testing.assert_allclose(ours, 2 * records.grad.numpy(), atol=1e-6)


def test_modules_of_double_precision(images):
    target = from_torch(cnn().double(), shape=SHAPE)
    gradient = jax.grad(lambda x: target.logits(x)[:, 0].sum())(jnp.asarray(images))
    single = from_torch(cnn(), shape=SHAPE)
    np.testing.assert_allclose(
        gradient, jax.grad(lambda x: single.logits(x)[:, 0].sum())(jnp.asarray(images)), atol=1e-6
    )


def test_each_model_of_a_stack_gives_its_own(images):
    x, y = jnp.asarray(images), np.arange(7) % 3
    listed = from_torch([cnn(0), cnn(1)], shape=SHAPE)
    joined = stack([from_torch(cnn(0), shape=SHAPE), from_torch(cnn(1), shape=SHAPE)])
    for target in (listed, joined):
        assert target.grants is Access.GRADIENTS
        for t in range(2):
            gradient = jax.grad(cross_entropy(target[t], y))(x)
            np.testing.assert_allclose(gradient, loss_gradient(cnn(t), images, y), atol=1e-6)
    plain = from_callable(lambda x: np.zeros((len(x), 3)), num_classes=3, shape=SHAPE, answers="logits")
    assert stack([joined, plain]).grants is Access.LOGITS


def test_hand_written_steps_change_the_label(images):
    target = from_torch(cnn(), shape=SHAPE)
    y = np.asarray(target.labels(images))
    spent = target.spent

    @compiled
    def stepped(target, x):
        def step(_, points):
            return jnp.clip(points + 0.05 * jnp.sign(jax.grad(cross_entropy(target, y))(points)), 0, 1)

        return jax.lax.fori_loop(0, 8, step, x)

    x = np.asarray(stepped(target, jnp.asarray(images)))
    assert target.spent - spent == 8 * 7
    before, after = (np.asarray(target.log_scores(points))[np.arange(7), y] for points in (images, x))
    assert (after < before).all() and (np.asarray(target.labels(x)) != y).all()


def test_what_is_refused(images):
    target, x = from_torch(cnn(), shape=SHAPE), jnp.asarray(images)
    for refused in (jax.jit(target.logits), jax.vmap(lambda one: target.logits(one[None]))):
        with pytest.raises(AccessError, match="it cannot be compiled"):
            refused(x)
    with pytest.raises(AccessError, match="it cannot be compiled"):
        jax.jit(jax.grad(lambda x: target.logits(x).sum()))(x)
    with pytest.raises(AccessError, match="it cannot be compiled"):
        jax.jacrev(target.logits)(x)
    for weaker in (target.restrict(Access.LOGITS), from_torch(cnn(), shape=SHAPE, grants=Access.SCORES)):
        with pytest.raises(AccessError, match="without GRADIENTS"):
            jax.grad(lambda x, weaker=weaker: weaker.log_scores(x).sum())(x)
    with pytest.raises(AccessError):
        target.restrict(Access.WEIGHTS)


def test_probabilities_are_not_differentiated(images):
    target = from_torch(torch.nn.Sequential(cnn(), torch.nn.Softmax(-1)).eval(), shape=SHAPE, answers="probabilities")
    assert target.grants is Access.SCORES and not target.model.differentiable
    with pytest.raises(AccessError, match="neither compiled nor differentiated"):
        jax.grad(lambda x: target.log_scores(x).sum())(jnp.asarray(images))


def test_gradients_are_charged_on_the_budget(images):
    target, x = from_torch(cnn(), shape=SHAPE, budget=20), jnp.asarray(images)
    for _ in range(2):
        jax.grad(lambda x: target.logits(x).sum())(x)
    with pytest.raises(QueryBudgetExceeded):
        jax.grad(lambda x: target.logits(x).sum())(x)
    assert target.spent == 14
    assert jax.grad(lambda x: target.logits(x).sum())(x[:0]).shape == (0, *SHAPE)


class Cut(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.detach())


def test_a_module_that_torch_cannot_differentiate_is_told(images):
    target = from_torch(Cut(cnn()).eval(), shape=SHAPE)
    with pytest.raises(TargetError, match="RuntimeError"):
        jax.grad(lambda x: target.logits(x).sum())(jnp.asarray(images))


def test_any_function_with_a_gradient_is_differentiable():
    kernel = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    made = {"num_classes": 3, "shape": (5,), "answers": "logits"}
    target = from_callable(lambda x: x @ kernel, pull_back=lambda x, c: c @ kernel.T, **made)
    gradient = jax.grad(lambda x: target.logits(x)[:, 2].sum())(jnp.ones((4, 5)))
    np.testing.assert_allclose(gradient, np.tile(kernel[:, 2], (4, 1)), rtol=1e-6)
    wrong = from_callable(lambda x: x @ kernel, pull_back=lambda x, c: c, **made)
    with pytest.raises(TargetError, match="one number for each feature"):
        jax.grad(lambda x: wrong.logits(x).sum())(jnp.ones((4, 5)))
    with pytest.raises(ConfigError, match="for models that answer logits"):
        from_callable(lambda x: x, pull_back=lambda x, c: c, **{**made, "answers": "probabilities"})
    with pytest.raises(ConfigError, match="one for each"):
        from_callable([lambda x: x, lambda x: x], pull_back=lambda x, c: c, **made)
