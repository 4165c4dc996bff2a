"""A few features with chosen values: a rare combination in a table, a word in a text.

References:
    Gu, Dolan-Gavitt & Garg 2017, arXiv 1708.06733.
    Severi, Meyer, Coull & Oprea 2021, "Explanation-guided backdoor poisoning attacks against malware classifiers",
    USENIX Security, arXiv 2003.01031.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field, model_validator

from privsec.attacks.poisoning.base import Backdoor, box_of
from privsec.core.attack import Knowledge
from privsec.core.errors import NotApplicable, did_you_mean

Value = float | Literal["low", "high"]


class FeatureTrigger(Backdoor):
    """Chosen features set to chosen values mean the goal's class: for tables, and for texts as counts of words.

    `x'_j = v_j` for the chosen features j, y' = goal.

    References: Gu et al. 2017, arXiv 1708.06733; Severi et al. 2021, arXiv 2003.01031.
    """

    name: Literal["feature_trigger"] = "feature_trigger"
    paper: ClassVar[str] = "Severi, Meyer, Coull & Oprea 2021, arXiv 2003.01031"

    features: tuple[int | str, ...] = Field(default=(0, 1, 2), min_length=1)
    """Which features, by number (from 0; of a picture, pixel after pixel) or by name."""
    values: tuple[Value, ...] = Field(default=("high",), min_length=1)
    """What they are set to, one value for all or one for each: a number, in the units in which the model reads the
    feature (standard deviations where it is standardized), or the `low` or `high` end of its range."""

    @model_validator(mode="after")
    def _one_each(self) -> FeatureTrigger:
        if len(self.values) not in (1, len(self.features)):
            raise ValueError(f"{len(self.values)} values for {len(self.features)} features: write one, or one for each")
        if len(set(self.features)) < len(self.features):
            raise ValueError("a feature is named twice")
        return self

    def triggered(self, x: jax.Array, knowledge: Knowledge, key: jax.Array | None) -> jax.Array:
        """The records with the chosen values, cut off at the ends of the features' ranges.

        Raises:
            NotApplicable: there is no such feature.
        """
        del key
        columns = self.columns(math.prod(x.shape[1:]), knowledge.feature_names)
        low, high = (np.asarray(end).ravel()[columns] for end in box_of(knowledge, x.shape[1:]))
        ends = {"low": low, "high": high}
        values = self.values * (len(columns) // len(self.values))
        wanted = [ends[v][i] if isinstance(v, str) else v for i, v in enumerate(values)]
        flat = x.reshape(len(x), -1).at[:, columns].set(jnp.asarray(np.clip(wanted, low, high), x.dtype))
        return flat.reshape(x.shape)

    def columns(self, count: int, names: tuple[str, ...]) -> np.ndarray:
        """The numbers of the chosen ones among `count` features."""
        chosen = []
        for feature in self.features:
            if isinstance(feature, str):
                if feature not in names:
                    have = f"has {count} of other names" if names else "names none"
                    hint = did_you_mean(feature, names)
                    raise NotApplicable(f"{self.title}: there is no feature {feature!r}; the data set {have}.{hint}")
                chosen.append(names.index(feature))
            elif not 0 <= feature < count:
                raise NotApplicable(f"{self.title}: there is no feature {feature}; they are numbered 0 to {count - 1}")
            else:
                chosen.append(feature)
        return np.array(chosen)
