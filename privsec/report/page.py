"""The report: one HTML file that opens with the verdict, then the picture, the tables and the details."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jinja2

from privsec.measures.fairness import kind_of
from privsec.report import methods, panels, sections, slices
from privsec.report.changes import adjusted
from privsec.report.findings import Finding, find
from privsec.report.pictured import pictured
from privsec.report.reading import Reading
from privsec.report.verdict import Verdict, judge
from privsec.report.wording import wording
from privsec.runner.results import Results


def write(results: Results, path: Path) -> Path:
    """Writes the report of a run, and `<name>.json` with the raw numbers beside it.

    Equal runs give equal bytes. Whatever the run lacks (a family, a seed, every cell) is said on the page.

    Args:
        results: the run.
        path: where the HTML file goes; its folder is made.

    Returns:
        `path`.
    """
    reading = Reading(results)
    verdict, findings = judge(reading), find(reading)
    page = render("page.html", **_context(reading, verdict, findings))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    raw = json.dumps(_raw(reading, verdict, findings), indent=1, allow_nan=False, ensure_ascii=False)
    path.with_suffix(".json").write_text(raw + "\n", encoding="utf-8")
    return path


def render(template: str, **context: Any) -> str:
    """The template filled in; every text that is not markup of our own is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("privsec.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**context)


def _context(reading: Reading, verdict: Verdict, findings: tuple[Finding, ...]) -> dict[str, Any]:
    headings, utility = sections.utility(reading)
    legend, curves = panels.curves(reading)
    exposed = slices.exposed(reading)
    measured = (name for family in (*reading.tested, "utility") for name in reading.measures(family))
    used = dict.fromkeys(kind_of(name) for name in measured)
    used |= dict.fromkeys(slices.COLUMNS if exposed else ())
    return {
        "title": str(reading.results.title),
        "facts": _facts(reading),
        "verdict": verdict,
        "findings": findings,
        "plane": panels.plane(reading),
        "planes": panels.planes(reading),
        "attacks": reading.attacks,
        "families": sections.families(reading.attacks),
        "heat": sections.heat_map(reading),
        "utility_headings": headings,
        "utility": utility,
        "fairness": sections.fairness(reading),
        "legend": legend,
        "panels": curves,
        "sheets": panels.reconstructions(reading),
        "by_class": (reading.config.get("population") or {}).get("by") == "class",
        "membership": "membership" in reading.tested,
        "pictured": pictured(reading),
        "records": panels.records(reading),
        "slices": exposed,
        "slice_headings": slices.headings(),
        "changes": sections.changes(reading),
        "baseline": reading.baseline,
        "numbers": sections.numbers(reading),
        "threats": methods.threats(reading),
        "defenses": methods.defenses(reading),
        "record": methods.facts(reading.record),
        "config": (reading.results.folder / "config.yaml").read_text(encoding="utf-8"),
        "glossary": [wording(name) for name in used],
        "levels": (0, 0.05, 0.25, 0.5, 1),
    }


def _facts(reading: Reading) -> list[str]:
    """The line under the title."""
    config = reading.config
    named = [str((config.get(part) or {}).get("name", "")) for part in ("data", "net")]
    models = (config.get("population") or {}).get("models")
    seeds = config.get("seeds") or ()
    counts = [
        f"{models} models a training" if models else "",
        f"{len(seeds)} seed{'s' * (len(seeds) != 1)}" if seeds else "",
    ]
    size = f"{len(reading.defenses)} defenses by {len(reading.attacks)} attacks"
    return [text for text in (*named, *counts, size) if text]


def _raw(reading: Reading, verdict: Verdict, findings: tuple[Finding, ...]) -> dict[str, Any]:
    return plain(
        {
            "title": reading.results.title,
            "verdict": verdict._asdict() | {"keys": [key._asdict() for key in verdict.keys]},
            "findings": [finding._asdict() for finding in findings],
            "table": reading.table.to_dict("records"),
            "changes_of_advantage": [
                {"defense": defense, "attack": attack, **made.estimate._asdict(), "paired": made.paired, "p_holm": p}
                for (defense, attack), (made, p) in adjusted(reading).items()
            ],
            "record": reading.record,
            "config": reading.config,
        }
    )


def plain(value: Any) -> Any:
    """The value as JSON has it: NaN and infinities become null, NumPy scalars plain numbers."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
