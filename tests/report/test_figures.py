from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.estimate import Estimate
from privsec.report import figures, images

number = st.floats(0, 1, width=16)


@given(st.lists(st.tuples(number, number), min_size=1, max_size=12))
def test_the_front_is_exactly_what_nothing_beats(points):
    on = figures.front(points)
    assert any(on)
    for (x, y), kept in zip(points, on, strict=True):
        beaten = any(u >= x and v <= y and (u > x or v < y) for u, v in points)
        assert kept != beaten


def example_plane() -> str:
    def e(value: float, half: float) -> Estimate:
        return Estimate(value, value - half, value + half, 8)

    points = [
        figures.Point("none", e(0.95, 0.01), e(0.6, 0.05), True, True),
        figures.Point("dp & <co>", e(0.8, 0.02), e(0.02, 0.03), True, False),
    ]
    return figures.plane(points)


def test_a_figure_is_valid_xml_with_a_spoken_title_and_no_fixed_colors():
    svg = example_plane()
    root = ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    tags = [child.tag.split("}")[-1] for child in root]
    assert tags[:2] == ["title", "desc"] and "dp & <co>: test accuracy 0.800" in (root[1].text or "")
    assert not re.search(r"#[0-9a-f]{6}", svg), "a color that dark mode cannot change"
    assert "var(--ink)" in svg and "dp &amp; &lt;co&gt;" in svg


def test_a_figure_does_not_depend_on_the_users_matplotlib_settings():
    import matplotlib

    plain = example_plane()
    with matplotlib.rc_context({"axes.facecolor": "red", "lines.linewidth": 7, "font.size": 30, "axes.grid": False}):
        assert example_plane() == plain


def test_a_roc_skips_what_the_run_cannot_resolve():
    grid = np.logspace(-3, 0, 20)
    mean = np.where(grid < 0.01, np.nan, np.sqrt(grid))
    svg = figures.roc("roc-0", "ROC", [figures.Curve("lira", grid, mean, mean, mean, 0)])
    assert "nan" not in svg.lower() and "lira" in svg


def test_a_png_holds_the_pixels():
    image = np.linspace(0, 1, 12).reshape(2, 2, 3)
    data = images.png(image)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    start = data.index(b"IDAT")
    size = int.from_bytes(data[start - 4 : start], "big")
    lines = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + size]), np.uint8).reshape(2, 7)
    np.testing.assert_array_equal(lines[:, 1:], np.round(image * 255).astype(np.uint8).reshape(2, 6))


@pytest.mark.parametrize("shape", [(8, 8, 1), (112, 92, 1), (32, 32, 3), (446,), (2000,), (5, 7, 2)])
def test_any_record_becomes_a_small_picture(shape):
    uri = images.data_uri(np.random.default_rng(0).random(shape), 0.0, 1.0)
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    assert 0 < max(width, height) <= images.LARGEST
