"""Thresholds that an audit must keep, so that a pipeline can stop a release: YAML, or strings like `auc_high > 0.6`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from privsec.auditor.record import AuditRecord, Rule
from privsec.core.errors import ConfigError, did_you_mean
from privsec.core.spec import Spec
from privsec.measures.membership import MEASURES

End = Literal["value", "low", "high"]
KNOWN = (*MEASURES, "epsilon")
ENDS: dict[str, End] = {"lower": "low", "low": "low", "upper": "high", "high": "high", "value": "value"}
FAILS = re.compile(r"^\s*([\w.%]+?)(?:[._](lower|low|upper|high|value))?\s*(>=|<=|>|<)\s*(\S+)\s*$")


class PolicyRule(Spec):
    """One threshold on one end of one measure's interval, or on its value."""

    measure: str
    """A measure of membership (`auc`, `tpr_at_1pct_fpr` ...) or `epsilon`, the strongest lower bound."""
    end: End | None = None
    """`high` asks for proof that leakage is below a limit, `low` only that none above it was proven. By default `low`
    for epsilon, which has no other end, and `value` for the rest."""
    at_most: float | None = Field(default=None, allow_inf_nan=False)
    """The rule holds up to this, inclusive."""
    below: float | None = Field(default=None, allow_inf_nan=False)
    """The rule holds below this."""
    at_least: float | None = Field(default=None, allow_inf_nan=False)
    above: float | None = Field(default=None, allow_inf_nan=False)
    attack: str | None = None
    """Name or title of one attack, judged by itself; by default the worst over all attacks, all intervals at once."""
    unresolved: Literal["fail", "pass"] = "fail"
    """What becomes of the rule where the figure could not be resolved from so few records."""
    why: str = ""
    """For whoever reads the report."""

    @model_validator(mode="after")
    def _consistent(self) -> PolicyRule:
        if self.measure not in KNOWN:
            hint = did_you_mean(self.measure, KNOWN)
            raise ValueError(f"there is no measure {self.measure!r}.{hint} There are {', '.join(KNOWN)}.")
        if self.measure == "epsilon" and self.end not in (None, "low"):
            raise ValueError("an audit bounds epsilon from below only: write `end: low`, or leave `end` away")
        if self.measure == "epsilon" and self.attack:
            raise ValueError("epsilon is bounded over all attacks together: leave `attack` away")
        if len(self._limits()) != 1:
            raise ValueError("a rule needs one limit: at_most, below, at_least or above")
        return self

    def _limits(self) -> list[tuple[str, float]]:
        given = (("<=", self.at_most), ("<", self.below), (">=", self.at_least), (">", self.above))
        return [(sign, limit) for sign, limit in given if limit is not None]

    @property
    def which_end(self) -> End:
        """The end that is looked at."""
        return self.end or ("low" if self.measure == "epsilon" else "value")

    def __str__(self) -> str:
        ((sign, limit),) = self._limits()
        end = "" if self.which_end == "value" else f".{self.which_end}"
        of = f" of {self.attack}" if self.attack else ""
        return f"{self.measure}{end}{of} {sign} {limit:g}"

    def holds(self, figure: float) -> bool:
        """Whether a figure keeps the limit."""
        ((sign, limit),) = self._limits()
        return {"<=": figure <= limit, "<": figure < limit, ">=": figure >= limit, ">": figure > limit}[sign]


class Policy(Spec):
    """What a model must keep to be released."""

    title: str = ""
    rules: tuple[PolicyRule, ...] = ()


def read_policy(source: str | Path | Mapping[str, Any] | Policy | None, fail_if: Sequence[str] = ()) -> Policy:
    """The policy of a YAML file (or its values), with a rule more for each `fail_if`.

    Raises:
        ConfigError: no such file, no YAML, an unknown measure, a rule without a limit. Nothing has been computed.

    >>> [str(rule) for rule in read_policy(None, ["epsilon_lower > 8", "auc_high >= 0.6"]).rules]
    ['epsilon.low <= 8', 'auc.high < 0.6']
    """
    if isinstance(fail_if, str):
        fail_if = (fail_if,)
    policy = source if isinstance(source, Policy) else Policy(**_values(source))
    return policy.model_copy(update={"rules": policy.rules + tuple(fails_if(text) for text in fail_if)})


def _values(source: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return dict(source)
    try:
        values = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{source}: the policy cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: the policy is no YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: a policy is a mapping with `rules`, for example: {EXAMPLE}")
    return values


EXAMPLE = "{rules: [{measure: auc, end: high, at_most: 0.6}]}"


def fails_if(text: str) -> PolicyRule:
    """The rule that is broken where `text` is true: `<measure>[_lower|_upper|_value] (>|>=|<|<=) <number>`.

    Raises:
        ConfigError: it cannot be parsed, or names no measure.

    >>> str(fails_if("tpr_at_0.1pct_fpr_high >= 0.01"))
    'tpr_at_0.1pct_fpr.high < 0.01'
    """
    match = FAILS.match(text)
    if not match:
        raise ConfigError(
            f"{text!r} cannot be read: write <measure> > <number>, such as 'epsilon_lower > 8' or 'auc_high >= 0.6'."
        )
    measure, end, sign, number = match.groups()
    if measure not in KNOWN:
        hint = did_you_mean(measure, KNOWN)
        raise ConfigError(f"{text!r}: there is no measure {measure!r}.{hint} There are {', '.join(KNOWN)}.")
    try:
        limit = float(number)
    except ValueError:
        raise ConfigError(f"{text!r}: {number!r} is no number.") from None
    opposite = {">": "at_most", ">=": "below", "<": "at_least", "<=": "above"}[sign]
    fields: dict[str, Any] = {"measure": measure, "end": ENDS[end] if end else None, opposite: limit}
    return PolicyRule(**fields)


def check_names(policy: Policy, titles: Sequence[str]) -> None:
    """Refuses rules about attacks that do not run.

    Raises:
        ConfigError: which, and the nearest name.
    """
    for rule in policy.rules:
        if rule.attack is not None and rule.attack not in titles:
            hint = did_you_mean(rule.attack, titles)
            raise ConfigError(
                f"policy rule {rule}: no attack {rule.attack!r} runs.{hint} There are {', '.join(titles)}."
            )


def judged(policy: Policy, record: AuditRecord) -> tuple[Rule, ...]:
    """How each rule came out; on an unusable audit none can be said to be kept."""
    unusable = next((caution.text for caution in record.cautions if caution.severity == "invalid"), "")
    return tuple(_judged(rule, record, unusable) for rule in policy.rules)


def _judged(rule: PolicyRule, record: AuditRecord, unusable: str) -> Rule:
    observed, note = _observed(rule, record)
    if unusable:
        reason = f"the audit is unusable: {unusable}"
        return Rule(rule=str(rule), observed=observed, outcome="not_resolved", reason=reason)
    if observed is None:
        passes = rule.unresolved == "pass"
        how = (
            "the policy lets it pass" if passes else "it does not pass; `unresolved: pass` in the policy would allow it"
        )
        reason = f"{note or 'there is no such figure'}: {how}"
        return Rule(rule=str(rule), observed=None, outcome="passed" if passes else "not_resolved", reason=reason)
    return Rule(
        rule=str(rule), observed=observed, outcome="passed" if rule.holds(observed) else "failed", reason=rule.why
    )


def _observed(rule: PolicyRule, record: AuditRecord) -> tuple[float | None, str]:
    """The figure that the rule is about; or None, and why."""
    one = next((found for found in record.attacks if rule.attack in (found.title, found.name)), None)
    if rule.measure == "epsilon":
        bound = record.epsilon_lower
        return (bound.epsilon, "") if bound else (None, "no bound on epsilon could be computed")
    figure = (record.worst if one is None else one.measures).get(rule.measure)
    if figure is None:
        return None, one.reason if one else "no attack has numbers"
    return getattr(figure, rule.which_end), figure.note
