from __future__ import annotations

import numpy as np
import pytest

from privsec.data.squares import Squares


def count(image, size):
    """Cells of the grid with any light in them."""
    cell, margin = size // 4, (size - size // 4 * 4) // 2
    inside = image[margin : margin + 4 * cell, margin : margin + 4 * cell]
    return int((inside.reshape(4, cell, 4, cell).max(axis=(1, 3)) > 0).sum())


@pytest.mark.parametrize(("size", "shades"), [(36, False), (17, True)])
def test_the_class_is_the_number_of_squares(size, shades):
    data = Squares(size=size, records=60, shades=shades).load()
    assert data.x.shape == (60, size, size, 1) and data.num_classes == 10
    assert np.bincount(data.y).tolist() == [6] * 10
    assert [count(image[..., 0], size) for image in data.x] == (data.y + 1).tolist()
    assert [data.class_names[label] for label in (0, 9)] == ["1", "10"]
    levels = np.unique(data.x)
    assert (len(levels) > 100 and levels[1] >= np.float32(0.3)) if shades else levels.tolist() == [0, 1]


def test_a_square_has_a_black_frame_and_every_place_is_used_alike():
    data = Squares(size=12, records=2000).load()
    one = data.x[data.y == 0][:, ..., 0]
    assert np.all(one.sum(axis=(1, 2)) == 1)  # 3 x 3 with a frame of one pixel leave one
    rows, columns = np.nonzero(one.sum(axis=0))
    assert set(rows) == set(columns) == {1, 4, 7, 10}
    used = data.x[..., 0][:, 1::3, 1::3].mean(axis=0)
    np.testing.assert_allclose(used, 5.5 / 16, atol=4 * np.sqrt(0.25 / 2000))


def test_the_seed_decides_and_nothing_else():
    assert np.array_equal(Squares(records=40).load().x, Squares(records=40).load().x)
    assert not np.array_equal(Squares(records=40).load().x, Squares(records=40, seed=1).load().x)
