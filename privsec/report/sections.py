"""What each part of the page shows, as plain values for the template: tables, curves, pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from privsec.attacks import ATTACKS
from privsec.core.estimate import Estimate
from privsec.defenses import DEFENSES
from privsec.measures import membership
from privsec.report import figures, images
from privsec.report.changes import Change, adjusted, change
from privsec.report.findings import QUESTIONS
from privsec.report.reading import Column, Entry, Reading
from privsec.report.wording import interval, number, wording

COLORED = len(figures.SERIES)
"""How many attacks have a color in the ROC panels; the others are grey."""
AT_RISK = 10
PICTURE_BYTES = 220_000
"""About how much of the page reconstructions may take."""


class Shown(NamedTuple):
    """A cell of a table as text.

    Attributes:
        value, interval, n: the figure; `value` is "" where there is none.
        status: "ok", "open" (not resolvable), "failed" or "not_applicable".
        reason: why there is no value, or what is missing from it.
        level: 0 to 1, how deeply the cell is colored.
        mark: what stands beside the value, for example "worst".
    """

    value: str
    interval: str
    n: str
    status: str
    reason: str = ""
    level: float = 0.0
    mark: str = ""


def shown(entry: Entry, name: str, mark: str = "") -> Shown:
    """The entry of measure `name` as a table shows it; without a value its reason stands there instead."""
    if not entry.resolved:
        return Shown("", "", "", "open" if entry.status == "ok" else entry.status, entry.reason)
    known, style = entry.known, wording(name).style
    level = math.sqrt(min(max(known.value, 0.0), 1.0)) if name == "advantage" else 0.0
    return Shown(number(known.value, style), interval(known, style), f"{known.n:,}", "ok", entry.reason, level, mark)


def heat_map(reading: Reading) -> list[tuple[str, list[Shown]]]:
    """(defense, advantage under each attack), the strongest attack of each row marked."""
    rows = []
    for defense in reading.defenses:
        worst = reading.worst(defense)
        rows.append(
            (defense, [
                shown(reading.entry(defense, c.label, "advantage"), "advantage", "worst" if worst and worst[0] == c else "")
                for c in reading.attacks
            ])
        )  # fmt: skip
    return rows


def families(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """(family, number of its columns) in the order of the columns."""
    counted: dict[str, int] = {}
    for column in columns:
        counted[column.family] = counted.get(column.family, 0) + 1
    return list(counted.items())


def changes(reading: Reading) -> list[tuple[str, list[Shown]]]:
    """(defense, change of advantage under each attack against no defense), marked where significant over the whole table."""
    table = adjusted(reading)
    return [
        (defense, [_changed(reading, table.get((defense, c.label)), defense, c) for c in reading.attacks])
        for defense in reading.defenses
        if defense != reading.baseline and reading.baseline is not None
    ]


def _changed(reading: Reading, found: tuple[Change, float] | None, defense: str, column: Column) -> Shown:
    if found is None:
        sides = (reading.entry(d, column.label, "advantage") for d in (defense, reading.baseline or ""))
        entry = next(e for e in sides if not e.resolved)
        return shown(entry, "advantage")
    (estimate, _, paired), p = found
    mark = "not significant" if p >= 0.05 else "▼ helps" if estimate.value < 0 else "▲ hurts"
    p_text = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    n = f"{estimate.n:,}{'' if paired else ', unpaired'}, {p_text}"
    return Shown(number(estimate.value, sign=True), interval(estimate, sign=True), n, "ok", "", 0.0, mark)


def utility(reading: Reading) -> tuple[list[str], list[tuple[str, list[Shown]]]]:
    """(headings, (defense, utility measures and the change of test accuracy))."""
    found = reading.measures("utility")
    order = ("test_accuracy", "train_accuracy", "gap", "calibration_error", "epsilon_claimed")
    names = [name for name in order if name in found] + [name for name in found if name not in order]
    rows = []
    for defense in reading.defenses:
        cells = [_of_utility(reading, defense, name) for name in names]
        made = change(reading, defense, "", "test_accuracy")
        if made is not None:
            e = made.estimate
            cells.append(Shown(number(e.value, "share", True), interval(e, "share", True), f"{e.n:,}", "ok"))
        else:
            same = defense == reading.baseline
            cells.append(Shown("", "", "", "not_applicable", "the reference" if same else "not measured on both sides"))
        rows.append((defense, cells))
    return [*(wording(name).title for name in names), "change of test accuracy"], rows


def _of_utility(reading: Reading, defense: str, name: str) -> Shown:
    entry = reading.entry(defense, "", name)
    if name == "epsilon_claimed" and entry.estimate is None:
        return Shown("", "", "", "not_applicable", "no guarantee claimed")
    return shown(entry, name)


def plane(reading: Reading) -> str | None:
    """The leakage-against-utility plane, None where fewer than one defense has both."""
    found = []
    for defense in reading.defenses:
        accuracy, worst = reading.entry(defense, "", "test_accuracy"), reading.worst(defense)
        if accuracy.resolved and worst is not None:
            found.append((defense, accuracy.known, worst[1].known))
    on_front = figures.front([(accuracy.value, leak.value) for _, accuracy, leak in found])
    points = [
        figures.Point(defense, accuracy, leak, best, defense == reading.baseline)
        for (defense, accuracy, leak), best in zip(found, on_front, strict=True)
    ]
    return figures.plane(points) if points else None


def curves(reading: Reading) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """(legend of (swatch, text), panels of (defense, note, svg)): log-log ROC curves with a band over targets."""
    strongest = [worst[0].label for d in reading.defenses if (worst := reading.worst(d, "membership"))]
    others_ = [c.label for d in reading.defenses for c in reading.advantages(d, "membership")]
    colored = list(dict.fromkeys((*strongest, *others_)))[:COLORED]
    panels, others = [], False
    for defense in reading.defenses:
        drawn, targets = [], 0
        for column in reading.attacks:
            if column.family == "membership" and (found := _curve(reading, defense, column.label, colored)):
                drawn.append(found[0])
                targets = max(targets, found[1])
        if drawn:
            others = others or any(curve.series is None for curve in drawn)
            drawn.sort(key=lambda curve: -1 if curve.series is None else curve.series)
            svg = figures.roc(f"roc-{len(panels)}", f"ROC curves under {defense}", drawn)
            panels.append((defense, f"n = {targets} models", svg))
    legend = [(figures.swatch(i), label) for i, label in enumerate(colored)]
    return [*legend, *([(figures.swatch(None), "other attacks")] if others else [])], panels


def _curve(reading: Reading, defense: str, attack: str, colored: Sequence[str]) -> tuple[figures.Curve, int] | None:
    """The curve over the targets of all seeds, and how many there are."""
    grid = np.logspace(-3, 0, 49)
    arrays = [cell.arrays for cell in reading.cells(defense, attack) if cell.status == "ok"]
    bands = [(len(a["scores"]), *membership.band(a["scores"], a["member"], grid)) for a in arrays if "scores" in a]
    if not bands:
        return None
    weights = np.array([targets for targets, *_ in bands], float)
    mean, low, high = (np.average([band[i] for band in bands], axis=0, weights=weights) for i in (1, 2, 3))
    series = colored.index(attack) if attack in colored else None
    return figures.Curve(attack, grid, mean, low, high, series), int(weights.sum())


def records(reading: Reading) -> dict[str, Any] | None:
    """The records that the strongest attack gives away most, on the least defended model that has any."""
    names = reading.record.get("class_names") or ()
    for defense in dict.fromkeys(filter(None, (reading.baseline, *reading.defenses))):
        for column in reading.advantages(defense, "membership"):
            for cell in reading.cells(defense, column.label):
                arrays = cell.arrays
                if not {"scores", "member", "rows", "y"} <= arrays.keys():
                    continue
                of_row = dict(zip(arrays["rows"].tolist(), arrays["y"].tolist(), strict=True))
                found = membership.at_risk(arrays["scores"], arrays["member"], arrays["rows"], AT_RISK)
                if found:
                    rows = [(risk, _class(names, of_row[risk.row])) for risk in found]
                    return {
                        "defense": defense,
                        "attack": column.label,
                        "seed": cell.seed,
                        "rows": [_risk(*row) for row in rows],
                    }
    return None


def _risk(risk: membership.RecordRisk, name: str) -> dict[str, Any]:
    e: Estimate = risk.difference
    return {
        "row": risk.row,
        "class": name,
        "in": number(risk.called_in, "share"),
        "out": number(risk.called_out, "share"),
        "difference": Shown(number(e.value, "share"), interval(e, "share"), f"{e.n:,}", "ok"),
    }


def _class(names: Sequence[str], label: int) -> str:
    return str(names[label]) if 0 <= label < len(names) else f"class {label}"


def reconstructions(reading: Reading) -> list[dict[str, Any]]:
    """For each inversion attack and defense: what was rebuilt from the first target beside the nearest real records."""
    sheets = []
    for column in reading.attacks:
        for defense in reading.defenses if column.family == "inversion" else ():
            cell = next((c for c in reading.cells(defense, column.label) if "x" in c.arrays), None)
            if cell is not None:
                sheets.append((defense, column.label, cell))
    if not sheets:
        return []
    size = max(cell.arrays["x"][0, 0].size for *_, cell in sheets)
    several = int(np.clip(PICTURE_BYTES / (len(sheets) * 3 * (min(size, 3 * images.LARGEST**2) * 1.4 + 150)), 3, 8))
    return [_sheet(reading, *sheet, several) for sheet in sheets]


def _sheet(reading: Reading, defense: str, attack: str, cell: Any, several: int) -> dict[str, Any]:
    arrays, names = cell.arrays, reading.record.get("class_names") or ()
    wanted = np.linspace(0, len(arrays["y"]) - 1, min(several, len(arrays["y"]))).round().astype(int)
    rows = [
        ("reconstruction", "x"),
        ("nearest training record", "nearest_member"),
        ("nearest held-out record", "nearest_held_out"),
    ]
    rows = [(title, arrays[key][0]) for title, key in rows if key in arrays]
    every = np.concatenate([records_.reshape(-1) for _, records_ in rows])
    low, high = (0.0, 1.0) if 0 <= every.min() and every.max() <= 1 else np.quantile(every, [0.01, 0.99]).tolist()
    accepted = arrays.get("accepted")
    return {
        "defense": defense,
        "attack": attack,
        "seed": cell.seed,
        "shown": len(wanted),
        "of": arrays["x"].shape[0] * len(arrays["y"]),
        "image": arrays["x"].ndim == 5,
        "classes": [_class(names, int(arrays["y"][k])) for k in wanted],
        "accepted": [bool(accepted[0, k]) for k in wanted] if accepted is not None else [],
        "rows": [(title, [images.data_uri(values[k], low, high) for k in wanted]) for title, values in rows],
        "figures": [
            (wording(n).title, shown(reading.entry(defense, attack, n), n)) for n in reading.measures("inversion")
        ],
    }


def numbers(reading: Reading) -> list[dict[str, Any]]:
    """Every entry of the run's table, one row for each defense, attack and measure, with the values of the seeds."""
    rows = []
    for column in (*reading.attacks, Column("", "utility", "")):
        for defense in reading.defenses:
            asked = reading.measures(column.family)
            for name in (
                asked if column.label or reading.entry(defense, "", asked[0] if asked else "").estimate else asked[:1]
            ):
                entry = reading.entry(defense, column.label, name)
                if entry.estimate is None and name != "advantage" and column.label:
                    continue
                if name == "epsilon_claimed" and entry.estimate is None:
                    continue
                style = wording(name).style
                seeds = ", ".join(number(value, style) for _, value in entry.seeds) if len(entry.seeds) > 1 else ""
                rows.append(
                    {"defense": defense, "attack": column.label or "utility", "measure": wording(name).title,
                     "cell": shown(entry, name), "unit": entry.known.unit if entry.resolved else "", "seeds": seeds}
                )  # fmt: skip
    return rows


def threats(reading: Reading) -> list[dict[str, Any]]:
    """The threat model of each attack: goal, access, knowledge, queries, whether it adapts to the defense, paper."""
    specs = {a.get("label") or a.get("name"): a for a in reading.config.get("attacks") or ()}
    rows = []
    for column in reading.attacks:
        given = specs.get(column.label, {})
        spec = ATTACKS.specs.get(given.get("name", ""))
        needs = sorted(spec.requires) if spec else []
        cells = [cell for d in reading.defenses for cell in reading.cells(d, column.label)]
        queries = sorted({float(c.facts["queries"]) for c in cells if c.facts.get("queries") is not None})
        rows.append(
            {
                "label": column.label,
                "goal": QUESTIONS.get(column.family, column.family),
                "access": column.access,
                "knowledge": ", ".join(needs) or "the model's answers alone",
                "queries": f"{queries[0]:,.4g}" + (f" to {queries[-1]:,.4g}" if len(queries) > 1 else "")
                if queries
                else "not counted",
                "adaptive": "yes: references trained under the same defense" if "references" in needs else "no",
                "paper": cited(spec.paper) if spec else (given.get("name", "unknown"), ""),
                "settings": settings(given),
            }
        )
    return rows


def defenses(reading: Reading) -> list[dict[str, Any]]:
    """What each defense is made of, with its papers."""
    rows = []
    for name in reading.defenses:
        parts = []
        for given in (reading.config.get("defenses") or {}).get(name, ()):
            spec = DEFENSES.specs.get(given.get("name", ""))
            parts.append(
                {"name": given.get("name", "unnamed"), "stage": spec.stage if spec else "", "settings": settings(given),
                 "paper": cited(spec.paper) if spec else ("", "")}
            )  # fmt: skip
        rows.append({"name": name, "parts": parts})
    return rows


def settings(given: dict[str, Any]) -> str:
    """The settings of a Spec in one line."""
    return ", ".join(
        f"{key} = {value}" for key, value in given.items() if key not in ("name", "label") and value is not None
    )


def cited(paper: str) -> tuple[str, str]:
    """A citation and the address it leads to, "" where it names none.

    >>> cited("Carlini et al. 2022, arXiv 2112.03570")
    ('Carlini et al. 2022, arXiv 2112.03570', 'https://arxiv.org/abs/2112.03570')
    """
    if found := re.search(r"arXiv[: ]*(\d{4}\.\d{4,5})", paper):
        return paper, f"https://arxiv.org/abs/{found[1]}"
    found = re.search(r"https://[^\s,;)]+", paper) or re.search(r"\b10\.\d{4,}/[^\s,;)]+", paper)
    return paper, "" if not found else found[0] if found[0].startswith("https") else f"https://doi.org/{found[0]}"


def flat(values: Any, path: str = "") -> list[tuple[str, str]]:
    """Nested values as (path, text), in their own order."""
    if isinstance(values, dict):
        return [pair for key, value in values.items() for pair in flat(value, f"{path}.{key}".lstrip("."))]
    if isinstance(values, (list, tuple)):
        return [(path, ", ".join(str(value) for value in values))]
    return [(path, f"{values:.4g}" if isinstance(values, float) else str(values))]
