"""What a run cannot say: figures left open, cells that failed or do not apply, threats that nobody tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from privsec.report.catalog import IDENTIFIERS, QUESTIONS, Finding
from privsec.report.reading import FAMILIES, Reading
from privsec.report.wording import number

MANY_COPIES = 0.05
"""Share of non-members with a copy in the training set from which on figures are doubtful."""


def limits(reading: Reading) -> Iterator[Finding]:
    """Every finding about what is not known."""
    for check in (_thin, _alone, _warned, _copies, _failures, _not_applicable, _not_tested):
        yield from check(reading)


def _thin(reading: Reading) -> Iterator[Finding]:
    """PS021: figures that so few records cannot resolve."""
    thin: dict[str, list[str]] = {}
    for defense in reading.defenses:
        for column in reading.attacks:
            for name in reading.measures(column.family):
                entry = reading.entry(defense, column.label, name)
                if entry.status == "ok" and not entry.resolved:
                    thin.setdefault(f"{name}: {entry.reason}", []).append(f"{defense} / {column.label}")
    if thin:
        evidence = tuple(f"{what} ({len(where)} cells)" for what, where in thin.items())
        text = "These figures need more records or targets than the run has; they are left open instead of guessed."
        yield Finding(
            "PS021",
            "warning",
            "low",
            "Figures not resolvable at this n",
            text,
            evidence,
            "Attack more records or train more models.",
        )


def _alone(reading: Reading) -> Iterator[Finding]:
    """PS022, PS023: a single seed; nothing undefended to compare with."""
    seeds = {cell.seed for cell in reading.results.cells}
    if len(seeds) == 1:
        text = "Intervals speak for these models and this split; another seed may move every figure."
        yield Finding(
            "PS022", "warning", "low", "A single seed", text, (f"seed {min(seeds)}",), "Run at least three seeds."
        )
    if reading.baseline is None:
        text = "Without the undefended model, no figure here can say what a defense buys or costs."
        action = "Add `none: []` to the config's defenses."
        yield Finding("PS023", "not_tested", "medium", "No undefended model", text, (), action)


def _warned(reading: Reading) -> Iterator[Finding]:
    """PS025: what attacks and trainings remarked about themselves."""
    remarks: dict[str, list[str]] = {}
    for cell in reading.results.cells:
        for remark in cell.facts.get("warnings") or ():
            remarks.setdefault(str(remark), []).append(" / ".join(filter(None, (cell.defense, cell.attack))))
    if remarks:
        evidence = tuple(f"{', '.join(dict.fromkeys(where))}: {remark}" for remark, where in remarks.items())
        text = "The figures stand, but not without these remarks."
        yield Finding(
            "PS025", "warning", "medium", "Remarks from the run", text, evidence, "Read them before quoting a figure."
        )


def _copies(reading: Reading) -> Iterator[Finding]:
    """PS026: records that are there more than once, perhaps on both sides of a split."""
    data = reading.record.get("data") or {}
    found = data.get("copies") or {}
    inside = found.get("near", found.get("equal", 0))
    if not inside and not found.get("public"):
        return
    evidence = [f"{found['equal']:,.0f} of {data['candidates']:,} candidates equal another one"]
    if "near" in found:
        evidence.append(f"{found['near']:,.0f} equal another one, or nearly so")
    evidence.append(f"{found['public']:,.0f} equal a record of the attacker's or the defender's own")
    evidence.append(f"{number(found['across'], 'share')} of the records outside a training set have a copy inside")
    text = (
        "A record with a copy in the training set is not in it, and the model knows it all the same: membership reads "
        "lower than it is, and accuracy outside the training set higher. Whoever has a copy has the secret already."
    )
    action = "Remove copies from the data before they are split, or put `duplicates` among the defenses and compare."
    severity = "medium" if found["across"] >= MANY_COPIES else "low"
    yield Finding("PS026", "warning", severity, "Records that are there more than once", text, tuple(evidence), action)


def _failures(reading: Reading) -> Iterator[Finding]:
    """PS030, PS031: cells that should have run."""
    if blanks := reading.blanks("failed"):
        text = "They should have given a figure and did not. Nothing is known about them."
        action = "Mend the cause and start the same command again; finished cells are kept."
        yield Finding("PS030", "failed", "medium", f"Failed: {_cells(blanks)}", text, _grouped(blanks), action)
    broken = [cell for cell in reading.results.failed if cell.family == "utility"]
    if broken:
        evidence = tuple(f"{cell.defense}, seed {cell.seed}: {cell.reason}" for cell in broken)
        text = "What these defenses cost in accuracy is not fully known."
        yield Finding(
            "PS031",
            "failed",
            "medium",
            "Utility not measured everywhere",
            text,
            evidence,
            "Mend the cause and run again.",
        )


def _not_applicable(reading: Reading) -> Iterator[Finding]:
    """PS032: pairs that make no sense, each with its reason."""
    if blanks := reading.blanks("not_applicable"):
        text = (
            "These attacks cannot be carried out on these models as they are. An attacker with more access may do so."
        )
        action = "Check that the access assumed here is all an attacker can get."
        title = f"Not applicable: {_cells(blanks)}"
        yield Finding("PS032", "not_applicable", "info", title, text, _grouped(blanks), action)


def _cells(blanks: Sequence[tuple[str, str, str]]) -> str:
    return f"{len(blanks)} cell{'s' * (len(blanks) != 1)}"


def _grouped(blanks: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
    """One line for each defense and reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for defense, attack, reason in blanks:
        groups.setdefault((defense, reason), []).append(attack)
    return tuple(f"{defense} / {', '.join(attacks)}: {reason}" for (defense, reason), attacks in groups.items())


def _not_tested(reading: Reading) -> Iterator[Finding]:
    """PS040: kinds of attack that this run did not try."""
    absent = [family for family in FAMILIES if family not in reading.tested]
    if absent:
        catalogs = {family: ", ".join(IDENTIFIERS.get(family, ("in no catalog",))) for family in absent}
        evidence = tuple(f"{family.capitalize()}: {QUESTIONS[family]} ({catalogs[family]})" for family in absent)
        text = "No attack of these kinds was in the run, so the report says nothing about them."
        action = "Add those to the config that matter for this model."
        yield Finding("PS040", "not_tested", "info", f"Not tested: {', '.join(absent)}", text, evidence, action)
