from __future__ import annotations

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.core.spec import SpecError
from privsec.data.gtsrb import GTSRB, SIGNS


@pytest.fixture
def path(tmp_path) -> str:
    rng = np.random.default_rng(0)
    y = np.repeat([12, 13, 14], 4)
    parts = {"x_train": rng.integers(0, 256, (12, 32, 32, 3), np.uint8), "y_train": y, "track_train": y * 1000}
    parts |= {"x_test": rng.integers(0, 256, (6, 32, 32, 3), np.uint8), "y_test": np.repeat([12, 13, 14], 2)}
    np.savez(tmp_path / "signs.npz", **parts)
    return str(tmp_path / "signs.npz")


def test_the_signs_have_their_names():
    assert len(SIGNS) == len(set(SIGNS)) == 43
    assert (SIGNS[13], SIGNS[14], SIGNS[17]) == ("yield", "stop", "no entry")


def test_a_subset_of_classes_is_numbered_anew_and_test_images_stand_alone(path):
    data = GTSRB(path=path, classes=(14, 13)).load()
    assert data.class_names == ("stop", "yield") and data.num_classes == 2
    assert data.y.tolist() == [1] * 4 + [0] * 4 + [1] * 2 + [0] * 2
    assert len(set(data.tracks[:8].tolist())) == 2 and len(set(data.tracks.tolist())) == 6
    assert data.x.min() >= 0 and data.x.max() <= 1 and data.x.dtype == np.float32
    train = GTSRB(path=path, classes=(14, 13), part="train").load()
    assert np.array_equal(train.x, data.x[:8]) and np.array_equal(train.tracks, data.tracks[:8])


def test_what_is_wrong_is_said(path, tmp_path):
    with pytest.raises(DataError, match="every class needs at least"):
        GTSRB(path=path).load()
    with pytest.raises(SpecError, match="classes"):
        GTSRB(classes=(14, 43))
    arrays = dict(np.load(path))
    np.savez(tmp_path / "small.npz", **arrays | {"x_train": arrays["x_train"][:, ::2]})
    with pytest.raises(DataError, match="track_train"):
        GTSRB(path=str(tmp_path / "small.npz")).load()


@pytest.mark.data
def test_the_real_signs(real_data):
    data = GTSRB(path=str(real_data("gtsrb32.npz")), part="train").load()
    assert data.shape == (32, 32, 3) and data.num_classes == 43 and data.size == 4440
    tracks, first, counts = np.unique(data.tracks, return_index=True, return_counts=True)
    assert len(tracks) == 444 and set(counts) == {10}
    assert all((data.y[data.tracks == track] == data.y[row]).all() for track, row in zip(tracks, first, strict=True))
