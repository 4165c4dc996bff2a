from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.core.keys import derive, generator, root

paths = st.lists(st.text(max_size=4) | st.integers(0, 9), min_size=1, max_size=3)


def bits(key) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


@settings(deadline=None)
@given(paths, paths)
def test_distinct_paths_give_distinct_keys_and_equal_ones_equal_keys(a, b):
    assert (bits(derive(root(0), *a)) == bits(derive(root(0), *b))) == (a == b)


def test_a_separator_in_a_name_is_not_a_step():
    assert bits(derive(root(0), "a/str:b")) != bits(derive(root(0), "a", "b"))
    assert bits(derive(root(0), 'a", "b')) != bits(derive(root(0), "a", "b"))


def test_a_number_is_not_its_name_but_any_kind_of_integer_is_the_number():
    assert bits(derive(root(0), 3)) != bits(derive(root(0), "3"))
    assert bits(derive(root(0), 3)) == bits(derive(root(0), np.int64(3)))
    with pytest.raises(TypeError):
        derive(root(0), 3.0)  # type: ignore[arg-type]


def test_order_and_neighbours_do_not_matter():
    alone = bits(derive(root(5), "attack", "lira"))
    for name in ("rmia", "loss"):
        derive(root(5), "attack", name)
    assert bits(derive(root(5), "attack", "lira")) == alone
    assert bits(derive(root(6), "attack", "lira")) != alone


def test_keys_are_the_same_in_every_process():
    """Golden: a change here would change the numbers of every finished run."""
    assert bits(derive(root(0), "model", 1)) == (1254183949, 1769999027)


def test_generators_follow_their_key():
    a, b = (generator(derive(root(0), name)).random(4) for name in "ab")
    assert (generator(derive(root(0), "a")).random(4) == a).all() and (a != b).all()
