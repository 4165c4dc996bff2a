"""Defenses that leave out a share of each class leave out that share, also where nothing is wrong."""

import numpy as np
import pytest

from privsec.defenses.data.outlier_removal import OutlierRemoval
from privsec.defenses.data.spectral_signatures import SpectralSignatures
from privsec.defenses.data.spectre import Spectre
from tests.defenses.data.poisoned import clean


@pytest.mark.parametrize(("defense", "share"), [(OutlierRemoval, 0.05), (SpectralSignatures, 0.1), (Spectre, 0.1)])
def test_of_each_class_the_stated_share_goes(defense, share):
    world = clean()
    made = world.cleaned(defense(share=share))
    for label in range(10):
        own = world.data.y == label
        assert np.sum(~made.kept & own) == int(share * own.sum())
