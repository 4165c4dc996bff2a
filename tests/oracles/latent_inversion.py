"""Slow, plain versions of inversion in a generator's latents, loops over single numbers, written from the papers."""

from __future__ import annotations

import math

import numpy as np


def poincare(logits, label, corner=1 - 1e-4):
    """Struppek et al. 2022, equation 4: the hyperbolic distance between L1-normalized logits and a class's corner."""
    size = sum(abs(number) for number in logits)
    u = [number / size for number in logits]
    v = [corner if c == label else 0.0 for c in range(len(u))]
    between = sum((a - b) ** 2 for a, b in zip(u, v, strict=True))
    room = (1 - sum(a * a for a in u)) * (1 - sum(b * b for b in v))
    return math.acosh(1 + 2 * between / room)


def repelled(z, radius, directions, inside, longest):
    """Kahla et al. 2022, equations 4 and 5 with repulsion only: one step of one latent, before any clipping."""
    outside = [[-u for u in direction] for direction, within in zip(directions, inside, strict=True) if not within]
    mean = [sum(each[i] for each in outside) / len(directions) for i in range(len(z))]
    return np.array([z[i] + min(radius / 3, longest) * mean[i] for i in range(len(z))])
