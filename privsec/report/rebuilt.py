"""What gradient inversion looks like: records, what was rebuilt of them, and the most similar public ones."""

from __future__ import annotations

from typing import Any

from privsec.report import images
from privsec.report.panels import class_name, figures_of
from privsec.report.reading import Reading
from privsec.report.wording import number
from privsec.runner.results import CellResult

SHOWN = 6
"""Records on a sheet."""
_BESIDE = ("success", "null_public", "null_control", "psnr", "ssim", "labels_right")


def sheets(reading: Reading) -> list[dict[str, Any]]:
    """A sheet for each attack on gradients and each defense, of the first target."""
    every = ((defense, column) for column in reading.attacks for defense in reading.defenses)
    found = ([c for c in reading.cells(d, column.label) if "nearest_public" in c.arrays][:1] for d, column in every)
    return [_sheet(reading, cell) for cells in found for cell in cells]


def _sheet(reading: Reading, cell: CellResult) -> dict[str, Any]:
    arrays = cell.arrays
    kept = slice(0, SHOWN)
    record, nearest, found = arrays["record"][kept], arrays["nearest_public"][kept], arrays["x"][0][kept]
    low, high = min(0.0, float(record.min())), max(1.0, float(record.max()))
    rows = {"record": record, "rebuilt from its gradient": found, "most similar public record": nearest}
    return {
        "cell": cell,
        "defenses": cell.defense,
        "shown": len(record),
        "of": arrays["x"].shape[0] * arrays["x"].shape[1],
        "what": "records",
        "image": record.ndim == 4,
        "classes": [class_name(reading.class_names, int(y)) for y in arrays["y"][kept]],
        "rows": [(title, [images.data_uri(x, low, high) for x in values]) for title, values in rows.items()],
        "words": [("PSNR", [f"{number(float(value), 'two')} dB" for value in arrays["psnr"][0][kept]])],
        "figures": figures_of(reading, cell, _BESIDE),
    }
