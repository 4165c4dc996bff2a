from __future__ import annotations

import json
import math
from typing import Annotated, ClassVar, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from privsec.core.errors import ConfigError
from privsec.core.spec import Spec, SpecError, name_of


class Circle(Spec):
    unhashed: ClassVar[frozenset[str]] = frozenset({"label"})
    name: Literal["circle"] = "circle"
    label: str | None = None
    radius: float = Field(default=1.0, ge=0)


class Square(Spec):
    name: Literal["square"] = "square"
    side: float = 1.0
    corners: tuple[int, ...] = (4,)


Shape = Annotated[Circle | Square, Field(discriminator="name")]


class Drawing(Spec):
    title: str = ""
    shapes: tuple[Shape, ...] = ()
    groups: dict[str, tuple[Shape, ...]] = Field(default_factory=dict)
    frame: Circle | None = None


radii = st.floats(min_value=0, allow_nan=False)
circles = st.builds(Circle, radius=radii, label=st.none() | st.text())
squares = st.builds(Square, side=st.floats(allow_nan=False), corners=st.lists(st.integers()).map(tuple))
shapes = st.lists(circles | squares, max_size=3).map(tuple)
drawings = st.builds(
    Drawing,
    title=st.text(),
    shapes=shapes,
    groups=st.dictionaries(st.text(), shapes, max_size=2),
    frame=st.none() | circles,
)


def problem(call) -> tuple[str, str]:
    with pytest.raises(SpecError) as caught:
        call()
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


@given(drawings)
def test_json_round_trip(drawing):
    again = Drawing(**json.loads(json.dumps(drawing.to_json())))
    assert again == drawing
    assert hash(again) == hash(drawing)
    assert again.digest == drawing.digest


@given(drawings, drawings)
def test_equal_specs_have_equal_hashes(a, b):
    if a == b:
        assert hash(a) == hash(b)
    if a.digest != b.digest:
        assert a != b


def test_a_spec_is_its_config():
    assert Drawing(shapes=(Circle(radius=2),), frame=Circle()) == Drawing(
        **{"shapes": [{"name": "circle", "radius": 2.0}], "frame": {}}
    )


def test_defaults_and_order_do_not_change_the_digest():
    assert Square() == Square(corners=[4], side=1) and Square().digest == Square(corners=[4], side=1).digest


def test_minus_zero_is_zero():
    assert Square(side=0.0) == Square(side=-0.0)
    assert hash(Square(side=0.0)) == hash(Square(side=-0.0))


def test_infinity_survives_json():
    assert Square(**json.loads(json.dumps(Square(side=math.inf).to_json()))).side == math.inf


def test_the_digest_knows_every_value_and_no_label():
    assert Circle(radius=1).digest != Circle(radius=2).digest
    assert Circle(label="a").digest == Circle(label="b").digest
    assert Circle(label="a") != Circle(label="b")
    named, nameless = (Drawing(shapes=(Circle(label=label),), frame=Circle(label=label)) for label in ("a", None))
    assert named.digest == nameless.digest
    grouped = Drawing(groups={"label": (Circle(label="a"),)})
    assert grouped.digest == Drawing(groups={"label": (Circle(),)}).digest != Drawing().digest


def test_frozen():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Circle().radius = 2.0


def test_name_of():
    assert name_of(Circle) == "circle" and name_of(Drawing) is None


@pytest.mark.parametrize(
    ("call", "path", "texts"),
    [
        (lambda: Circle(raduis=1), "raduis", ["unknown key 'raduis'", "label, name, radius", "Did you mean 'radius'?"]),
        (lambda: Circle(zzz=1), "zzz", ["allowed: label, name, radius."]),
        (lambda: Circle(radius=-1), "radius", ["greater than or equal to 0", "got -1"]),
        (lambda: Circle(radius="wide"), "radius", ["valid number", "got 'wide'"]),
        (lambda: Drawing(shapes=[{"name": "circle", "radius": -1}]), "shapes[0].radius", ["got -1"]),
        (lambda: Drawing(shapes=[{}, {"name": "square"}]), "shapes[0]", ["says no `name`", "got {}"]),
        (
            lambda: Drawing(shapes=[{"name": "square"}, {"name": "squre"}]),
            "shapes[1].name",
            ["no such name 'squre'", "allowed: circle, square.", "Did you mean 'square'?"],
        ),
        (
            lambda: Drawing(groups={"left": [{"name": "circle", "raduis": 1}]}),
            "groups.left[0].raduis",
            ["Did you mean 'radius'?"],
        ),
        (lambda: Drawing(frame={"radius": -1}), "frame.radius", ["got -1"]),
        (lambda: Drawing(shapes=[{"name": "square", "corners": [1, "x"]}]), "shapes[0].corners[1]", ["got 'x'"]),
        (lambda: Drawing(shapes=(Square(), {"name": "circle", "radius": -1})), "shapes[1].radius", ["got -1"]),
    ],
)
def test_errors_name_the_path_what_was_given_and_what_is_near(call, path, texts):
    where, text = problem(call)
    assert where == path
    for part in texts:
        assert part in text


def test_missing_field():
    class Point(Spec):
        x: float

    assert problem(Point) == ("x", "is required and missing")


def test_every_problem_is_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        Drawing(title=3, shapes=[{"name": "circle", "radius": -1}, {"name": "hexagon"}])
    assert [path for path, _ in caught.value.problems] == ["title", "shapes[0].radius", "shapes[1].name"]
    assert str(caught.value).count("Drawing: ") == 3
