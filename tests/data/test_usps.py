from __future__ import annotations

import gzip

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.data.usps import USPS


@pytest.mark.data
def test_the_real_digits(real_data):
    data = USPS(path=str(real_data("usps.npz"))).load()
    assert data.x.shape == (9298, 16, 16, 1) and data.num_classes == 10
    assert (data.x.min(), data.x.max()) == (0, 1)
    flat = data.x.reshape(len(data.x), -1)
    centers = np.stack([flat[:7291][data.y[:7291] == label].mean(axis=0) for label in range(10)])
    nearest = ((flat[7291:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    assert np.mean(nearest == data.y[7291:]) > 0.75  # do the labels belong to the images?


def test_the_original_layout_and_the_npz_give_the_same(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(-1000, 1001, (60, 256)) / 1000, np.arange(60) % 10
    rows = "\n".join(" ".join([f"{label}.0000", *(f"{v:.4f}" for v in row)]) for label, row in zip(y, x, strict=True))
    (tmp_path / "usps").mkdir()
    with gzip.open(tmp_path / "usps" / "zip.train.gz", "wt") as file:
        file.write(rows[: rows.index("\n", len(rows) // 2)])
    (tmp_path / "usps" / "zip.test").write_text(rows[rows.index("\n", len(rows) // 2) + 1 :])
    original = USPS(path=str(tmp_path / "usps")).load()
    ink = ((x + 1) / 2).reshape(-1, 16, 16).astype(np.float32)
    np.savez(tmp_path / "usps.npz", x_train=ink[:40], y_train=y[:40], x_test=ink[40:], y_test=y[40:])
    packed = USPS(path=str(tmp_path / "usps.npz")).load()
    np.testing.assert_allclose(original.x, packed.x, atol=1e-6)
    np.testing.assert_array_equal(original.y, packed.y)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "zip.train").write_text("1 2 3\n")
    (tmp_path / "zip.test").write_text("1 2 3\n")
    with pytest.raises(DataError, match="wanted a digit and 256 values"):
        USPS(path=str(tmp_path)).load()
    (tmp_path / "zip.test").unlink()
    with pytest.raises(DataError, match=r"has no zip\.test"):
        USPS(path=str(tmp_path)).load()
