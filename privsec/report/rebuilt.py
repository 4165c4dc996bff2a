"""What gradient inversion looks like: records, what was rebuilt of them, and the most similar public ones."""

from __future__ import annotations

from privsec.report.reading import Reading
from privsec.report.sheets import Sheet, class_name, distinct, each, figures_of, pictures, span
from privsec.runner.results import CellResult

SHOWN = 6
"""Records on a sheet."""
_BESIDE = ("success", "null_public", "null_control", "psnr", "ssim", "labels_right")


def sheets(reading: Reading) -> list[Sheet]:
    """A sheet for each attack on gradients, of the first target under each defense that changes what it finds."""
    cells = each(reading, reading.attacks, "nearest_public")
    return [_sheet(reading, cell, named) for cell, named in distinct(cells, "x")]


def _sheet(reading: Reading, cell: CellResult, defenses: str) -> Sheet:
    arrays, kept = cell.arrays, slice(0, SHOWN)
    record, nearest, found = arrays["record"][kept], arrays["nearest_public"][kept], arrays["x"][0][kept]
    rows = {"record": record, "rebuilt from its gradient": found, "most similar public record": nearest}
    low, high = span(record, nearest)
    return Sheet(
        cell.attack,
        cell.seed,
        defenses,
        len(record),
        arrays["x"].shape[0] * arrays["x"].shape[1],
        "records",
        record.ndim == 4,
        [class_name(reading.class_names, int(y)) for y in arrays["y"][kept]],
        [(title, pictures(values, low, high)) for title, values in rows.items()],
        [("PSNR in dB", [f"{value:.1f}" for value in arrays["psnr"][0][kept]])],
        figures_of(reading, cell, _BESIDE),
    )
