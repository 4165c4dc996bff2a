"""Poisons pixel by pixel, with loops, as the papers write them; and the measures of the family."""

from __future__ import annotations

import math

import numpy as np


def patched(picture, size, corner, low, high):
    """A checkerboard [size, size] in a corner, bright in the very corner."""
    picture = np.array(picture, np.float64)
    height, width = picture.shape[:2]
    for i in range(size):
        for j in range(size):
            row = height - 1 - i if "bottom" in corner else i
            column = width - 1 - j if "right" in corner else j
            picture[row, column] = (high if (i + j) % 2 == 0 else low)[row, column]
    return picture


def measures(called, control, goal, y, rejected, accuracy, control_accuracy, given, poisoned, kept, suspicion):
    """One model's measures: lists over the records asked about, and over the training records."""

    def won(label, wanted, true):
        if wanted == -1:
            return label != true and label != rejected
        return label == wanted

    count = len(called)
    success = sum(won(*each) for each in zip(called, goal, y, strict=True)) / count
    null = sum(won(*each) for each in zip(control, goal, y, strict=True)) / count
    poison = [r for r in range(len(given)) if given[r] and poisoned[r]]
    clean = [r for r in range(len(given)) if given[r] and not poisoned[r]]
    found = {
        "advantage": max((success - null) / max(1 - null, 1 / count), -1.0),
        "success": success,
        "null_success": null,
        "clean_accuracy": accuracy,
        "unpoisoned_accuracy": control_accuracy,
        "poisoned": len(poison) / (len(poison) + len(clean)),
        "points": float(count),
    }
    if rejected is not None:
        found["refused"] = sum(label == rejected for label in called) / count
    if kept is not None:
        found["detected"] = math.nan
        seen = [suspicion[r] for r in poison if not math.isnan(suspicion[r])]
        usual = [suspicion[r] for r in clean if not math.isnan(suspicion[r])]
        if seen and usual:
            # The lowest of the clean values that at most a twentieth of the clean ones exceed.
            threshold = min(v for v in usual if sum(u > v for u in usual) <= 0.05 * len(usual))
            found["detected"] = sum(v > threshold for v in seen) / len(seen)
        for name, rows in (("poison_kept", poison), ("clean_kept", clean)):
            found[name] = sum(bool(kept[r]) for r in rows) / len(rows) if rows else math.nan
    return found


def withstood(votes):
    """How many votes may change with the winner the same, by trying all ways to take them away and to cast them."""

    def winner(votes):
        return next(c for c, n in enumerate(votes) if n == max(votes))

    def moves(votes):
        for a in range(len(votes)):
            for b in range(len(votes)):
                if a != b and votes[a]:
                    moved = list(votes)
                    moved[a] -= 1
                    moved[b] += 1
                    yield tuple(moved)

    right, reached, changed = winner(votes), {tuple(votes)}, 0
    while changed < sum(votes):
        reached |= {moved for each in reached for moved in moves(each)}
        if any(winner(each) != right for each in reached):
            return changed
        changed += 1
    return changed


def sinusoid(picture, amplitude, frequency, low, high):
    """A wave along the columns 1 .. W."""
    picture = np.array(picture, np.float64)
    height, width, channels = picture.shape
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                span = high[i, j, c] - low[i, j, c]
                moved = picture[i, j, c] + amplitude * span * math.sin(2 * math.pi * (j + 1) * frequency / width)
                picture[i, j, c] = min(max(moved, low[i, j, c]), high[i, j, c])
    return picture


def warp(picture, flow):
    """Bilinear reading at each pixel's place plus the flow (in shares of half the size), kept inside the picture."""
    height, width, channels = picture.shape
    out = np.zeros_like(picture, dtype=np.float64)
    for i in range(height):
        for j in range(width):
            row = min(max(i + flow[i, j, 0] * (height - 1) / 2, 0.0), height - 1.0)
            column = min(max(j + flow[i, j, 1] * (width - 1) / 2, 0.0), width - 1.0)
            r, c = min(int(row), height - 2), min(int(column), width - 2)
            a, b = row - r, column - c
            for k in range(channels):
                upper = (1 - b) * picture[r, c, k] + b * picture[r, c + 1, k]
                lower = (1 - b) * picture[r + 1, c, k] + b * picture[r + 1, c + 1, k]
                out[i, j, k] = (1 - a) * upper + a * lower
    return out


def pieces_of(mask, pieces):
    """For a mask [H, W] the value of each piece; raises where a piece is neither all on nor all off."""
    height, width = mask.shape
    values = {}
    for i in range(height):
        for j in range(width):
            piece = (i * pieces // height, j * pieces // width)
            assert values.setdefault(piece, bool(mask[i, j])) == bool(mask[i, j])
    return values


def mismatch(weights, x, y, target, goal):
    """1 - cos of two gradients of a linear classifier's cross-entropy, entry by entry."""
    weights = np.asarray(weights, np.float64)

    def gradient(records, labels):
        total = np.zeros_like(weights)
        for record, label in zip(records, labels, strict=True):
            logits = record @ weights
            scores = np.exp(logits - logits.max())
            scores /= scores.sum()
            for d in range(weights.shape[0]):
                for c in range(weights.shape[1]):
                    total[d, c] += record[d] * (scores[c] - (c == label))
        return total.ravel()

    ours, wanted = gradient(np.asarray(x, np.float64), y), gradient(np.asarray(target, np.float64)[None], [goal])
    return 1 - ours @ wanted / math.sqrt(ours @ ours) / math.sqrt(wanted @ wanted)


def collided(weights, x, target, opacity, steps, step, closeness, low, high):
    """Feature collision under phi(x) = x @ weights, record by record."""
    weights, target = np.asarray(weights, np.float64), np.asarray(target, np.float64)
    factor = closeness * (weights.shape[1] / weights.shape[0]) ** 2
    out = []
    for record in np.asarray(x, np.float64):
        base = (1 - opacity) * record + opacity * target
        place, length = base, step

        def cost(at, base=base):
            return np.sum((at @ weights - target @ weights) ** 2) + factor * np.sum((at - base) ** 2)

        for _ in range(steps):
            slope = 2 * weights @ (place @ weights - target @ weights)
            moved = place - length * slope
            moved = np.clip((moved + length * factor * base) / (1 + length * factor), low, high)
            if cost(moved) < cost(place):
                place = moved
            else:
                length /= 2
        out.append(place)
    return np.array(out)
