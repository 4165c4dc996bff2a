"""Records picked from a prior by an informed adversary, held against those that were trained on, and the bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from privsec.attacks.inversion.informed_adversary import InformedAdversary
from privsec.core.errors import PrivsecError
from privsec.core.estimate import Estimate
from privsec.core.evidence import Reconstructions
from privsec.measures import informed
from privsec.privacy.reconstruction import bound_from_event
from privsec.runner.case import Case, Judgement
from privsec.runner.observed import watched

BOUND = "success_bound"
"""The measure by which such a cell is known."""


def judged(evidence: Reconstructions, case: Case) -> Judgement:
    """Whether each pick is right; beside it the best guess, and what the watched steps allow any attack at most."""
    attack, updates = cast(InformedAdversary, case.attack), case.knowledge.updates
    assert updates is not None  # the attack requires it
    rows = attack.rows(case.world.candidates.size)
    hidden = np.searchsorted(rows, watched(attack, case.world).hidden)
    truth = informed.InformedTruth(np.asarray(case.world.candidates.x)[rows], hidden)
    event, steps = case.bank.recipe.dp_event, min(attack.steps, case.bank.recipe.steps)
    bound = 1.0 if event is None else float(bound_from_event(event._replace(steps=steps), informed.guess(truth.prior)))
    facts = {"queries": float(evidence.queries), "assumptions": attack.assumptions}
    return Judgement(informed.measure(np.asarray(evidence.x)[:, 0], truth, bound), facts, {})


def estimates(per_target: Mapping[str, np.ndarray]) -> dict[str, Estimate]:
    """The Estimates; every training of every seed counts.

    Raises:
        PrivsecError: the attack beats the bound.
    """
    answer = informed.estimates(per_target)
    measured, allowed = answer["success"], answer[BOUND].value
    if measured.low > allowed:
        raise PrivsecError(
            f"an informed adversary picks the record with probability {measured.low:.3f} at least, and the training "
            f"allows at most {allowed:.3f}: it does not keep its guarantee. Do not rely on this defense."
        )
    return answer
