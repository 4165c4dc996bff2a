"""Slow, obvious forms of evasion attacks on linear models, in float64; no code shared with privsec."""

import numpy as np


def softmax(z):
    p = np.exp(z - z.max())
    return p / p.sum()


def pgd_on_softmax_regression(kernel, x, y, radius, steps, size, norm, low, high):
    """One record, from the record itself: the first iterate that errs, or the record where none does."""
    kernel, clean = np.asarray(kernel, np.float64), np.asarray(x, np.float64)
    x = clean.copy()
    for _ in range(steps + 1):
        if np.argmax(x @ kernel) != y:
            return x
        p = softmax(x @ kernel)
        p[y] -= 1.0
        gradient = kernel @ p
        if norm == "linf":
            x = clean + np.clip(x + size * np.sign(gradient) - clean, -radius, radius)
        else:
            delta = x + size * gradient / np.linalg.norm(gradient) - clean
            x = clean + delta * min(1.0, radius / np.linalg.norm(delta))
        x = np.clip(x, low, high)
    return clean


def momentum_on_softmax_regression(kernel, x, y, radius, steps, decay):
    """MI-FGSM in linf without a box: the first iterate that errs, or the record."""
    kernel, clean = np.asarray(kernel, np.float64), np.asarray(x, np.float64)
    x, memory = clean.copy(), np.zeros_like(clean)
    for _ in range(steps + 1):
        if np.argmax(x @ kernel) != y:
            return x
        p = softmax(x @ kernel)
        p[y] -= 1.0
        gradient = kernel @ p
        memory = decay * memory + gradient / np.abs(gradient).sum()
        x = np.clip(x + radius / steps * np.sign(memory), clean - radius, clean + radius)
    return clean


def distance_to_plane(weight, offset, x, norm):
    """How far each row of x is from {w x + b = 0}: |w x + b| over the dual norm of w."""
    dual = np.abs(weight).sum() if norm == "linf" else np.sqrt((np.asarray(weight, np.float64) ** 2).sum())
    return np.abs(np.asarray(x, np.float64) @ weight + offset) / dual


def table_faults(x, clean, fixed, step, offset, group, low, high, tolerance=1e-3):
    """What is wrong with records of a table, in words; nothing for ones that could exist."""
    faults = []
    for record, origin in zip(np.asarray(x, np.float64), np.asarray(clean, np.float64), strict=True):
        for d, value in enumerate(record):
            if not low[d] - tolerance <= value <= high[d] + tolerance:
                faults.append(f"feature {d} outside the box")
            if fixed[d] and value != origin[d]:
                faults.append(f"feature {d} is fixed")
            if step[d] and abs((value - offset[d]) / step[d] - round((value - offset[d]) / step[d])) > tolerance:
                faults.append(f"feature {d} off the grid: {value}")
        for number in set(group) - {-1}:
            on = [record[d] == high[d] for d in range(len(record)) if group[d] == number]
            off = [record[d] == low[d] for d in range(len(record)) if group[d] == number]
            if sum(on) != 1 or sum(off) != len(off) - 1:
                faults.append(f"group {number} is not one-hot: {record}")
    return faults
