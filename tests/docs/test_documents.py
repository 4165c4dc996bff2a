"""README, docs, experiments and notebooks say what is true: links lead somewhere, configs parse, code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from privsec.runner import catalog
from privsec.runner.config import load

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "experiments/**/*.md", "benchmarks/*.md")
    for page in ROOT.glob(pattern)
)
README = ROOT / "README.md"
SMALLER = (('"models": 16', '"models": 4'), ('"epochs": 60', '"epochs": 2'))
"""Replacements that bring the README's code to smoke size."""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a link into the page may point at, as GitHub makes anchors from headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)} links to {link}, which is not there"
        assert not anchor or anchor in anchors(there), f"{name(page)} links to {link}: no such heading"


CONFIGS = [
    pytest.param(yaml.safe_load(block), id=f"{name(page)}-{i}")
    for page in PAGES
    for i, block in enumerate(blocks(page, "yaml"))
    if "attacks:" in block
]


@pytest.mark.parametrize("config", CONFIGS)
def test_configs_in_the_pages_parse(config):
    assert load(config).attacks


@pytest.mark.parametrize("path", sorted(ROOT.glob("experiments/*/config.yaml")), ids=name)
def test_configs_of_the_experiments_parse(path):
    assert load(path).attacks


def test_location30_study_shares_its_models_with_the_config():
    study, config = (load(ROOT / path) for path in ("experiments/location30/config.yaml", "configs/location30.yaml"))
    for field in ("data", "net", "training", "population", "seeds"):
        assert getattr(study, field) == getattr(config, field)
    for name in study.defenses.keys() & config.defenses.keys():
        assert study.defenses[name] == config.defenses[name]


def test_the_config_that_the_readme_explains_is_the_one_in_the_repository():
    shown = next(block for block in blocks(README, "yaml") if "location30" in block)
    assert load(yaml.safe_load(shown)) == load(ROOT / "configs" / "location30.yaml")


def test_the_catalog_of_the_readme_is_current():
    text = README.read_text(encoding="utf-8")
    assert catalog.into(text) == text, "run `make schema`"


def test_every_data_set_is_described():
    described = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for row in catalog.entries()["data sets"]:
        assert f"`{row['name']}`" in described or f"name: {row['name']}" in described


def test_every_decision_is_listed():
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs" / "decisions").glob("0*.md"):
        assert f"({page.name})" in listed


CODE = [
    pytest.param(block, id=f"{name(page)}-{i}")
    for page in (
        README,
        *(ROOT / "docs" / page for page in ("privacy.md", "audit.md", "targets.md", "data-quality.md")),
    )
    for i, block in enumerate(blocks(page, "python"))
]


@pytest.mark.parametrize("code", CODE)
def test_the_code_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for large, small in SMALLER:
        code = code.replace(large, small)
    exec(compile(code, "<page>", "exec"), {})


def test_the_picture_is_small():
    assert (ROOT / "docs" / "report.png").stat().st_size <= 200_000
