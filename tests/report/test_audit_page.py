from __future__ import annotations

import io
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from privsec.auditor.record import (
    AttackResult,
    AuditRecord,
    Bound,
    Caution,
    Claim,
    Figure,
    RecordAtRisk,
    Reference,
    Rule,
    Slice,
    Subject,
    ThreatModel,
    Verdict,
)
from privsec.report.audit_figures import dots
from privsec.report.audit_page import audit_html, write_audit
from privsec.report.audit_references import bearing
from privsec.report.audit_terminal import summary
from privsec.report.audit_words import believable, thousands

VOID = {"meta", "br", "img", "line"}
NOTE = "not resolvable at this n: 5 non-members allow no false positive at 1%"
NAMES = ("auc", "tpr_at_1pct_fpr", "tpr_at_0.1pct_fpr", "advantage")


class Parsed(HTMLParser):
    """Fails where tags do not balance or ids repeat; collects the visible text, links and everything loaded."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.heads: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open
        assert len(self.ids) == len(set(self.ids))
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.open += [tag] if tag not in VOID else []
        self.ids += [given["id"] or ""] if "id" in given else []
        self.heads += [given] if tag == "th" else []
        where = self.links if tag == "a" else self.loads
        where += [given[name] or "" for name in ("href", "src", "xlink:href") if name in given]
        assert not any(name.startswith("on") for name in given)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def figure(value: float | None, half: float = 0.05, n: int = 2000, note: str = "") -> Figure:
    ends = {} if value is None else {"low": max(value - half, 0.0), "high": min(value + half, 1.0)}
    return Figure(**{"value": value, "low": None, "high": None, "n": n, "note": note, **ends})


def bound(epsilon: float, name: str = "one_run", grade: str = "proof", attack: str = "", **changes) -> Bound:
    given = {
        "name": name,
        "title": f"Method {name}",
        "epsilon": epsilon,
        "delta": 1e-5,
        "confidence": 0.95,
        "ceiling": 6.25,
        "grade": grade,
        "assumptions": (f"Assumption of {name}.", "Canaries were drawn by fair coins."),
        "n": 2000,
        "attack": attack,
    }
    return Bound(**{**given, **changes})


def attack(title: str, strength: float = 0.2, **changes) -> AttackResult:
    fpr = np.linspace(0, 1, 200)
    values = dict(zip(NAMES, (0.5 + strength, strength, strength / 2, strength), strict=True))
    given = {
        "title": title,
        "name": "lira",
        "access": "scores",
        "paper": "Carlini et al. 2022, arXiv 2112.03570",
        "status": "ok",
        "measures": {name: figure(value) for name, value in values.items()},
        "bounds": (bound(1.11), bound(2.22, "gdp", "heuristic")),
        "queries": 1.0,
        "roc": tuple(zip(fpr.tolist(), (fpr ** (1 - strength)).tolist(), strict=True)),
    }
    return AttackResult(**{**given, **changes})


def claim(epsilon: float | None = 1.0, contradicted: bool = True) -> Claim:
    given = {"tpr_at_1pct_fpr": 0.0272, "tpr_at_01pct_fpr": 0.0027, "advantage": 0.0174}
    return Claim(epsilon=epsilon, delta=1e-5, source="Opacus", contradicted=contradicted, **given)


def record(**changes) -> AuditRecord:
    attacks = (
        attack("LiRA", 0.3),
        attack("RMIA", 0.2),
        attack("Gradients", status="not_applicable", reason="needs gradients", measures={}, bounds=(), roc=()),
        attack("Noise", status="failed", reason="the endpoint answered 500", measures={}, bounds=(), roc=()),
    )
    given = {
        "title": "An audit",
        "created": "2026-01-02T03:04:05Z",
        "design": "fair_coins",
        "subject": Subject(
            kind="training",
            description="an MLP",
            members=1010,
            non_members=990,
            units="canaries",
            accuracy={"members": figure(0.99), "non_members": figure(0.7)},
        ),
        "threat_model": ThreatModel(goal="membership", access="scores", knowledge="the population", references=8),
        "verdict": Verdict(level="leak_shown", headline="It leaks.", sentences=("Shown: much.", "Act.")),
        "worst": {name: figure(attacks[0].measures[name].value, 0.06) for name in NAMES},
        "worst_attack": dict.fromkeys(NAMES, "LiRA"),
        "epsilon_lower": bound(3.33, attack="LiRA"),
        "claim": claim(),
        "blind": figure(0.51),
        "attacks": attacks,
        "slices": tuple(
            Slice(attribute="class", value=f"k{k}", members=9, non_members=8, measures={"auc": figure(0.6)}, p_value=p)
            for k, p in enumerate([0.0001, 0.4, None])
        ),
        "at_risk": (RecordAtRisk(row=17, identifier="anna", label="cat", score=4.2, rank=1, false_positive_rate=0.0),),
        "cautions": (
            Caution(code="ties", severity="note", text="Scores are tied."),
            Caution(code="shift", severity="invalid", text="The two sides differ."),
            Caution(code="twins", severity="warning", text="Records stand on both sides."),
        ),
        "policy": (
            Rule(rule="auc.high <= 0.6", observed=0.86, outcome="failed", reason="LiRA"),
            Rule(rule="tpr_at_1pct_fpr.high <= 0.5", observed=0.36, outcome="passed"),
            Rule(rule="advantage <= 0.1", observed=None, outcome="not_resolved", reason="too few"),
        ),
        "references": (
            Reference(catalog="GDPR", identifier="Art. 35", title="Impact assessment", url="https://example.org/35"),
            Reference(catalog="MITRE ATLAS", identifier="AML.T0024.000", title="Membership", url="javascript:alert(1)"),
            Reference(catalog="NIST AI 100-2", identifier="", title="Taxonomy"),
        ),
        "provenance": {"versions": {"jax": "0.10"}, "seed": 0, "git": None, "seconds": {"bounds": float("nan")}},
    }
    return AuditRecord(**{**given, **changes})


def bare() -> AuditRecord:
    """An audit of five records in which nothing is resolved and nothing optional is there."""
    open_ = {name: figure(None, n=5, note=NOTE) for name in NAMES}
    return AuditRecord(
        title="Five",
        created="2026-01-02T03:04:05Z",
        design="records",
        subject=Subject(kind="scores", description="", members=5, non_members=5),
        threat_model=ThreatModel(goal="membership", access="scores", knowledge="nothing", references=0),
        verdict=Verdict(level="no_leak_shown", headline="Nothing was shown.", sentences=()),
        worst=open_,
        epsilon_lower=None,
        attacks=(attack("Loss", measures=open_, bounds=(), roc=(), paper="", queries=None),),
    )


def terminal(given: AuditRecord, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(summary(given))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def full() -> tuple[str, Parsed]:
    html = audit_html(record())
    return html, Parsed(html)


def test_equal_records_give_equal_bytes_also_through_json(full, tmp_path):
    again = AuditRecord.model_validate_json(record().model_dump_json())
    path = write_audit(again, tmp_path / "new" / "audit.html")
    assert path.read_bytes() == full[0].encode()


def test_the_page_is_one_file_that_loads_nothing_and_runs_nothing(full):
    html, parsed = full
    assert len(html.encode()) < 300_000
    assert "<script" not in html and "javascript:" not in html
    assert all(address.startswith("#") for address in parsed.loads)
    assert all(link.startswith("https://") or link[1:] in parsed.ids for link in parsed.links)
    assert not re.search(r"@import|url\(\s*['\"]?http|@font-face", html)
    wanted = set(re.findall(r"url\(#([^)]+)\)", html))
    assert wanted and wanted <= set(parsed.ids)


def test_tables_and_pictures_can_be_read_aloud(full):
    html, parsed = full
    assert parsed.heads and all(head.get("scope") for head in parsed.heads)
    pictures = re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL)
    assert len([p for p in pictures if "aria-hidden" not in p[:200]]) == 4
    assert all("aria-hidden" in p[:200] or ('role="img"' in p and "<title" in p) for p in pictures)
    assert html.count("<h1>") == 1 and '<html lang="en">' in html


def test_every_rule_caution_reference_attack_and_slice_stands_on_the_page(full):
    given, (_, parsed) = record(), full
    shown = [
        *(rule.rule for rule in given.policy),
        *("0.86", "0.36", "no value", "not resolved", "too few", "1 passed, 1 failed, 1 not resolved"),
        *(part for caution in given.cautions for part in (caution.code, caution.text, caution.severity)),
        *(part for r in given.references for part in (r.identifier, r.title, bearing(r))),
        *(attack.title for attack in given.attacks),
        *("needs gradients", "the endpoint answered 500", "not applicable", "class: k0", "< 0.001", "differs"),
        *("not tested", "anna", "row 17", "Handle with care", "0.510", "jax: 0.10", given.created),
        *(given.verdict.headline, *given.verdict.sentences, "arXiv 2112.03570"),
    ]
    assert [part for part in shown if part not in parsed.text] == []


def test_what_invalidates_the_numbers_stands_before_them(full):
    text = full[1].text
    assert text.index("Do not use these numbers") < text.index("The two sides differ.") < text.index("It leaks.")
    cautions = text[text.index("What limits the meaning") :]
    assert cautions.index("The two sides") < cautions.index("Records stand on both") < cautions.index("Scores are tied")


def test_no_bound_is_shown_without_its_grade_and_its_assumptions(full):
    html, parsed = full
    cells = re.findall(r'<td class="num"><span class="value">≥ ([\d.]+)</span>(.*?)</td>', html)
    assert [value for value, _ in cells] == ["1.11", "2.22"] * 2
    assert all(("heuristic" if value == "2.22" else "proof") in rest for value, rest in cells)
    assert all("ceiling 6.25" in rest for _, rest in cells)
    for found in re.finditer(r"3\.33", parsed.text):
        around = parsed.text[max(0, found.start() - 60) : found.end() + 60]
        assert "proof" in around, around
    assert "Assumption of one_run." in parsed.text and "Assumption of gdp." in parsed.text
    assert re.search(r"3\.33 \(proof; ceiling 6\.25", terminal(record()))


def test_a_heuristic_above_the_claim_puts_it_in_doubt_and_does_not_refute_it():
    verdict = Verdict(level="claim_contradicted", headline="Contradicted.", sentences=())
    proof = Parsed(audit_html(record(verdict=verdict))).text
    assert "The claim does not hold" in proof and "beyond the claim, as a heuristic" not in proof
    weak = record(verdict=verdict, epsilon_lower=bound(3.33, grade="heuristic"), design="records")
    text = Parsed(audit_html(weak)).text
    assert "The claim is in doubt" in text and "The claim does not hold" not in text
    assert "beyond the claim, as a heuristic" in text and "refutes no claim" in text
    assert "in doubt" in terminal(weak) and "contradicted)" in terminal(record(verdict=verdict))


def test_the_claim_stands_beside_what_was_measured(full):
    text = full[1].text
    assert "27 of 1,000" in text and "2.7%" in text and "0.3%" in text
    assert "out of reach for any attacker" in text
    vague = Parsed(audit_html(record(claim=claim(None, contradicted=False)))).text
    assert "promises nothing to compare with" in vague and "out of reach for any attacker" not in vague
    assert "Nobody claims" in Parsed(audit_html(record(claim=None))).text


def test_a_claim_that_the_audit_could_not_reach_is_called_so():
    verdict = Verdict(level="claim_not_contradicted", headline="Not contradicted.", sentences=())
    unreachable = (Caution(code="claim-unreachable", severity="warning", text="Too few."),)
    assert "The claim is not contradicted" in Parsed(audit_html(record(verdict=verdict, cautions=()))).text
    assert "out of this audit's reach" in Parsed(audit_html(record(verdict=verdict, cautions=unreachable))).text
    text = Parsed(audit_html(record(claim=claim(8.0, contradicted=False)))).text
    assert "The claim lies above the ceiling" in text
    assert "The claim lies above the ceiling" not in Parsed(audit_html(record())).text


def test_rates_are_said_in_people():
    text = Parsed(audit_html(record())).text
    assert "300 of 1,000 (between 240 and 360)" in text
    assert "picks the member 800 times in 1,000 (between 740 and 860)" in text
    first = thousands(record())[0]
    # 1,000 of each: 300 right of 310. One in 100: 3 of every 3 + 9.9 right.
    assert believable(first) == (round(100 * 300 / 310), round(100 * 3 / 12.9)) == (97, 23)
    assert believable(first._replace(low=10)) is None, "no better than guessing"
    people = record(subject=Subject(kind="model", description="", members=9, non_members=9, units="groups"))
    assert "each taken with all of their records" in Parsed(audit_html(people)).text


@pytest.mark.parametrize(("sure", "perhaps"), [(0, 0), (0, 1), (49, 50), (51, 120), (1000, 1000)])
def test_the_dots_cover_as_many_people_as_they_say(sure, perhaps):
    areas = re.findall(r'<path d="([^"]+)" fill="url\(#d-(\w+)\)"', dots("d", sure, perhaps, "t"))
    counted = {}
    for path, look in areas:
        width, full_rows, over, bottom = map(int, re.findall(r"[HV](\d+)", path)[:4])
        counted[look] = (width * full_rows + over * (bottom - full_rows)) // 64
    assert counted.get("rest") == 1000
    assert (counted.get("sure", 0), counted.get("perhaps", 0)) == (sure, perhaps)


def test_what_was_not_resolved_is_neither_good_nor_bad_news():
    html = audit_html(bare())
    text = Parsed(html).text
    assert text.count(NOTE) >= 6 and "no good news and no bad news" in text
    assert "Nothing could be resolved" in text and "verdict held" not in html and "finds an unknown number" in text
    assert NOTE in terminal(bare()) and "no bound was computed" in terminal(bare())


def test_every_part_that_is_missing_is_said_to_be():
    text = Parsed(audit_html(bare())).text
    for said in (
        "No policy was given",
        "No bound on epsilon was computed",
        "Nobody claims a differential-privacy guarantee",
        "Not measured: whether members and non-members differ",
        "No attack left a curve",
        "No slices were measured",
        "No single records are listed",
        "found nothing to caution against",
        "The record names no article",
    ):
        assert said in text
    empty = Parsed(audit_html(bare().model_copy(update={"attacks": (), "worst": {}}))).text
    assert "No attack is in the record" in empty and "nothing can be said in numbers of people" in empty


@pytest.mark.parametrize("make", [record, bare, lambda: record(epsilon_lower=bound(0.0, ceiling=None), claim=None)])
def test_no_missing_number_shows_as_such(make):
    for text in (Parsed(audit_html(make())).text, terminal(make())):
        assert not re.search(r"\b(None|nan|NaN|inf|null|undefined)\b", text)


def test_hostile_words_are_shown_and_never_executed():
    evil = '<script>alert("x")</script>[bold]ü模'
    html = audit_html(
        record(
            title=evil,
            verdict=Verdict(level="leak_shown", headline=evil, sentences=(evil,)),
            attacks=(attack(evil, paper=evil), attack("Down", status="failed", reason=evil)),
            worst_attack=dict.fromkeys(NAMES, evil),
            claim=claim().model_copy(update={"source": evil}),
            at_risk=(RecordAtRisk(row=1, identifier=evil, label=evil, score=1, rank=1, false_positive_rate=0.5),),
            slices=(Slice(attribute=evil, value=evil, members=1, non_members=1, measures={}),),
            cautions=(Caution(code=evil, severity="invalid", text=evil),),
            policy=(Rule(rule=evil, observed=1.0, outcome="failed", reason=evil),),
            references=(Reference(catalog=evil, identifier=evil, title=evil, url=evil),),
            provenance={evil: {evil: evil}},
        )
    )
    assert "<script" not in html and Parsed(html).text.count(evil) > 20
    shown = terminal(record(verdict=Verdict(level="leak_shown", headline="[red]x[/] [/]", sentences=())))
    assert "[red]x[/] [/]" in shown


def test_many_slices_show_those_that_stand_out_and_fold_the_rest_away():
    parts = [
        Slice(attribute="class", value=f"k{k}", members=9, non_members=8, measures={"auc": figure(0.6)}, p_value=1.0)
        for k in range(40)
    ]
    parts[33] = parts[33].model_copy(update={"p_value": 0.001})
    html = audit_html(record(slices=tuple(parts)))
    shown, folded = html.split('id="slices"')[1].split("All 40 slices")
    assert re.findall(r"class: k(\d+)", shown)[0] == "33" and shown.count('scope="row"') == 12
    assert all(f"class: k{k}<" in folded for k in range(40))


def test_a_leak_free_verdict_looks_good_only_where_the_numbers_may_be_used():
    verdict = Verdict(level="no_leak_shown", headline="None shown.", sentences=())
    assert "verdict held" in audit_html(record(verdict=verdict, cautions=()))
    assert "verdict held" not in audit_html(record(verdict=verdict))


def test_the_terminal_tells_the_outcome_without_color():
    shown = terminal(record())
    for said in (
        "A leak is shown",
        "It leaks.",
        "policy FAILED: 1 passed, 1 failed, 1 not resolved",
        "invalid: The two",
    ):
        assert said in shown
    assert shown.index("invalid:") < shown.index("warning:") < shown.index("note:")


def test_articles_and_entries_get_their_own_sentence():
    def said(catalog: str, identifier: str) -> str:
        return bearing(Reference(catalog=catalog, identifier=identifier, title=""))

    gdpr = [said("GDPR", f"Art. {n}") for n in ("4(1)", "5(1)(f)", "9", "25", "32(1)(d)", "34", "35")]
    assert len(set(gdpr)) == len(gdpr)
    assert "did not carry out" in said("MITRE ATLAS", "AML.T0024.001")
    assert "did not carry out" not in said("MITRE ATLAS", "AML.T0024.000")
    assert said("another list", "X1").startswith("The audit bears on it")


def test_twelve_attacks_on_a_hundred_thousand_records_render_in_time():
    attacks = tuple(attack(f"Attack {k}", 0.03 * k) for k in range(12))
    given = record(attacks=attacks)
    audit_html(given)  # imports, once
    start = time.process_time()
    html = audit_html(given)
    assert time.process_time() - start < 2 and len(html) < 300_000
