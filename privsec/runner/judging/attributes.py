"""Guessed attributes, held against what stands in the records, beside imputation without the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from privsec.core.estimate import Estimate
from privsec.core.evidence import Predictions
from privsec.measures import attributes
from privsec.runner.case import Case, Judgement

if TYPE_CHECKING:
    from privsec.attacks.inversion.attribute import AttributeAttack


def judged(evidence: Predictions, case: Case) -> Judgement:
    """The measures of attribute inversion, and the table of values."""
    attack, world = cast("AttributeAttack", case.attack), case.world
    secret = world.secret(attack.attribute, attack.records)
    member = world.member[: len(evidence.scores), secret.rows]
    truth = attributes.AttributeTruth(secret.values, member)
    names = secret.hidden.attribute.names
    facts = {"queries": float(evidence.queries), "attribute": attack.attribute, "values": list(names)}
    return Judgement(attributes.measure(evidence, truth), facts, attributes.exhibits(evidence, truth))


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates."""
    del facts
    return attributes.estimates(per_target, seeds)
