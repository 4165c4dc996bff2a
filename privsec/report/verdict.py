"""The run in a few sentences: what leaks, which defense buys most, what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from privsec.core.estimate import Estimate
from privsec.report.changes import change, worst_change
from privsec.report.wording import full, interval, number
from privsec.report.reading import Column, Entry, Reading

State = Literal["leak", "held", "unmeasured"]


class Key(NamedTuple):
    """A key figure: a large number with its small print."""

    title: str
    value: str
    interval: str
    note: str


class Verdict(NamedTuple):
    """What the run says.

    Attributes:
        state: "leak", "held" (no attack did measurably better than chance) or "unmeasured".
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
    untested = 6 - len(reading.tested)
    note = "; ".join([*gaps, f"{untested} of 6 kinds of attack not tested"] if untested else gaps)
    count = Key("Cells with a figure", f"{measured} of {len(pairs)}", "", note)

    if not measured:
        what = f"none of its {len(pairs)} cells has a figure" if pairs else "it holds no attack"
        silence = "That says nothing about how safe the model is; the reasons stand in the tables below."
        return Verdict("unmeasured", f"This run measured no leakage: {what}.", (silence,), None, (count,))

    protected = [d for d in reading.defenses if d != reading.baseline and reading.worst(d)]
    best = _preferred(reading, protected)
    worst = reading.worst(reading.baseline) if reading.baseline else None
    if worst is None:
        assert best is not None
        column, entry = _worst(reading, best)
        headline = (
            f"The undefended model was not measured, so what the defenses buy is unknown. Under {best}, the best of "
            f"{len(protected)}, the strongest attack ({column.label}) reaches advantage {full(entry.known, 'advantage')}."
        )
        keys = (_advantage_key(f"Worst leak under {best}", column, entry), count)
        return Verdict("leak" if entry.known.low > 0 else "held", headline, (), best, keys)

    keys = [_advantage_key("Worst leak without a defense", *worst)]
    if best is not None:
        keys.append(_advantage_key(f"Left under {best}", *_worst(reading, best)))
        if cost := _cost(reading, best):
            keys.append(
                Key(
                    f"Test accuracy, change under {best}",
                    _points(cost.value),
                    _points_interval(cost),
                    f"points, n = {cost.n:,}",
                )
            )
    state: State = "leak" if worst[1].known.low > 0 else "held"
    return Verdict(state, _headline(reading, *worst), tuple(_defended(reading, protected)), best, (*keys, count))


_GAPS = (("failed", "failed"), ("not_applicable", "not applicable"))


def _headline(reading: Reading, column: Column, entry: Entry) -> str:
    advantage = full(entry.known, "advantage")
    if entry.known.low <= 0:
        return (
            f"Without a defense, no attack of this run did measurably better than chance: the strongest, {column.label}, "
            f"reached advantage {advantage}. That speaks for these attacks, not for every attack."
        )
    rate = reading.entry(reading.baseline or "", column.label, "tpr_at_1pct_fpr")
    if column.family == "membership" and rate.resolved:
        share = f"{number(rate.known.value, 'share')} {interval(rate.known, 'share')}"
        return (
            f"Without a defense the model gives its training records away: {column.label} names {share} of them while "
            f"wrongly accusing 1% of the others (advantage {advantage})."
        )
    does = {"membership": "recognizes training records", "inversion": "rebuilds what training data look like"}
    return f"Without a defense the model leaks: {column.label} {does.get(column.family, 'succeeds')} with advantage {advantage}."


def _defended(reading: Reading, protected: list[str]) -> list[str]:
    """What the defenses buy and cost; a change counts only where its interval excludes zero."""
    if not protected:
        return ["No defense was measured in this run, so it cannot say what would help."]
    changes = {d: worst_change(reading, d) for d in protected}
    helpful = [d for d, made in changes.items() if made and made.estimate.high < 0]
    best = _preferred(reading, helpful)
    if best is None:
        return [f"None of the defenses measured ({', '.join(protected)}) lowers the worst leak measurably."]
    column, entry = _worst(reading, best)
    left = "within noise of chance" if entry.known.low <= 0 else "still above chance"
    sentences = [
        f"{best} buys most: the strongest attack left ({column.label}) has advantage {full(entry.known, 'advantage')}, "
        f"{left}. {_price(_cost(reading, best))}"
    ]
    sentences += _reservations(reading, best)
    free = [d for d in helpful if (cost := _cost(reading, d)) and cost.high >= 0]
    cheap = _preferred(reading, free)
    if cheap is not None and best not in free:
        column, entry = _worst(reading, cheap)
        sentences.append(
            f"Among the defenses that cost no measurable accuracy, {cheap} helps most: {column.label} is left with "
            f"advantage {full(entry.known, 'advantage')}."
        )
        sentences += _reservations(reading, cheap)
    return sentences


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
    change_ = f"{_points(cost.value)} points {_points_interval(cost)}, n = {cost.n:,}"
    if cost.high < 0:
        return f"It costs test accuracy: {change_}."
    return f"It {'raises test accuracy' if cost.low > 0 else 'costs no measurable test accuracy'}: {change_}."


def _worst(reading: Reading, defense: str) -> tuple[Column, Entry]:
    found = reading.worst(defense)
    assert found is not None
    return found


def _preferred(reading: Reading, defenses: Iterable[str]) -> str | None:
    """The most accurate of the defenses whose worst leak is not measurably above the weakest one.

    Those on which an attack failed count only where there are no others.
    """
    listed = list(defenses)
    sound = [d for d in listed if not _failures(reading, d)] or listed
    if not sound:
        return None
    leaks = {d: _worst(reading, d)[1].known for d in sound}
    weakest = min(leaks.values(), key=lambda leak: leak.value)

    def merit(defense: str) -> tuple[float, float]:
        accuracy = reading.entry(defense, "", "test_accuracy")
        return (accuracy.known.value if accuracy.resolved else -1.0, -leaks[defense].value)

    return max((d for d in sound if leaks[d].low <= weakest.high), key=merit)


def _failures(reading: Reading, defense: str) -> list[str]:
    return [c.label for c in reading.attacks if reading.entry(defense, c.label, "advantage").status == "failed"]


def _cost(reading: Reading, defense: str) -> Estimate | None:
    made = change(reading, defense, "", "test_accuracy")
    return made.estimate if made else None


def _advantage_key(title: str, column: Column, entry: Entry) -> Key:
    known = entry.known
    return Key(title, number(known.value), interval(known), f"advantage of {column.label}, n = {known.n:,}")


def _points(value: float) -> str:
    return number(value, "share", sign=True).removesuffix("%")


def _points_interval(cost: Estimate) -> str:
    return interval(cost, "share", sign=True)
