"""What all class inversion attacks share: which models and which classes, and the box that bounds the search."""

from __future__ import annotations

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Int
from pydantic import Field

from privsec.core.attack import Attack, Family, Knowledge
from privsec.core.errors import NotApplicable
from privsec.core.target import Target
from privsec.ops.ascend import Box


class ClassInversion(Attack):
    """Base: looks for inputs that show what the model takes class y for, for every class and several targets."""

    family: ClassVar[Family] = "inversion"

    targets: int = Field(default=8, ge=2, multiple_of=2)
    """How many models of a stack are attacked: the first ones, in complementary pairs, each twin the other's null."""
    classes: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Which classes are reconstructed; all of them where absent."""

    def attacked(self, target: Target) -> Target:
        """The models of a stack that are attacked, as a stack; of one model, the stack of it."""
        return jax.tree.map(lambda leaf: leaf[None], target) if target.size is None else target[: self.targets]

    def prompts(self, knowledge: Knowledge) -> Int[jax.Array, " K"]:
        """The classes that are reconstructed.

        Raises:
            NotApplicable: the data has no such class.
        """
        classes = range(knowledge.num_classes) if self.classes is None else self.classes
        if not classes or max(classes) >= knowledge.num_classes:
            raise NotApplicable(
                f"{self.title} was asked for classes {self.classes}, but the data has the classes 0 to "
                f"{knowledge.num_classes - 1}. Name some of these, or leave `classes` out for all."
            )
        return jnp.asarray(tuple(classes), jnp.int32)


def box_of(knowledge: Knowledge, shape: tuple[int, ...]) -> Box:
    """The data's box for one record, [...features] twice: the known one, or the range of the population.

    Raises:
        NotApplicable: neither is known.
    """
    if knowledge.box is not None:
        low, high = knowledge.box
    elif knowledge.population is not None:
        low, high = knowledge.population.x.min(axis=0), knowledge.population.x.max(axis=0)
    else:
        raise NotApplicable(
            "class inversion searches inside the data's box, and this knowledge has neither `box` nor a `population` "
            "to read one from. Give Knowledge(box=(low, high)) with the smallest and largest value of each feature."
        )
    low, high = (jnp.broadcast_to(jnp.asarray(end, jnp.float32), shape) for end in (low, high))
    return low, high
