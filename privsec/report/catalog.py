"""What findings are made of: outcomes, severities, the questions attacks ask, and where public catalogs list them."""

from __future__ import annotations

from typing import Literal, NamedTuple

Outcome = Literal["leak", "held", "warning", "failed", "not_applicable", "not_tested"]
Severity = Literal["high", "medium", "low", "info"]
ORDER: tuple[Severity, ...] = ("high", "medium", "low", "info")

IDENTIFIERS: dict[str, tuple[str, ...]] = {
    "membership": ("MITRE ATLAS AML.T0024.000", "OWASP ML04", "NISTAML.033"),
    "inversion": ("MITRE ATLAS AML.T0024.001", "OWASP ML03", "NISTAML.032"),
    "extraction": ("MITRE ATLAS AML.T0024.002", "OWASP ML05", "NISTAML.031"),
    "evasion": ("MITRE ATLAS AML.T0015", "MITRE ATLAS AML.T0043", "OWASP ML01", "NISTAML.022", "NISTAML.025"),
    "poisoning": (
        "MITRE ATLAS AML.T0020",
        "MITRE ATLAS AML.T0018",
        "OWASP ML02",
        "OWASP ML10",
        "NISTAML.013",
        "NISTAML.023",
    ),
}
"""Where a kind of attack stands in the public catalogs of threats (OWASP: Machine Learning Security Top Ten, 2023)."""

QUESTIONS = {
    "membership": "Was this record in the training set?",
    "inversion": "What do the training data of a class look like?",
    "evasion": "Can an input be changed a little so that the answer is wrong?",
    "poisoning": "Can whoever supplies training data steer the model?",
    "reprogramming": "Can the model be made to do somebody else's task?",
    "extraction": "Can the model be copied through its answers?",
}


class Finding(NamedTuple):
    """One thing the run shows.

    Attributes:
        code: "PS001" ...; the same code means the same check in every report.
        outcome: one of six; only "held" is good news, and it speaks for the attacks that ran.
        severity: how much it matters to the model's owner.
        title, text: in plain words.
        evidence: the figures it rests on, each with interval and n.
        action: what to do.
        identifiers: where the threat stands in public catalogs.
    """

    code: str
    outcome: Outcome
    severity: Severity
    title: str
    text: str
    evidence: tuple[str, ...]
    action: str
    identifiers: tuple[str, ...] = ()
