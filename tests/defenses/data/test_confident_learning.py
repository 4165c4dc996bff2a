import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.defense import Curator
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.defenses.data import confident_learning as cl
from privsec.defenses.data.confident_learning import ConfidentLearning
from tests.defenses.data.poisoned import accuracy, clean, mislabeled
from tests.oracles import cleaning

RNG = np.random.default_rng(0)
PRUNES = ["off_diagonal", "noise_rate", "class"]


def probabilities(count=60, classes=4):
    return RNG.dirichlet(np.ones(classes), count), RNG.integers(0, classes, count)


def test_the_joint_is_that_of_the_loops():
    for _ in range(5):
        p, y = probabilities()
        np.testing.assert_array_equal(cl.confident_joint(p, y), cleaning.confident_joint(p, y))


def test_a_joint_by_hand():
    """t = (0.6, 0.65): the second record is below both, the fourth is confidently of class 0."""
    p = np.array([[0.9, 0.1], [0.3, 0.7], [0.35, 0.65], [0.61, 0.39], [0.09, 0.91]])
    y = np.array([0, 0, 1, 1, 1])
    np.testing.assert_allclose(cl.thresholds(p, y), [0.6, 0.65])
    assert cl.confident_joint(p, y).tolist() == [[1, 1], [1, 2]]
    np.testing.assert_allclose(cl.calibrated(cl.confident_joint(p, y), y), [[1, 1], [1, 2]])
    assert cl.mislabeled(p, y, "off_diagonal").tolist() == [False, True, False, True, False]
    assert cl.mislabeled(p, y, "class").tolist() == [False, True, False, True, False]


def test_calibration_keeps_the_number_of_each_label():
    p, y = probabilities()
    expected = cl.calibrated(cl.confident_joint(p, y), y)
    np.testing.assert_allclose(expected.sum(axis=1), np.bincount(y, minlength=4))
    empty = cl.calibrated(np.zeros((4, 4), int), y)
    np.testing.assert_allclose(empty, np.diag(np.bincount(y, minlength=4)))


def test_a_class_without_a_record_is_nobodys():
    p = RNG.dirichlet(np.ones(3), 30)
    assert cl.confident_class(p, np.zeros(30, int)).max() <= 0


MEMORY = Model(
    init=lambda key: {"x": jnp.zeros((100, 1)), "y": jnp.zeros(100, jnp.int32)},
    apply=lambda params, x: (
        jax.nn.one_hot(params["y"][jnp.argmin(jnp.sum((x[:, None] - params["x"]) ** 2, axis=-1), axis=1)], 2) * 9.0
    ),
    num_classes=2,
    shape=(1,),
)


class Memorizing:
    """Answers with the label of the nearest record it was trained on: its own, where it was trained on the record."""

    def __init__(self, data):
        self.data, self.masks = data, []

    def fit(self, y, mask, key):
        self.masks.append(mask)
        far = np.where(mask[:, None], self.data.x, 1e6)
        return Target.of(MEMORY, {"x": jnp.asarray(far), "y": jnp.asarray(y)})


def line():
    """Two classes on a line; three labels are wrong."""
    x = np.linspace(0, 1, 100, dtype=np.float32)[:, None]
    y = (x[:, 0] > 0.5).astype(np.int32)
    y[[10, 30, 80]] = 1 - y[[10, 30, 80]]
    return Examples(x, y)


def test_no_model_judges_a_record_that_it_was_trained_on():
    """A model that remembers every label would find none of them wrong."""
    data = line()
    trained = Memorizing(data)
    made = ConfidentLearning().on_data(data, Curator(data, trained.fit, keys.root(0)))
    assert np.sum(trained.masks, axis=0).tolist() == [3] * 100  # of four models, all but one
    assert all(len(np.unique(data.y[mask])) == 2 for mask in trained.masks)
    assert not made.kept[[10, 30, 80]].any() and made.kept.sum() > 85
    in_sample = trained.fit(data.y, np.ones(100, bool), None)
    p = np.asarray(jax.nn.softmax(MEMORY.apply(in_sample._params, jnp.asarray(data.x))))
    assert not cl.mislabeled(p, data.y, "off_diagonal").any()


@pytest.mark.parametrize("prune", PRUNES)
def test_it_finds_wrong_labels(prune):
    world = mislabeled(0.1)
    detected, left_out, spared = world.found(world.cleaned(ConfidentLearning(prune=prune)))
    assert detected > 0.9 and left_out > 0.7
    assert spared < 0.05


def test_little_of_clean_data_goes_and_no_class_is_emptied():
    world = clean()
    assert np.mean(~world.cleaned(ConfidentLearning()).kept) < 0.03
    data = Examples(world.data.x, np.where(np.arange(1000) == 5, 0, np.maximum(world.data.y, 1)).astype(np.int32))
    lonely = world._replace(data=data).cleaned(ConfidentLearning())
    assert lonely.kept[5]


def test_cleaning_brings_accuracy_back():
    world = mislabeled(0.3)
    everything = np.ones(1000, bool)
    kept = world.cleaned(ConfidentLearning()).kept
    spoiled, mended = (accuracy(world.fit(world.data.y, mask, keys.root(3))) for mask in (everything, kept))
    assert mended > spoiled
