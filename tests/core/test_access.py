from __future__ import annotations

import itertools

import pytest

from privsec.core.access import Access

LADDER = [Access.NONE, Access.LABELS, Access.SCORES, Access.LOGITS, Access.GRADIENTS, Access.WEIGHTS]


@pytest.mark.parametrize(("weak", "strong"), list(itertools.combinations(LADDER, 2)))
def test_the_ladder_is_strict(weak, strong):
    assert weak in strong and strong not in weak
    assert weak & strong == weak and weak | strong == strong


def test_updates_stand_apart():
    assert Access.UPDATES not in Access.WEIGHTS
    assert all(level not in Access.UPDATES for level in LADDER[1:])
    assert Access.WEIGHTS in Access.WEIGHTS | Access.UPDATES


def test_titles():
    assert [level.title for level in LADDER] == ["none", "labels", "scores", "logits", "gradients", "weights"]
    assert "updates" in (Access.LABELS | Access.UPDATES).title
