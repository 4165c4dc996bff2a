import numpy as np
import pytest

from privsec.core.data import Examples
from privsec.defenses.data.duplicates import Duplicates, copies
from tests.defenses.data.poisoned import clean
from tests.oracles import cleaning

RNG = np.random.default_rng(0)


def doubled(*, noise=0.0, wrong=False):
    """1000 digits; number 900 + i is a copy of number i for i < 50."""
    world = clean()
    x, y = np.array(world.data.x), np.array(world.data.y)
    x[900:950] = x[:50] + noise * RNG.normal(size=x[:50].shape)
    y[900:950] = (y[:50] + wrong) % 10
    return world._replace(data=Examples(x.astype(np.float32), y))


@pytest.mark.parametrize(("noise", "near"), [(0.0, 0.0), (0.0, 0.05), (0.004, 0.05)])
def test_the_later_of_two_copies_goes(noise, near):
    made = doubled(noise=noise).cleaned(Duplicates(near=near))
    np.testing.assert_array_equal(np.flatnonzero(~made.kept), np.arange(900, 950))
    assert (made.suspicion[900:950] > made.suspicion[50:900].max()).all()
    assert made.suspicion.max() == 0 if noise == 0 else made.suspicion.max() < 0


def test_near_copies_are_not_equal():
    assert doubled(noise=0.004).cleaned(Duplicates(near=0)).kept.all()


def test_copies_with_different_labels_all_go_or_the_first_stays():
    """Mislabeled copies are how a poisoner makes membership visible: with them the record itself is not learned."""
    world = doubled(wrong=True)
    gone = np.flatnonzero(~world.cleaned(Duplicates()).kept)
    np.testing.assert_array_equal(gone, np.concatenate([np.arange(50), np.arange(900, 950)]))
    gone = np.flatnonzero(~world.cleaned(Duplicates(conflicts="first")).kept)
    np.testing.assert_array_equal(gone, np.arange(900, 950))


def test_copies_of_public_records_go():
    world = clean()
    x = np.array(world.data.x)
    x[3] = world.public.x[7]
    world = world._replace(data=world.data._replace(x=x))
    assert np.flatnonzero(~world.cleaned(Duplicates()).kept).tolist() == [3]
    assert world.cleaned(Duplicates(public=False)).kept.all()
    nobody = world._replace(public=world.public.take(np.zeros(0, int)))
    assert nobody.cleaned(Duplicates()).kept.all()


def test_groups_are_those_of_the_loops():
    x = np.round(RNG.uniform(size=(200, 2)), 2)
    x[150:] = x[:50]
    found = copies(x, np.zeros(200, int), x[:0], 0.06, np.random.default_rng(1))
    from privsec.ops.neighbors import typical_distance

    radius = 0.06 * typical_distance(x, np.random.default_rng(1))
    assert found.group.tolist() == cleaning.groups(x, radius)


def test_digits_have_no_copies():
    assert clean().cleaned(Duplicates()).kept.all()


def test_one_record_is_nobodys_copy():
    found = copies(np.zeros((1, 2)), np.zeros(1, int), np.zeros((0, 2)), 0.1, RNG)
    assert found.group.tolist() == [0] and np.isnan(found.distance).all()
