import numpy as np
import pytest

from privsec.defenses.data.activation_clustering import ActivationClustering, split_in_two
from tests.defenses.data.poisoned import backdoored, clean

RNG = np.random.default_rng(0)


def class_with(poison, of=200, apart=8.0):
    """Representations of one class, a part of which is elsewhere."""
    x = np.random.default_rng(1).normal(size=(of, 12))
    x[:poison] += apart * np.eye(12)[3]
    return x


@pytest.mark.parametrize("whiten", [False, True])
def test_a_part_that_is_elsewhere_is_the_smaller_cluster(whiten):
    found = split_in_two(class_with(30), 10, whiten, RNG)
    np.testing.assert_array_equal(found.small, np.arange(200) < 30)
    assert found.suspicion[:30].min() > found.suspicion[30:].max()
    assert np.abs(found.suspicion).max() <= 1


def test_suspicion_is_smaller_where_the_clusters_are_alike():
    few, half = (split_in_two(class_with(count), 10, False, RNG) for count in (20, 95))
    assert few.suspicion.max() > 0.5 > half.suspicion.max()
    assert few.silhouette > 0.3 > split_in_two(class_with(0), 10, False, RNG).silhouette


@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_a_backdoor_from_one_class(seed):
    world = backdoored(0.02, seed, source=4)
    detected, left_out, spared = world.found(world.cleaned(ActivationClustering(), seed))
    assert detected > 0.85 and left_out > 0.9
    assert spared < 0.2


def test_a_criterion_of_silhouette_spares_clean_records():
    world = clean()
    by_size, apart = (
        world.cleaned(ActivationClustering(criterion=criterion, apart=0.35)) for criterion in ("size", "silhouette")
    )
    assert np.mean(~apart.kept) <= np.mean(~by_size.kept) < 0.15
    assert np.mean(~apart.kept) < 0.05
    assert world.found(apart)[2] < 0.05


def test_a_large_cluster_stays():
    world = backdoored(0.02, source=4)
    never = world.cleaned(ActivationClustering(most=0.01))
    assert never.kept.all() and np.nanmax(never.suspicion) > 0.5
