"""A run on the terminal: the verdict, and the advantage of every attack against every defense."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from privsec.core.estimate import Estimate
from privsec.report.reading import Entry, Reading
from privsec.report.verdict import judge
from privsec.runner.results import Results


def summary(results: Results) -> Group:
    """What `privsec run` prints: the headline, then one row an attack and one column a defense."""
    reading = Reading(results)
    table = Table(box=None, padding=(0, 1, 0, 0), caption_justify="left", caption_style="dim")
    table.caption = (
        "advantage, with half the width of its 95% interval; 0 is no better than guessing, 1 is complete success"
    )
    table.add_column("attack", no_wrap=True)
    for defense in reading.defenses:
        table.add_column(defense, justify="right")
    for column in reading.attacks:
        entries = [reading.entry(defense, column.label, "advantage") for defense in reading.defenses]
        table.add_row(column.label, *map(_cell, entries))
    table.add_section()
    accuracy = [reading.entry(defense, "", "test_accuracy") for defense in reading.defenses]
    table.add_row("test accuracy", *map(_cell, accuracy))
    return Group("", Text(judge(reading).headline, style="bold"), "", table, "")


def stages(results: Results) -> Table:
    """What `privsec run --profile` prints: where the seconds of the run went, over all invocations that it took."""
    record = results.record
    table = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left", caption_style="dim")
    table.caption = "compiling is summed over threads, and counts programs read from the cache on disk"
    for name in ("stage", "seconds", "compiling", "programs"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    spent, compiling, programs = record["seconds"], record["compiling"], record["programs"]
    for stage in sorted({**spent, **compiling}, key=lambda stage: -spent.get(stage, 0.0)):
        row = (spent.get(stage, 0.0), compiling.get(stage, 0.0))
        table.add_row(stage, *(f"{seconds:.1f}" for seconds in row), str(programs.get(stage, 0)))
    total = (sum(spent.values()), sum(compiling.values()))
    table.add_section()
    table.add_row("all", *(f"{seconds:.1f}" for seconds in total), str(sum(programs.values())))
    return table


def _cell(entry: Entry) -> Text:
    if not entry.resolved:
        return Text({"failed": "failed", "ok": "too few"}.get(entry.status, "n/a"), style="dim")
    estimate = entry.known
    return Text(f"{estimate.value:.2f} ±{_half_width(estimate):.2f}", style="bold" if estimate.low > 0 else "")


def _half_width(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2
