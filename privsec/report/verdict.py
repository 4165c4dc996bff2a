"""The run in a few sentences: what leaks, which defense buys most, what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from privsec.core.estimate import Estimate
from privsec.report.changes import change, worst_change
from privsec.report.reading import FAMILIES, Column, Entry, Reading
from privsec.report.wording import count, full, interval, number

State = Literal["leak", "held", "unmeasured"]
MATTERS = 0.05
"""A loss of test accuracy of which an owner would want to know."""


class Key(NamedTuple):
    """A key figure: a large number with its small print."""

    title: str
    value: str
    interval: str
    note: str


class Verdict(NamedTuple):
    """What the run says.

    Attributes:
        state: "leak", "held" (no attack did measurably better than chance) or "unmeasured" (no figure says anything).
        headline, sentences: the same in words.
        best: the defense under which the worst attack is weakest, None where no defense was measured.
        keys: the key figures.
    """

    state: State
    headline: str
    sentences: tuple[str, ...]
    best: str | None
    keys: tuple[Key, ...]


def judge(reading: Reading) -> Verdict:
    """The verdict on a run. What was not measured is never called safe."""
    pairs = [reading.entry(d, c.label, "advantage") for d in reading.defenses for c in reading.attacks]
    measured = sum(entry.resolved for entry in pairs)
    gaps = [f"{sum(e.status == s for e in pairs)} {words}" for s, words in _GAPS if any(e.status == s for e in pairs)]
    untested = sum(family not in reading.tested for family in FAMILIES)
    note = "; ".join([*gaps, f"{untested} of {len(FAMILIES)} kinds of attack not tested"] if untested else gaps)
    coverage = Key("Cells with a figure", f"{measured} of {len(pairs)}", "", note)

    if not measured:
        what = f"none of its {len(pairs)} cells has a figure" if pairs else "it holds no attack"
        silence = "That says nothing about how safe the model is; the reasons stand in the tables below."
        return Verdict("unmeasured", f"This run measured no leakage: {what}.", (silence,), None, (coverage,))

    protected = [d for d in reading.defenses if d != reading.baseline and reading.worst(d)]
    worst = reading.worst(reading.baseline) if reading.baseline else None
    if worst is None:
        return _undefended_unknown(reading, protected, coverage)

    changes = {d: worst_change(reading, d) for d in protected}
    helpful = [d for d, made in changes.items() if made and made.estimate.high < 0]
    best = _preferred(reading, helpful) or _preferred(reading, protected)
    keys = [_advantage_key("Worst leak without a defense", *worst)]
    if best is not None:
        keys.append(_advantage_key(f"Left under {best}", *_worst(reading, best)))
        if cost := _cost(reading, best):
            small = f"points under {best}, {count(cost)}"
            keys.append(Key("Change of test accuracy", _points(cost.value), _points_interval(cost), small))
    certain = worst[1].known.low > 0
    if not certain and worst[1].says_nothing:
        keys = [_advantage_key("Strongest attack without a defense", *worst)]
        return Verdict("unmeasured", _headline(reading, *worst), (), None, (*keys, coverage))
    state: State = "leak" if certain or reading.on_average(reading.baseline or "") else "held"
    sentences = _defended(reading, protected, helpful) if certain else []
    return Verdict(state, _headline(reading, *worst), tuple(sentences), best, (*keys, coverage))


_GAPS = (("failed", "failed"), ("not_applicable", "not applicable"))


def _undefended_unknown(reading: Reading, protected: list[str], coverage: Key) -> Verdict:
    best = _preferred(reading, protected)
    assert best is not None
    leakiest = max(protected, key=lambda d: _worst(reading, d)[1].known.value)
    (column, entry), (_, least) = _worst(reading, leakiest), _worst(reading, best)
    headline = (
        f"The undefended model was not measured, so what the defenses buy is unknown. The largest leak is "
        f"{column.label} on {leakiest}, advantage {full(entry.known, 'advantage')}"
    )
    headline += f"; {best} leaves {full(least.known, 'advantage')}." if best != leakiest else "."
    leaks = any(_worst(reading, d)[1].known.low > 0 or reading.on_average(d) for d in protected)
    state: State = "leak" if leaks else "held"
    return Verdict(state, headline, (), best, (_advantage_key(f"Worst leak under {leakiest}", column, entry), coverage))


def _headline(reading: Reading, column: Column, entry: Entry) -> str:
    advantage = full(entry.known, "advantage")
    if entry.known.low <= 0 and (average := reading.on_average(reading.baseline or "")):
        return (
            "Without a defense, no attack of this run names training records measurably better than guessing at 1% "
            f"false positives, but over all records {_average(*average)}. The largest advantage is {column.label}'s, "
            f"{advantage}."
        )
    if entry.says_nothing:
        return (
            f"Without a defense, this run is too small to tell whether the model leaks: the strongest attack, "
            f"{column.label}, reached advantage {advantage}. More models, records or seeds would."
        )
    if entry.known.low <= 0:
        return (
            f"Without a defense, no attack of this run did measurably better than chance: the strongest, "
            f"{column.label}, reached advantage {advantage}. That speaks for these attacks, not for every attack."
        )
    rate = reading.entry(reading.baseline or "", column.label, "tpr_at_1pct_fpr")
    if column.family == "membership" and rate.resolved:
        share = f"{number(rate.known.value, 'share')} {interval(rate.known, 'share')}"
        return (
            f"Without a defense the model gives its training records away: {column.label} names {share} of them "
            f"while wrongly accusing 1% of the others (advantage {advantage})."
        )
    entries = {measure: reading.entry(reading.baseline or "", column.label, measure) for measure in _SHOWS}
    shown = next((measure for measure, entry in entries.items() if entry.estimate), "")
    what = _SHOWS.get(shown) or _DOES.get(column.family, "succeeds")
    return f"Without a defense the model leaks: {column.label} {what} with advantage {advantage}."


_DOES = {
    "membership": "recognizes training records",
    "inversion": "rebuilds what the records of a class look like",
    "evasion": "makes it err on records changed a little",
    "poisoning": "makes it learn what the attacker planted",
    "reprogramming": "makes it do another task",
    "extraction": "copies it",
}
_SHOWS = {
    "nearer_to_class": "rebuilds what classes look like of which the attacker has no record,",
    "ppv": "guesses an attribute of a record that the attacker was not told",
    "labels_right": "rebuilds training records from the gradients of their batches",
    "success_bound": "picks out a training record by watching the training",
}
"""Inversions of other things than classes that everybody has records of, by a measure of theirs."""


def _defended(reading: Reading, protected: list[str], helpful: list[str]) -> list[str]:
    """What the defenses buy and cost; a change counts only where its interval excludes zero."""
    if not protected:
        return ["No defense was measured in this run, so it cannot say what would help."]
    best = _preferred(reading, helpful)
    if best is None:
        return [f"None of the defenses measured ({', '.join(protected)}) lowers the worst leak measurably."]
    column, entry = _worst(reading, best)
    left = "within noise of chance" if entry.known.low <= 0 else "still above chance"
    if entry.known.low <= 0 and (average := reading.on_average(best)):
        left += f" at 1% false positives, though over all records {_average(*average)}"
    sentences = [
        f"{best} buys most: the strongest attack left ({column.label}) has advantage "
        f"{full(entry.known, 'advantage')}, {left}. {_price(_cost(reading, best))}"
    ]
    sentences += [*_passed_over(reading, best, helpful), *_reservations(reading, best)]
    others = (
        ("Of the defenses measured against every attack", [d for d in helpful if not _reservations(reading, d)]),
        ("Of the defenses that cost no measurable accuracy", [d for d in helpful if _free(_cost(reading, d))]),
    )
    for which, candidates in others:
        second = _preferred(reading, candidates)
        if second is not None and best not in candidates:
            column, entry = _worst(reading, second)
            sentences.append(
                f"{which}, {second} helps most: {column.label} is left with advantage "
                f"{full(entry.known, 'advantage')}. {_price(_cost(reading, second))}"
            )
    return sentences


def _passed_over(reading: Reading, best: str, helpful: list[str]) -> list[str]:
    """Why the defense with the smallest figure is not the one that is named, where it is not."""
    least = _weakest(reading, _sound(reading, helpful))
    made = change(reading, least, "", "test_accuracy", best) if least != best else None
    if made is None or made.estimate.value >= 0:
        return []
    column, entry = _worst(reading, least)
    noise = _worst(reading, best)[1].known.low <= 0
    gap = f"{_points(made.estimate.value)} points {_points_interval(made.estimate)}"
    return [
        f"{least} leaves {column.label} with advantage {full(entry.known, 'advantage')}, "
        f"{'which is as much as chance too' if noise else 'not measurably less'}, and has less test accuracy: {gap}."
    ]


def _average(column: Column, entry: Entry) -> str:
    return f"{column.label} ranks members above others with AUC {full(entry.known, 'auc')}"


def _free(cost: Estimate | None) -> bool:
    return cost is not None and cost.high >= 0 and cost.low >= -MATTERS


def _reservations(reading: Reading, defense: str) -> list[str]:
    """Why a defense may look better than it is: attacks without a figure."""
    entries = {c.label: reading.entry(defense, c.label, "advantage") for c in reading.attacks}
    failed = [label for label, entry in entries.items() if entry.status == "failed"]
    barred = sum(entry.status == "not_applicable" for entry in entries.values())
    said = []
    if barred:
        said.append(
            f"{barred} of {len(entries)} attacks do not apply to {defense}: it rests on what the attacker cannot get."
        )
    if failed:
        said.append(f"On {defense} {', '.join(failed)} failed to run, so this may be too good.")
    return said


def _price(cost: Estimate | None) -> str:
    if cost is None:
        return "What it costs in accuracy was not measured."
    change_ = f"{_points(cost.value)} points {_points_interval(cost)}, {count(cost)}"
    if cost.high < 0:
        return f"It costs test accuracy: {change_}."
    if not _free(cost):
        return f"Whether it costs test accuracy is not resolved: {change_}."
    return f"It {'raises test accuracy' if cost.low > 0 else 'costs no measurable test accuracy'}: {change_}."


def _worst(reading: Reading, defense: str) -> tuple[Column, Entry]:
    found = reading.worst(defense)
    assert found is not None
    return found


def _preferred(reading: Reading, defenses: Iterable[str]) -> str | None:
    """The defense with the weakest worst leak of those that keep the most accuracy, among those that leak least.

    Leaks least: not measurably above chance, or not measurably above the weakest one. Keeps the most: not measurably
    less accurate than the most accurate of these. Both are differences with intervals, over the same models or points
    where they can be: two intervals may overlap and yet one defense be better. Those on which an attack failed count
    only where there are no others.
    """
    sound = _sound(reading, defenses)
    if not sound:
        return None
    weakest = _weakest(reading, sound)
    alike = [d for d in sound if _worst(reading, d)[1].known.low <= 0 or not _leaks_more(reading, d, weakest)]
    accuracies = {d: entry.known.value for d in alike if (entry := reading.entry(d, "", "test_accuracy")).resolved}
    if accuracies:
        top = max(accuracies, key=lambda d: accuracies[d])
        alike = [d for d in accuracies if not _less_accurate(reading, d, top)]
    return _weakest(reading, alike)


def _sound(reading: Reading, defenses: Iterable[str]) -> list[str]:
    listed = list(defenses)
    return [d for d in listed if not _failures(reading, d)] or listed


def _weakest(reading: Reading, defenses: Iterable[str]) -> str:
    return min(defenses, key=lambda d: _worst(reading, d)[1].known.value)


def _leaks_more(reading: Reading, defense: str, than: str) -> bool:
    made = worst_change(reading, defense, than) if defense != than else None
    return made is not None and made.estimate.low > 0


def _less_accurate(reading: Reading, defense: str, than: str) -> bool:
    made = change(reading, defense, "", "test_accuracy", than)
    return made is not None and made.estimate.high < 0


def _failures(reading: Reading, defense: str) -> list[str]:
    return [c.label for c in reading.attacks if reading.entry(defense, c.label, "advantage").status == "failed"]


def _cost(reading: Reading, defense: str) -> Estimate | None:
    made = change(reading, defense, "", "test_accuracy")
    return made.estimate if made else None


def _advantage_key(title: str, column: Column, entry: Entry) -> Key:
    known = entry.known
    return Key(title, number(known.value), interval(known), f"advantage of {column.label}, {count(known)}")


def _points(value: float) -> str:
    return number(value, "share", sign=True).removesuffix("%")


def _points_interval(cost: Estimate) -> str:
    return interval(cost, "share", sign=True)
