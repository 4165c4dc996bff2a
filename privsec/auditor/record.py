"""The record of an audit: what `audit.json` holds and `audit.html` shows; its JSON schema is published, versioned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from privsec.core.estimate import Direction, Estimate
from privsec.privacy.lower_bounds import Design, LowerBound

VERSION = "1.0"
"""Of the schema: the second number grows when something is added, the first when a reader would break."""

Number = Annotated[float | None, BeforeValidator(lambda x: None if x is None or not math.isfinite(x) else float(x))]
"""A finite number; null where there is none (not resolved, unbounded)."""


class Part(BaseModel):
    """Base of all parts of the record: frozen, nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Figure(Part):
    """A measured value and its interval; see `core/estimate.py`."""

    value: Number
    low: Number
    """Lower end of the interval at this record's confidence."""
    high: Number
    """Upper end; null where there is no upper bound."""
    n: int
    """How many independent units the interval rests on."""
    unit: str = ""
    direction: Direction = "descriptive"
    note: str = ""
    """Why there is no value, or how to read it."""

    @classmethod
    def of(cls, estimate: Estimate) -> Figure:
        """The figure of an Estimate."""
        return cls(**estimate._asdict())


def figures(estimates: Mapping[str, Estimate]) -> dict[str, Figure]:
    """The figures of several measures."""
    return {name: Figure.of(estimate) for name, estimate in estimates.items()}


class Bound(Part):
    """A lower bound on epsilon."""

    name: str
    title: str
    epsilon: float
    delta: float
    confidence: float
    """The bound exceeds the true epsilon with probability at most one minus this, under the assumptions."""
    ceiling: Number
    """The most this method could show with so many records, were they told apart perfectly."""
    grade: Literal["proof", "heuristic"]
    assumptions: tuple[str, ...]
    n: int
    attack: str = ""
    """Title of the attack whose scores it was computed from."""

    @classmethod
    def of(cls, bound: LowerBound, attack: str = "") -> Bound:
        """The part of a LowerBound."""
        return cls(
            name=bound.name,
            title=bound.title,
            epsilon=bound.estimate.value,
            delta=bound.delta,
            confidence=1 - bound.alpha,
            ceiling=bound.ceiling,
            grade=bound.grade,
            assumptions=bound.assumptions,
            n=bound.estimate.n,
            attack=attack,
        )


class Claim(Part):
    """A differential-privacy guarantee that somebody claims for the model, and what it would imply."""

    epsilon: Number
    """Null: no finite guarantee."""
    delta: float
    source: str
    """Who claims it: `"given"`, an accountant, a recipe."""
    tpr_at_1pct_fpr: float
    """The largest TPR at 1% FPR that any attacker could have, were the claim true."""
    tpr_at_01pct_fpr: float
    """The same at 0.1% FPR."""
    advantage: float
    """The largest membership advantage (TPR at 1% FPR, rescaled), were the claim true."""
    contradicted: bool
    """Whether the simultaneous bound on epsilon lies above the claim."""


class AttackResult(Part):
    """What one attack found."""

    title: str
    name: str
    access: str
    paper: str
    status: Literal["ok", "failed", "not_applicable"]
    reason: str = ""
    """Why it has no numbers."""
    measures: dict[str, Figure] = {}
    """Each by itself at the record's confidence, not corrected for the other attacks."""
    bounds: tuple[Bound, ...] = ()
    """Each by itself at the record's confidence."""
    queries: Number = None
    """Model queries per record, a mean."""
    roc: tuple[tuple[float, float], ...] = ()
    """(FPR, TPR) along the curve, at most a few hundred points."""
    seconds: Number = None


class Slice(Part):
    """The strongest attack on the records of one slice."""

    attribute: str
    """`"class"`, `"prediction"` (right or wrong), or a given attribute."""
    value: str
    members: int
    non_members: int
    measures: dict[str, Figure]
    p_value: Number = None
    """Of the slice's AUC being the others', adjusted for the number of slices (Holm)."""


class RecordAtRisk(Part):
    """A member that the strongest attack ranks among the surest."""

    row: int
    """Its index among the members as they were given."""
    identifier: str = ""
    """Its own name, where the caller gave one."""
    label: str = ""
    score: float
    rank: int
    """1 = surest of all records."""
    false_positive_rate: float
    """Share of the non-members that score at least as high."""


class Caution(Part):
    """Something that limits what the numbers mean."""

    code: str
    """Stable, e.g. `"distribution-shift"`."""
    severity: Literal["note", "warning", "invalid"]
    """`invalid`: the numbers must not be used as they stand."""
    text: str


class Rule(Part):
    """One threshold of a policy and how it came out."""

    rule: str
    """As a person writes it: `"auc.high <= 0.6"`."""
    observed: Number
    outcome: Literal["passed", "failed", "not_resolved"]
    """A rule on a figure that could not be resolved does not pass."""
    reason: str = ""


class Subject(Part):
    """What was audited."""

    kind: Literal["scores", "model", "training"]
    description: str
    members: int
    non_members: int
    units: str = "records"
    """What a member is: `"records"`, `"groups"` (all records of one person), `"canaries"`."""
    num_classes: int | None = None
    accuracy: dict[str, Figure] = {}
    """On `"members"` and `"non_members"`, where answers were available."""


class ThreatModel(Part):
    """Who the attacker is."""

    goal: str
    access: str
    """The most that the attacks were given."""
    knowledge: str
    references: int
    """Models the attacker trained for comparison."""
    queries: int | None = None
    """All queries spent on the audited model, where they are counted."""


class Verdict(Part):
    """The answer in words."""

    level: Literal["claim_contradicted", "claim_not_contradicted", "leak_shown", "no_leak_shown", "unusable"]
    """`claim_not_contradicted` is the verdict on canaries of a training that claims a guarantee."""
    headline: str
    sentences: tuple[str, ...]


class Reference(Part):
    """A finding's place in a public catalog or a law."""

    catalog: str
    identifier: str
    title: str
    url: str = ""


class AuditRecord(Part):
    """A whole audit."""

    model_config = ConfigDict(title="privsec audit")

    schema_version: Literal["1.0"] = VERSION
    title: str
    created: str
    """Time of the audit, ISO 8601 in UTC."""
    confidence: float = 0.95
    design: Design
    """How members were told from non-members: decides which bounds are proof-grade."""
    subject: Subject
    threat_model: ThreatModel
    verdict: Verdict
    worst: dict[str, Figure] = {}
    """Each measure's worst attack; the intervals hold for all attacks at once (Bonferroni)."""
    worst_attack: dict[str, str] = {}
    """measure -> title of that attack."""
    epsilon_lower: Bound | None
    """The strongest bound, corrected for the number of attacks and methods it was chosen from."""
    claim: Claim | None = None
    blind: Figure | None = None
    """AUC of a classifier that sees the records and never the model."""
    attacks: tuple[AttackResult, ...]
    slices: tuple[Slice, ...] = ()
    at_risk: tuple[RecordAtRisk, ...] = ()
    cautions: tuple[Caution, ...] = ()
    policy: tuple[Rule, ...] = ()
    references: tuple[Reference, ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Versions, device, seed, seconds, digests of the inputs."""

    @property
    def passed(self) -> bool:
        """Whether every rule of the policy passed."""
        return all(rule.outcome == "passed" for rule in self.policy)


def schema() -> dict[str, Any]:
    """The JSON schema of `audit.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **AuditRecord.model_json_schema()}
