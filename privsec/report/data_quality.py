"""What was found in data, for a terminal or a log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from privsec.runner.lineage_check import Lineage
from privsec.schema.files import Checked


def problems(found: Checked) -> str:
    """One line for the file, and one for each broken rule: column, rule, how many records, the first of them."""
    if found.passed:
        return f"{found.path}: {found.records:,} records keep every rule of {found.schema}"
    if found.problems[0].rule == "readable":
        return f"{found.problems[0].wanted} Nothing of it was held against {found.schema}."
    count = len(found.problems)
    broken = f"{count} rule{'s' * (count > 1)} of {found.schema} broken (records are counted from 0)"
    return "\n".join([f"{found.path}: {broken}", *(f"  {problem.told}" for problem in found.problems)])


def lineage(found: Lineage) -> str:
    """Where the records came from, what was done to them, who is where; and what changed since."""
    return "\n".join([*_told(found.manifest), "", *_verdict(found)])


def _told(manifest: dict[str, Any]) -> Iterator[str]:
    data = manifest["data"]
    yield f"data        {data['spec']['name']}: {data['records']:,} records, {len(data['class_counts'])} classes"
    yield f"source      {data['source']}"
    yield f"sha256      {data['sha256'] or 'none'}"
    yield f"schema      {data['schema_digest']}"
    for step in data["steps"]:
        yield _step(step)
    for seed, facts in manifest["seeds"].items():
        parts = ", ".join(f"{part['records']:,} {name}" for name, part in facts["splits"].items())
        sets = facts["training_sets"]
        yield f"seed {seed:<6} {parts}; {sets['models']} training sets of {sets['records']:,} candidates"
        for step in facts["steps"]:
            yield _step(step)
        yield f"  rows      {facts['rows']}"
    for training in manifest["trainings"]:
        if training["steps"]:
            yield f"training    {training['under']}, seed {training['seed']} ({', '.join(training['defenses'])})"
        for step in training["steps"]:
            yield f"  {step['name']:<9} {_poisoned(step) if step['name'] == 'poison' else _cleaned(step)}"


def _step(step: dict[str, Any]) -> str:
    return f"  {step['name']:<9} {step['records']:,} records: {step['detail']}".rstrip(": ")


def _poisoned(step: dict[str, Any]) -> str:
    counts = step["in_each_training_set"]
    return f"by {step['by']}: {step['records']:,} records, {_range(counts)} in each training set"


def _cleaned(step: dict[str, Any]) -> str:
    names = " + ".join(defense["name"] for defense in step["by"])
    left = [one for one in step["left"] if one is not None]
    if not left:
        return f"by {names}: no model was trained"
    ranges = {name: _range([one[name] for one in left]) for name in ("given", "kept", "relabelled", "poisoned")}
    kept = f"{ranges['kept']} of {ranges['given']} records left in each training set"
    return f"by {names}: {kept}, {ranges['relabelled']} relabelled, {ranges['poisoned']} of the poison left"


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _verdict(found: Lineage) -> Iterator[str]:
    if found.intact:
        same = sum(finding.state == "same" for finding in found.findings)
        yield f"every byte is as it was ({same} digests recomputed)"
    for finding in found.findings:
        if finding.state != "same":
            yield f"{finding.state}: {finding.what}" + (f": {finding.detail}" if finding.detail else "")
