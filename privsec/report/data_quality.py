"""What was found in data, for a terminal or a log."""

from __future__ import annotations

from privsec.data.schema.files import Checked
from privsec.data.schema.rules import Problem


def problems(found: Checked) -> str:
    """One line for the file, and one for each broken rule: column, rule, how many records, the first of them."""
    if found.passed:
        return f"{found.path}: {found.records:,} records keep every rule of {found.schema}"
    count = len(found.problems)
    broken = f"{count} rule{'s' * (count > 1)} of {found.schema} broken"
    return "\n".join([f"{found.path}: {broken}", *(f"  {_line(problem)}" for problem in found.problems)])


def _line(problem: Problem) -> str:
    where = ".".join(filter(None, (problem.column, problem.rule)))
    if problem.rule == "readable":
        return f"{where}: {problem.wanted}"
    counted = f"; {problem.records:,} record{'s' * (problem.records != 1)}" if problem.records else ""
    shown = ", ".join(value if row < 0 else f"record {row}: {value!r}" for row, value in problem.examples)
    more = ", ..." if problem.records > len(problem.examples) > 0 else ""
    return f"{where}: wanted {problem.wanted}{counted}{f' ({shown}{more})' if shown else ''}"
