"""A differential-privacy claim about the audited model: read, put beside what was shown, and what it would imply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from privsec.auditor.record import Bound, Caution, Claim
from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.privacy import accounting


class Claimed(NamedTuple):
    """(epsilon, delta), who says so, and the training as an accountant sees it, where it is known."""

    epsilon: float
    delta: float
    source: str = "given"
    event: DPEvent | None = None


def read_claim(claim: Any, delta: float) -> Claimed | None:
    """The claim that `(epsilon, delta)`, a mapping, a DPEvent, or anything with `epsilon` and `delta` makes.

    Args:
        claim: see above; None for no claim.
        delta: at which a DPEvent is accounted.

    Raises:
        ConfigError: epsilon is negative or no number, delta outside [0, 1), or there is no telling what was meant.
    """
    if claim is None:
        return None
    if isinstance(claim, DPEvent):
        return Claimed(accounting.epsilon(claim, delta), delta, "accountant", claim)
    if isinstance(claim, Mapping):
        fields: dict[str, Any] = {name: claim[name] for name in Claimed._fields if name in claim}
    elif hasattr(claim, "epsilon") and hasattr(claim, "delta"):
        fields = {name: getattr(claim, name) for name in Claimed._fields if hasattr(claim, name)}
    elif isinstance(claim, (tuple, list)) and len(claim) == 2:
        fields = dict(zip(("epsilon", "delta"), claim, strict=True))
    else:
        raise ConfigError(f"claim must be (epsilon, delta), a DPEvent, or have `epsilon` and `delta`; got {claim!r}.")
    try:
        made = Claimed(**{**fields, "epsilon": float(fields["epsilon"]), "delta": float(fields["delta"])})
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"claim must give numbers for epsilon and delta; got {claim!r}.") from None
    if not made.epsilon >= 0:
        raise ConfigError(f"claim: epsilon is {made.epsilon:g}, but a budget is at least 0. Swapped with delta?")
    if not 0 <= made.delta < 1:
        raise ConfigError(f"claim: delta is {made.delta:g}, but it is a probability in [0, 1), for example 1e-5.")
    return made


def beside(claimed: Claimed, bound: Bound | None, members: int) -> tuple[Claim, list[Caution]]:
    """The claim's part of the record, and what is to be said of it.

    Args:
        claimed: as read.
        bound: what was shown, at the claim's delta.
        members: how many records the model is known to be trained on.
    """
    tpr_1, tpr_01 = (float(accounting.tpr_bound(claimed.epsilon, claimed.delta, fpr)) for fpr in (0.01, 0.001))
    claim = Claim(
        epsilon=claimed.epsilon,
        delta=claimed.delta,
        source=claimed.source,
        tpr_at_1pct_fpr=tpr_1,
        tpr_at_01pct_fpr=tpr_01,
        advantage=(tpr_1 - 0.01) / 0.99,
        contradicted=bound is not None and bound.epsilon > claimed.epsilon,
    )
    cautions = []
    if claimed.delta >= 1 / members:
        text = (
            f"The claimed delta {claimed.delta:g} is not below 1 / {members}, one over the number of members: a "
            "mechanism that publishes a random training record whole may satisfy such a claim."
        )
        cautions.append(Caution(code="delta-too-large", severity="warning", text=text))
    if math.isinf(claimed.epsilon):
        cautions.append(
            Caution(code="claim-vacuous", severity="note", text="The claim is an infinite epsilon: no claim.")
        )
    elif bound is not None and bound.ceiling is not None and bound.ceiling < claimed.epsilon:
        text = (
            f"With so few records this audit could not show more than epsilon {bound.ceiling:.2f} even if every record "
            f"were told apart, so it cannot contradict the claim of {claimed.epsilon:g}."
        )
        cautions.append(Caution(code="claim-unreachable", severity="warning", text=text))
    return claim, cautions
