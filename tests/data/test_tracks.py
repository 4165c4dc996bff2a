"""Records of one track stay together; tables say what a changed record keeps to and what can be inferred."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.data import Attribute, Constraints, Dataset
from privsec.core.errors import DataError
from privsec.core.keys import root
from privsec.data.csv import Csv
from privsec.data.splits import MIN_PUBLIC, split, standardized
from privsec.data.validation import check


def filmed(lengths, seed=0) -> Dataset:
    """Tracks of these lengths under arbitrary numbers, their records shuffled."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice(10_000, len(lengths), replace=False)
    tracks = rng.permutation(np.repeat(numbers, lengths)).astype(np.int32)
    x = rng.normal(size=(len(tracks), 2)).astype(np.float32)
    return Dataset(x, (np.arange(len(tracks)) % 2).astype(np.int32), 2, tracks=tracks)


@given(st.lists(st.integers(1, 9), min_size=40, max_size=60), st.integers(1, 30), st.integers(0, 1000))
def test_no_track_is_on_two_sides_and_every_count_is_exact(lengths, size, seed):
    data = filmed(lengths, seed)
    parts = split(data, size, 4, root(seed))
    on = [set(data.tracks[rows].tolist()) for rows in parts[:3]]
    assert not (on[0] & on[1] or on[0] & on[2] or on[1] & on[2])
    assert len(parts.candidates) == 2 * size and (parts.include.sum(axis=1) == size).all()
    assert (parts.include[0::2] == ~parts.include[1::2]).all()
    dropped = data.size - sum(map(len, parts[:3]))
    assert 0 <= dropped < 9
    assert abs(len(parts.population) - len(parts.holdout)) <= 9
    for row in parts.include:  # one track at most is cut between a model and its twin
        inside, outside = (set(data.tracks[parts.candidates[side]].tolist()) for side in (row, ~row))
        assert len(inside & outside) <= 1


def test_tracks_of_one_record_are_no_tracks():
    data = filmed([1] * 90)
    with_tracks, without = split(data, 30, 6, root(1)), split(replace(data, tracks=None), 30, 6, root(1))
    plain = replace(data, tracks=np.arange(90, dtype=np.int32))
    assert all(np.array_equal(a, b) for a, b in zip(split(plain, 30, 6, root(1)), without, strict=True))
    assert [len(part) for part in with_tracks] == [len(part) for part in without]


def test_tracks_too_long_for_the_public_part_are_refused():
    with pytest.raises(DataError, match=r"160 records come in 2 tracks.*leaves 80 records of other tracks.*smaller"):
        split(filmed([80, 80]), 10, 2, root(0))
    with pytest.raises(DataError, match="leaves 0 records"):
        split(filmed([5 * MIN_PUBLIC]), 10, 2, root(0))


TABLE = "age,city,smoker,dose\n" + "".join(
    f"{30 + k},{'Bonn' if k % 3 else 'Ulm'},{k % 2},{'low' if k < 5 else 'high'}\n" for k in range(9)
)


def test_a_table_says_what_may_be_changed_and_what_inferred_and_scaling_keeps_it_true(tmp_path):
    (tmp_path / "a.csv").write_text(TABLE)
    data = Csv(path=str(tmp_path / "a.csv"), target="dose", fixed=("age",)).load()
    assert data.feature_names == ("age", "city=Bonn", "city=Ulm", "smoker")
    rules = data.constraints
    assert rules.fixed.tolist() == [True, False, False, False]
    assert rules.step.tolist() == [1, 1, 1, 1]
    assert rules.group.tolist()[0] == rules.group.tolist()[3] == -1 and rules.group[1] == rules.group[2] >= 0
    assert set(data.attributes) == {"city", "smoker"}
    assert data.attributes["city"].names == ("Bonn", "Ulm") and data.attributes["city"].columns.tolist() == [1, 2]
    assert data.attributes["smoker"].values.tolist() == [[0], [1]]

    marked = replace(data, standardize=np.array([True, False, False, True]))
    scaled = standardized(marked, np.arange(4))
    for column in range(4):  # every record still lies on its grid, and on a value of its attributes
        place = (scaled.x[:, column] - scaled.constraints.offset[column]) / scaled.constraints.step[column]
        np.testing.assert_allclose(place, data.x[:, column], atol=1e-4)
    smoker = scaled.attributes["smoker"]
    np.testing.assert_allclose(smoker.values[data.x[:, 3].astype(int), 0], scaled.x[:, 3], rtol=1e-6)
    assert data.attributes["smoker"].values.tolist() == [[0], [1]]  # the original is left alone
    with pytest.raises(DataError, match="asked for by `fixed`"):
        Csv(path=str(tmp_path / "a.csv"), target="dose", fixed=("aeg",)).load()


def test_what_does_not_fit_the_records_is_refused():
    data = filmed([4] * 5)
    with pytest.raises(DataError, match=r"tracks have shape \(3,\) for 20 records"):
        check(replace(data, tracks=np.zeros(3, np.int32)), "toy")
    rules = Constraints(np.zeros(3, bool), np.zeros(2), np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match=r"constraints\.fixed has shape \(3,\)"):
        check(replace(data, constraints=rules), "toy")
    one = Attribute(np.array([1]), np.array([[0.0], [1.0]], np.float32), ("no", "yes"))
    with pytest.raises(DataError, match="'ill' hold none of its values"):
        check(replace(data, attributes={"ill": one}), "toy")
    with pytest.raises(DataError, match=r"values of shape \(2, 1\) for 1 names"):
        check(replace(data, attributes={"ill": one._replace(names=("no",))}), "toy")
