"""Data count by their content."""

from __future__ import annotations

import numpy as np

from privsec.runner.plan import plan


def config_of(path, **more):
    return {
        "title": "content",
        "data": {"name": "npz", "path": str(path)},
        "population": {"models": 4, "size": 20},
        "training": {"batch_size": 10},
        "attacks": [{"name": "loss"}],
        **more,
    }


def test_the_same_file_elsewhere_finds_its_models_and_a_changed_byte_does_not(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 3)).astype(np.float32), np.arange(80) % 2
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", features=x, labels=y)
    first, copy = (plan(config_of(tmp_path / f"{name}.npz")) for name in "ab")
    assert first.banks[0].digest == copy.banks[0].digest
    assert [c.digest for c in first.cells] == [c.digest for c in copy.cells]
    x[7, 1] += 1
    np.savez(tmp_path / "b.npz", features=x, labels=y)
    changed = plan(config_of(tmp_path / "b.npz"))
    assert first.banks[0].digest != changed.banks[0].digest
    assert not {c.digest for c in first.cells} & {c.digest for c in changed.cells}
