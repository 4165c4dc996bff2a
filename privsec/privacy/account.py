"""What `privsec account` answers: what a training with DP-SGD guarantees, and what that leaves an attacker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.core.spec import Spec
from privsec.privacy import accounting, calibrate
from privsec.privacy.reconstruction import bound_from_event

FPRS = (0.01, 0.001)
"""The false positive rates at which membership attacks are bounded."""
KAPPAS = (0.001, 0.01, 0.1)
"""The prior success probabilities at which reconstruction is bounded."""
LOUD = 10.0
"""An epsilon above this excludes little."""

ASSUMPTIONS = (
    "Poisson sampling: every step includes every record by a coin of its own. Shuffled batches of fixed size, which "
    "many trainings use in fact, are not covered and can leak much more (Chua et al. 2024, arXiv 2403.17673).",
    "Neighboring data sets differ by one record added or removed. For one record replaced by another the guarantee "
    "is (2 epsilon, (1 + e^epsilon) delta).",
    "Each record's gradient is clipped by itself, the noise is drawn afresh at each step and scaled to the clip norm.",
    "One training. Others on the same records, trials for hyperparameters included, add to it: keep a ledger.",
)
"""What the numbers rest on."""


class Row(NamedTuple):
    """One line for the reader: what it is called, its value as text, what it means."""

    name: str
    value: str
    meaning: str


class Ceiling(Spec):
    """The most an attacker reaches who has `chance` without the model: a false positive rate, or a prior success."""

    chance: float
    """False positive rate of a membership attack, or success probability of a reconstruction without the model."""
    bound: float
    """No attack's true positive rate, or success probability, is above this."""


class Accounting(Spec):
    """The privacy of one DP-SGD training, and what is left to an attacker."""

    sampling_rate: float
    """Probability with which a step sees a record."""
    noise_multiplier: float
    """Noise standard deviation in units of the clip norm."""
    steps: int
    """Number of optimizer steps."""
    records: int | None
    """Number of records, where given."""
    delta: float
    """The delta of both epsilons."""
    epsilon: float
    """Upper bound on epsilon, from the privacy loss distribution of all steps."""
    epsilon_rdp: float
    """Upper bound on epsilon from Rényi divergences: looser, and what many tools report."""
    asked_epsilon: float | None
    """The epsilon that the noise was calibrated to; null where the noise was given."""
    membership: tuple[Ceiling, ...]
    """The largest true positive rate at given false positive rates, from the trade-off curve of all steps."""
    membership_advantage: float
    """The largest difference of true and false positive rate at any threshold."""
    reconstruction: tuple[Ceiling, ...]
    """The largest success probability of a reconstruction at given prior success probabilities."""
    neighbors: Literal["add or remove one record"] = "add or remove one record"
    """Which data sets the guarantee compares."""
    assumptions: tuple[str, ...] = ASSUMPTIONS
    """What the numbers rest on."""
    warnings: tuple[str, ...] = ()
    """What is unwise about these numbers."""

    @property
    def event(self) -> DPEvent:
        """The training as the accountant sees it."""
        return DPEvent(self.sampling_rate, self.noise_multiplier, self.steps)

    def rows(self) -> list[Row]:
        """The numbers as text, upper bounds rounded upward, each with what it means."""
        how = "as given" if self.asked_epsilon is None else f"the least that keeps epsilon at {self.asked_epsilon:g}"
        rows = [
            Row("sampling rate", f"{self.sampling_rate:.4g}", "probability with which a step sees a record"),
            Row("steps", str(self.steps), "optimizer steps"),
            Row("noise multiplier", f"{self.noise_multiplier:.4g}", f"noise per clip norm, {how}"),
            Row("delta", f"{self.delta:g}", "to be far below one over the number of records"),
            Row("epsilon", upward(self.epsilon), "by the privacy loss distribution: the one to report"),
            Row("epsilon (RDP)", upward(self.epsilon_rdp), "by Rényi divergences: looser, for comparison"),
        ]
        rows += [
            Row(f"TPR at {at.chance:.3g} FPR", upward(at.bound), "no membership attack on a record finds more members")
            for at in self.membership
        ]
        rows.append(
            Row("membership advantage", upward(self.membership_advantage), "no attack's TPR exceeds its FPR by more")
        )
        rows += [
            Row(f"reconstruction at prior {at.chance:.3g}", upward(at.bound), "no attack rebuilds a record more often")
            for at in self.reconstruction
        ]
        return rows


def account(
    *,
    delta: float,
    noise_multiplier: float | None = None,
    epsilon: float | None = None,
    sampling_rate: float | None = None,
    records: int | None = None,
    batch_size: int | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    kappas: Sequence[float] = KAPPAS,
) -> Accounting:
    """What a DP-SGD training guarantees; or, for an asked epsilon, the noise it takes and what that guarantees.

    Args:
        delta: in (0, 1), to be well below 1 / records.
        noise_multiplier: noise standard deviation over clip norm, >= 0. Give this or `epsilon`.
        epsilon: the epsilon to calibrate the noise to, > 0.
        sampling_rate: probability with which a step sees a record, in (0, 1]. Give this, or `records` and `batch_size`.
        records: number of training records.
        batch_size: records a step sees on average.
        steps: number of optimizer steps, >= 1. Give this or `epochs`.
        epochs: each of ceil(1 / sampling rate) steps, as a training here has; rounded upward to whole steps.
        kappas: prior success probabilities at which reconstruction is bounded.

    Returns:
        Epsilon by two accountants and the bounds it implies; epsilon is infinite and the bounds are 1 without noise.

    Raises:
        ConfigError: something is missing, given twice, or out of range.

    >>> found = account(records=60_000, batch_size=600, steps=1000, noise_multiplier=1.0, delta=1e-5)
    >>> round(found.epsilon, 2), round(found.membership[0].bound, 3)
    (1.83, 0.029)
    """
    _one_of(noise_multiplier=noise_multiplier, epsilon=epsilon)
    _one_of(steps=steps, epochs=epochs)
    if not 0 < delta < 1:
        raise ConfigError(f"delta is a probability in (0, 1), got {delta}; write for example 1e-5")
    rate = _rate(sampling_rate, records, batch_size)
    if steps is None:
        assert epochs is not None
        steps = math.ceil(epochs * math.ceil(1 / rate - 1e-9))  # 1 / rate is a float: 10.000000000000002 is 10
    if steps < 1:
        raise ConfigError(f"a training has at least one step, got steps={steps}, epochs={epochs}")
    if noise_multiplier is None:
        assert epsilon is not None
        noise_multiplier = calibrate.noise_multiplier(epsilon, delta, rate, steps)
    event = DPEvent(rate, noise_multiplier, steps)
    spent = accounting.epsilon(event, delta)
    return Accounting(
        **event._asdict(),
        records=records,
        delta=delta,
        epsilon=spent,
        epsilon_rdp=accounting.epsilon(event, delta, accountant="rdp"),
        asked_epsilon=epsilon,
        membership=_ceilings(FPRS, event),
        membership_advantage=accounting.trade_off_advantage(event),
        reconstruction=_ceilings(kappas, event),
        warnings=_warnings(event, spent, delta, records),
    )


def upward(value: float) -> str:
    """An upper bound as text of three decimals, never below the value.

    >>> upward(1.8282), upward(0.5), upward(float("inf"))
    ('1.829', '0.500', 'infinite')
    """
    return "infinite" if math.isinf(value) else f"{math.ceil(round(value * 1000, 6)) / 1000:.3f}"


def too_large(delta: float, records: int | None) -> tuple[str, ...]:
    """A warning where a delta is no protection of single records, of which there are so many; else nothing."""
    if records is None or delta < 1 / records:
        return ()
    return (
        f"delta = {delta:g} is not below 1 / records = {1 / records:.2g}: publishing a few records outright would "
        "satisfy it. Take a delta ten times smaller than 1 / records or less.",
    )


def _ceilings(chances: Sequence[float], event: DPEvent) -> tuple[Ceiling, ...]:
    # A success above the prior and a true positive rate above the false one obey the same curve.
    return tuple(
        Ceiling(chance=chance, bound=float(bound))
        for chance, bound in zip(chances, bound_from_event(event, chances), strict=True)
    )


def _one_of(**given: float | None) -> None:
    if sum(value is not None for value in given.values()) != 1:
        said = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ConfigError(f"give exactly one of {' and '.join(given)}; got {said}")


def _rate(sampling_rate: float | None, records: int | None, batch_size: int | None) -> float:
    if (sampling_rate is None) == (batch_size is None):
        raise ConfigError(
            f"give a sampling rate, or records and batch size; got sampling_rate={sampling_rate}, records={records}, "
            f"batch_size={batch_size}"
        )
    if sampling_rate is not None:
        if not 0 < sampling_rate <= 1:
            raise ConfigError(f"a sampling rate is batch_size / records, in (0, 1]; got {sampling_rate}")
        return sampling_rate
    assert batch_size is not None
    if records is None or not 1 <= batch_size <= records:
        raise ConfigError(f"a batch holds 1 to `records` records; got batch_size={batch_size}, records={records}")
    return batch_size / records


def _warnings(event: DPEvent, epsilon: float, delta: float, records: int | None) -> tuple[str, ...]:
    said = []
    if math.isinf(epsilon):
        said.append("No noise, no guarantee: every bound here is the trivial one.")
    elif epsilon > LOUD:
        said.append(
            f"An epsilon above {LOUD:g} excludes little; what it leaves an attacker stands in the bounds. The attacks "
            "that were run may find far less, which is a statement about those attacks and no guarantee."
        )
    said += too_large(delta, records)
    if event.sampling_rate == 1:
        said.append("Every step sees every record: sampling adds nothing to the noise. Smaller batches cost less.")
    return tuple(said)
