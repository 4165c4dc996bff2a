from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from privsec.report import page
from privsec.report.reading import Reading
from privsec.runner.results import Results

VOID = {"meta", "img", "br", "line", "hr", "link", "input", "wbr"}


class Page(HTMLParser):
    """Checks that tags balance, and collects text, ids, links and headings."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"] or "")
        if tag == "a":
            self.links.append(given.get("href") or "")
        else:
            self.loads += [
                given[name] or "" for name in ("src", "href", "xlink:href", "srcset", "data") if name in given
            ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def written(results: Results, path: Path) -> tuple[str, Page]:
    html = page.write(results, path).read_text()
    return html, Page(html)


@pytest.fixture(scope="module")
def full(full_run: Results, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    return written(full_run, tmp_path_factory.mktemp("report") / "report.html")


def test_the_full_page_is_one_balanced_file_of_moderate_size_without_script(full):
    html, parsed = full
    assert len(html.encode()) < 600_000
    assert "<script" not in html and "javascript:" not in html
    assert len(parsed.ids) == len(set(parsed.ids))
    assert html.count("<h1>") == 1


def test_nothing_is_loaded_from_elsewhere(full):
    html, parsed = full
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in parsed.loads)
    assert all(link.startswith(("#", "https://arxiv.org/", "https://doi.org/", "https://")) for link in parsed.links)
    assert all(link[1:] in parsed.ids for link in parsed.links if link.startswith("#"))
    assert not re.search(r"@import|url\(\s*['\"]?http|@font-face", html)


def test_every_reference_inside_the_svgs_resolves(full):
    html, parsed = full
    wanted = set(re.findall(r"url\(#([^)]+)\)", html)) | set(re.findall(r'xlink:href="#([^"]+)"', html))
    assert wanted and wanted <= set(parsed.ids)


def test_equal_input_gives_equal_bytes(full_run: Results, full, tmp_path: Path):
    again, _ = written(full_run, tmp_path / "again" / "report.html")
    assert again == full[0]
    first = page.write(full_run, tmp_path / "a.html").with_suffix(".json").read_bytes()
    assert first == (tmp_path / "again" / "report.json").read_bytes()


def test_every_number_of_the_table_stands_on_the_page_with_interval_and_n(full_run: Results, full):
    from privsec.report.wording import interval, number, wording

    reading, text = Reading(full_run), re.sub(r"\s+", " ", full[1].text.replace("\u00a0", " "))
    checked = 0
    for row in reading.table[reading.table["seed"] == "all"].to_dict("records"):
        entry = reading.entry(row["defense"], row["attack"], row["measure"])
        if entry.resolved:
            style = wording(row["measure"]).style
            shown = f"{number(entry.known.value, style)} {interval(entry.known, style)}".replace("\u00a0", " ")
            assert shown in text, row
            checked += 1
    assert checked > 150
    assert len(re.findall(r"n = \d+", text)) >= 100


def test_every_reason_for_a_missing_figure_stands_on_the_page(full_run: Results, full):
    missing = [cell for cell in full_run.cells if cell.status != "ok"]
    assert {cell.status for cell in missing} == {"failed", "not_applicable"}
    assert all(cell.reason in full[1].text for cell in missing)
    assert "not resolvable at this n: 300 non-members allow no false positive at 0.1%" in full[1].text
    assert '<td class="num"></td>' not in full[0] and not re.search(r"<td[^>]*>\s*</td>\s*<td[^>]*>\s*</td>", full[0])


def test_the_heat_map_has_a_cell_for_every_pair(full_run: Results, full):
    reading = Reading(full_run)
    section = full[0].split('id="heat"')[1].split("</section>")[0]
    assert section.count("<td") == len(reading.defenses) * len(reading.attacks) == 42
    assert section.count('scope="row"') == len(reading.defenses)
    assert "failed" in section and "out of memory after 4,096 queries" in section


def test_raw_numbers_lie_beside_the_page(full_run: Results, tmp_path: Path):
    raw = json.loads(page.write(full_run, tmp_path / "report.html").with_suffix(".json").read_text())
    assert len(raw["table"]) == len(full_run.table)
    assert raw["verdict"]["state"] == "leak" and raw["findings"] and raw["config"]["title"] == full_run.title
    assert any(row["value"] is None for row in raw["table"])


def test_hostile_words_are_shown_and_never_executed(folder, tmp_path: Path):
    evil = '<script>alert("x")</script>'
    folder.config.update(
        title=evil, defenses={"none": [], evil: [{"name": evil}]}, attacks=[{"name": "loss", "label": evil}]
    )
    folder.record["class_names"] = [evil] * 10
    for defense, rise in (("none", 0.4), (evil, 0.1)):
        folder.add(defense, "", {"test_accuracy": [0.8, 0.81, 0.82, 0.83]}, family="utility")
        folder.add(defense, evil, {"advantage": [rise, rise + 0.01, rise, rise - 0.01]})
    folder.add("none", "broken", status="failed", reason=evil)
    html, parsed = written(folder.results(), tmp_path / "report.html")
    assert "<script" not in html and evil in parsed.text
    assert parsed.text.count(evil) > 5


def test_a_run_with_one_attack_and_no_arrays_says_what_it_lacks(folder, tmp_path: Path):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "loss"}], seeds=[0])
    folder.add("none", "loss", {"advantage": [0.1, 0.2, 0.15, 0.18]})
    _, parsed = written(folder.results(), tmp_path / "report.html")
    for said in (
        "no point to draw",
        "No membership attack left scores to draw",
        "There is no pair of a defended and an undefended model",
        "Not tested: inversion, evasion, poisoning, reprogramming, extraction",
        "A single seed",
    ):
        assert said in parsed.text


def test_a_run_of_failures_says_that_it_measured_nothing(folder, tmp_path: Path):
    for defense in ("none", "dp-8"):
        folder.add(defense, "", family="utility", status="failed", reason="the device ran out of memory")
        for attack in ("lira", "mi_face"):
            family = "inversion" if attack == "mi_face" else "membership"
            folder.add(defense, attack, family=family, status="failed", reason=f"{attack} met a NaN")
    folder.config["defenses"] = {"none": [], "dp-8": []}
    html, parsed = written(folder.results(), tmp_path / "report.html")
    assert "This run measured no leakage: none of its 4 cells has a figure." in parsed.text
    assert "Failed: 4 cells" in parsed.text and "lira met a NaN" in parsed.text and "the device ran out" in parsed.text
    assert "verdict unmeasured" in html


def test_a_run_without_any_cell_still_gives_a_page(folder, tmp_path: Path):
    folder.config.update(attacks=[], defenses={})
    _, parsed = written(folder.results(), tmp_path / "report.html")
    assert "it holds no attack" in parsed.text


def test_reconstructions_of_table_rows_and_of_large_images_stay_small(tmp_path: Path, build):
    for shape in ((30,), (112, 92, 1), (32, 32, 3)):
        results = build(tmp_path / str(len(shape)) / str(shape[0]), shape=shape).results()
        html, parsed = written(results, tmp_path / f"{shape[0]}.html")
        assert len(html.encode()) < 600_000
        assert sum(load.startswith("data:image/png") for load in parsed.loads) >= 36


def test_results_report_writes_into_the_run_folder(folder):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "loss"}])
    folder.add("none", "loss", {"advantage": [0.1, 0.2, 0.15, 0.18]})
    results = folder.results()
    assert results.report() == results.folder / "report.html"
    assert (results.folder / "report.json").exists()
