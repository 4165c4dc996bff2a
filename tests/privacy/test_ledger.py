import datetime
import json
import math
import subprocess
import sys

import filelock
import pytest

from privsec.core.errors import ConfigError, DataError
from privsec.core.recipe import DPEvent
from privsec.privacy import ledger as module
from privsec.privacy.ledger import Balance, Ledger, OverBudget, Terms
from privsec.privacy.releases import (
    ApproximateDP,
    GaussianMechanism,
    LaplaceMechanism,
    Release,
    SampledGaussian,
    ZeroConcentratedDP,
    spent,
)

DATA, OTHER = "ab" * 32, "cd" * 32
DAY = datetime.date(2026, 3, 14)
HALF = ApproximateDP(epsilon=0.5)
TERMS = Terms(data=DATA, delta=1e-5, epsilon=1.0, records=10_000, title="clinic")


def add(book: Ledger, mechanism: Release, title: str = "counts", **more: str) -> Ledger:
    return book.append(mechanism, **{"title": title, "date": "2026-03-14", "released": "a table", "data": DATA, **more})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.json"


@pytest.fixture
def book(path):
    return add(
        add(Ledger.create(path, TERMS), ApproximateDP(epsilon=0.25), "first"), ApproximateDP(epsilon=0.25), "second"
    )


def test_what_was_appended_is_read_again(book, path):
    again = Ledger.open(path)
    assert again == book and again.terms == TERMS
    assert [entry.title for entry in again.entries] == ["first", "second"]
    assert again.entries[0].date == DAY and again.entries[0].mechanism == ApproximateDP(epsilon=0.25)


def test_every_kind_of_release_is_kept_and_composed(path):
    training = SampledGaussian.of(DPEvent(0.01, 4.0, 10))
    releases = (training, GaussianMechanism(noise_multiplier=30.0), LaplaceMechanism(noise_multiplier=20.0),
                ApproximateDP(epsilon=0.1, delta=1e-7), ZeroConcentratedDP(rho=1e-3))  # fmt: skip
    book = Ledger.create(path, TERMS)
    for release in releases:
        book = add(book, release, release.name)
    assert tuple(entry.mechanism for entry in Ledger.open(path).entries) == releases
    balance = book.balance()
    assert (balance.epsilon, balance.delta, balance.accountant) == spent(releases, 1e-5)
    assert 0 < balance.remaining == 1.0 - balance.epsilon
    assert balance.entries == 5 and balance.forced == 0 and not balance.warnings
    assert Balance(**json.loads(balance.model_dump_json())) == balance


def test_a_new_ledger_has_its_whole_budget(path):
    balance = Ledger.create(path, TERMS).balance()
    assert balance.epsilon == 0 and balance.remaining == 1.0


def test_what_remains_fits_and_more_does_not(path):
    book = add(Ledger.create(path, TERMS), GaussianMechanism(noise_multiplier=10.0))
    remaining = book.balance().remaining
    with pytest.raises(OverBudget):
        add(book, ApproximateDP(epsilon=remaining + 0.1))
    assert add(book, ApproximateDP(epsilon=remaining - 1e-3)).balance().remaining >= 8e-4


def test_an_entry_that_breaks_the_budget_is_refused_and_nothing_is_written(book, path):
    before = path.read_bytes()
    with pytest.raises(OverBudget, match=r"'greedy' would bring epsilon to 1\.[0-9]+ at delta 1e-05; the budget is 1"):
        add(book, ApproximateDP(epsilon=0.75), "greedy")
    assert path.read_bytes() == before
    assert len(add(book, HALF, "modest").entries) == 3


def test_a_forced_entry_is_recorded_with_its_reason(book):
    book = add(book, ApproximateDP(epsilon=math.inf), "leak", force="found on a public server")
    assert Ledger.open(book.path).entries[-1].forced == "found on a public server"
    balance = book.balance()
    assert math.isinf(balance.epsilon) and balance.remaining == 0 and balance.forced == 1
    assert "broken" in balance.warnings[0]
    with pytest.raises(OverBudget, match="infinite"):
        add(book, ApproximateDP(epsilon=0.0))


def test_a_reason_is_not_recorded_where_none_was_needed(book):
    assert add(book, HALF, force="just in case").entries[-1].forced == ""


def test_without_a_budget_everything_is_accepted(path):
    book = add(Ledger.create(path, Terms(data=DATA, delta=1e-5)), ApproximateDP(epsilon=50.0))
    assert book.balance().epsilon == pytest.approx(50) and book.balance().remaining is None


def test_at_another_delta_the_budget_is_not_spoken_of(path):
    book = add(Ledger.create(path, TERMS), GaussianMechanism(noise_multiplier=10.0))
    assert book.balance(1e-3).epsilon < book.balance().epsilon
    assert book.balance(1e-3).remaining is None


def test_data_sets_are_not_mixed(book, path):
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"cdcdcdcdcdcd\.\.\., this ledger is for abababababab"):
        add(book, HALF, data=OTHER)
    assert path.read_bytes() == before


def test_a_ledger_that_was_replaced_by_that_of_another_data_set_is_not_mixed_either(book, path):
    path.unlink()
    Ledger.create(path, Terms(data=OTHER, delta=1e-5))
    with pytest.raises(ConfigError, match="this ledger is for cdcdcd"):
        add(book, HALF)


def test_a_delta_that_protects_nobody_is_warned_of(path):
    book = Ledger.create(path, Terms(data=DATA, delta=1e-3, records=1000))
    assert "not below 1 / records" in book.balance().warnings[0]


def test_rows_tell_the_total_and_each_entry(book):
    rows = {row.name: row for row in add(book, ApproximateDP(epsilon=1.0), "leak", force="no use").rows()}
    assert rows["data set"].value == "clinic" and DATA in rows["data set"].meaning
    assert rows["epsilon"].value == "1.500" and "delta 1e-05" in rows["epsilon"].meaning
    assert rows["budget"].value == "1.000" and rows["remaining"].value == "0.000"
    assert rows["2026-03-14 first"].value == "0.250"
    assert rows["2026-03-14 leak"].meaning == "by itself; a table; forced: no use"


def test_a_stale_view_loses_nothing(book):
    add(book, ApproximateDP(epsilon=0.1), "third")
    assert [entry.title for entry in add(book, ApproximateDP(epsilon=0.1), "fourth").entries][2:] == ["third", "fourth"]


APPEND = """
import sys
from privsec.privacy.ledger import Ledger
from privsec.privacy.releases import ApproximateDP
for k in range(int(sys.argv[3])):
    Ledger.open(sys.argv[1]).append(ApproximateDP(epsilon=0.01), title=f"{sys.argv[2]} {k}", date="2026-03-14",
                                    released="a table", data="ab" * 32)
"""


def test_two_processes_lose_no_entry(path):
    Ledger.create(path, TERMS)
    running = [subprocess.Popen([sys.executable, "-c", APPEND, path, name, "6"]) for name in ("left", "right")]
    assert [process.wait(60) for process in running] == [0, 0]
    titles = [entry.title for entry in Ledger.open(path).entries]
    assert sorted(titles) == sorted(f"{name} {k}" for name in ("left", "right") for k in range(6))


def test_another_process_that_holds_the_file_is_named(book, path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    with filelock.FileLock(path.with_name(".ledger.json.lock")), pytest.raises(ConfigError, match="another process"):
        add(book, HALF)
    assert len(add(book, HALF).entries) == 3


def test_a_crash_while_writing_leaves_the_old_ledger(book, path, monkeypatch):
    def crash(handle):
        raise OSError("no space left on device")

    monkeypatch.setattr(module.os, "fsync", crash)
    with pytest.raises(OSError, match="no space"):
        add(book, HALF)
    assert Ledger.open(path) == book
    assert sorted(file.name for file in path.parent.iterdir() if file.suffix != ".lock") == ["ledger.json"]


def edited(**changes):
    def edit(content):
        content["entries"][0].update(changes)

    return edit


DAMAGES = {
    "edited": (edited(title="renamed"), "entry 1 was changed"),
    "cheaper": (edited(mechanism={"name": "approximate_dp", "epsilon": 0.01, "delta": 0.0}), "entry 1 was changed"),
    "first dropped": (lambda content: content["entries"].pop(0), "what stands before entry 1"),
    "last dropped": (lambda content: content["entries"].pop(), "latest entries are missing"),
    "swapped": (lambda content: content["entries"].reverse(), "what stands before entry 1"),
    "larger budget": (lambda content: content["terms"].update(epsilon=9.0), "what stands before entry 1"),
    "no terms": (lambda content: content.pop("terms"), "structure"),
    "entries are text": (lambda content: content.update(entries="none"), "structure"),
    "another format": (lambda content: content.update(format="notes"), "another kind of file"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_noticed_and_nothing_is_written(book, path, damage, said):
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    before = path.read_bytes()
    for attempt in (lambda: Ledger.open(path), lambda: add(book, HALF)):
        with pytest.raises(DataError, match=said) as error:
            attempt()
        assert "Restore the file" in str(error.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [0, 1, 200, -2])
def test_a_cut_off_file_is_noticed_and_nothing_is_written(book, path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    before = path.read_bytes()
    with pytest.raises(DataError, match="cannot be read as JSON"):
        add(book, HALF)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[]", b"null", b"{}"])
def test_another_file_is_not_a_ledger(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        Ledger.open(path)


def test_a_change_of_layout_is_no_damage(book, path):
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert Ledger.open(path) == book


def test_missing_and_existing_files_are_told_apart(path):
    with pytest.raises(ConfigError, match="no such ledger"):
        Ledger.open(path)
    with pytest.raises(ConfigError, match="no such folder"):
        Ledger.create(path.parent / "nowhere" / "ledger.json", TERMS)
    Ledger.create(path, TERMS)
    with pytest.raises(ConfigError, match="exists"):
        Ledger.create(path, TERMS)


@pytest.mark.parametrize(
    "wrong",
    [{"title": ""}, {"date": "yesterday"}, {"released": ""}, {"date": "2026-13-01"}],
    ids=lambda wrong: str(wrong),
)
def test_malformed_entries_are_refused_and_nothing_is_written(book, path, wrong):
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        add(book, HALF, **wrong)
    assert path.read_bytes() == before


@pytest.mark.parametrize("wrong", [{"data": "abc"}, {"delta": 1.0}, {"epsilon": 0.0}, {"epsilon": math.inf}])
def test_malformed_terms_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Terms(**{**dict(TERMS), **wrong})
