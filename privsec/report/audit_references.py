"""How an audit of membership bears on laws and on catalogs of threats, a sentence each; no legal advice."""

from __future__ import annotations

import re

from privsec.auditor.record import Reference

_BEARING: tuple[tuple[str, str, str], ...] = (
    (
        "gdpr",
        r"recital|\b4\b",
        "Whether a model is anonymous depends on the means reasonably likely to be used to single people out. The "
        "attacks here are such means: what they find counts against anonymity, finding nothing does not settle it.",
    ),
    (
        "gdpr",
        r"\b5\b",
        "Personal data must be kept confidential, and the controller must be able to show it. To tell who was in the "
        "training set is a disclosure; an audit on file shows what was checked.",
    ),
    (
        "gdpr",
        r"\b9\b",
        "Where being in the training set reveals health, belief or another special category, whoever recognizes a "
        "member learns it too.",
    ),
    ("gdpr", r"\b(15|17)\b", "A record that an attack still recognizes after its erasure left a trace in the model."),
    (
        "gdpr",
        r"\b25\b",
        "Data protection by design: an audit before release lets safeguards be compared while they can be chosen.",
    ),
    (
        "gdpr",
        r"\b32\b",
        "Security of processing includes regular testing of its measures. A repeated audit with a policy is such a "
        "test.",
    ),
    (
        "gdpr",
        r"\b3[34]\b",
        "Whether a leak through a model has to be notified depends on the risk to people; the figures inform that.",
    ),
    (
        "gdpr",
        r"\b3[56]\b",
        "The figures and their intervals can enter the impact assessment as the likelihood that a participant is "
        "recognized.",
    ),
    ("gdpr", r"\b89\b", "For research and statistics, the figures help to judge whether the safeguards suffice."),
    ("gdpr", "", "The audit gives evidence on how well the model keeps personal data to itself."),
    (
        "ai act",
        "",
        "Evidence for the documentation of risks and of data governance; this audit is on membership alone.",
    ),
    ("atlas", r"T0024\.00[12]", "A neighboring technique that this audit did not carry out."),
    (
        "atlas",
        "",
        "The technique that the attacks of this audit carry out: asking the model to learn who was in its training "
        "data.",
    ),
    ("owasp", "", "A developers' list of threats; the audit measures how exposed this model is to this one."),
    ("nist", "", "The taxonomy's name for this attack; the audit measures it for the access and knowledge stated."),
)
"""(part of the catalog's name, pattern of the identifier, how an audit bears on it); the first that fits."""


def bearing(reference: Reference) -> str:
    """How an audit of membership bears on an article or an entry.

    >>> bearing(Reference(catalog="OWASP ML Top Ten", identifier="ML04", title="Membership inference"))
    "A developers' list of threats; the audit measures how exposed this model is to this one."
    """
    catalog = reference.catalog.lower()
    for name, pattern, sentence in _BEARING:
        if name in catalog and re.search(pattern, reference.identifier, re.IGNORECASE):
            return sentence
    return "The audit bears on it as far as it concerns who was in the training data."
