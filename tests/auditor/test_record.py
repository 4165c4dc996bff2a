"""The published schema of `audit.json` is the one of the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from privsec.auditor.record import VERSION, Claim, Figure, schema
from privsec.core.estimate import unresolved

PUBLISHED = Path(__file__).parents[2] / "docs" / "audit.schema.json"


def test_the_published_schema_is_current():
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == schema(), "write it again: privsec schema --audit"


def test_the_schema_names_its_version_and_explains_its_fields():
    assert schema()["properties"]["schema_version"]["const"] == VERSION
    figure = schema()["$defs"]["Figure"]["properties"]
    assert "independent units" in figure["n"]["description"]
    assert schema()["additionalProperties"] is False


def test_what_is_not_finite_is_null():
    figure = Figure.of(unresolved(3, "AUC", "higher_is_worse", "too few"))
    assert (figure.value, figure.low, figure.note) == (None, None, "too few")
    claim = Claim(
        epsilon=float("inf"),
        delta=0,
        source="x",
        tpr_at_1pct_fpr=1,
        tpr_at_01pct_fpr=1,
        advantage=1,
        contradicted=False,
    )
    assert claim.epsilon is None


def test_a_part_that_is_not_in_the_schema_is_refused():
    with pytest.raises(ValidationError):
        Figure(value=1, low=0, high=2, n=1, nonsense=1)  # type: ignore[call-arg]
