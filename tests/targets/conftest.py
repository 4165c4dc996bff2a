from __future__ import annotations

import numpy as np
import pytest

from privsec.core.data import Examples


@pytest.fixture
def examples() -> Examples:
    """23 records of 5 features and 3 classes."""
    rng = np.random.default_rng(0)
    return Examples(rng.normal(size=(23, 5)).astype(np.float32), rng.integers(0, 3, 23).astype(np.int32))
