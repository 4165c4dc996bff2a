"""Decision-based evasion, one point at a time, in plain NumPy; and the distances that linear classifiers allow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Successful = Callable[[np.ndarray], bool]


def linear_distances(weights: np.ndarray, bias: np.ndarray, x: np.ndarray, norm: str) -> np.ndarray:
    """Distance [N, C] from each record to where class c overtakes the predicted one (infinite for that itself)."""
    z = x @ weights + bias
    distances = np.full(z.shape, np.inf)
    for n in range(len(x)):
        own = int(z[n].argmax())
        for c in range(z.shape[1]):
            if c != own:
                normal = weights[:, own] - weights[:, c]
                distances[n, c] = (z[n, own] - z[n, c]) / np.linalg.norm(normal, 2 if norm == "l2" else 1)
    return distances


def size(delta: np.ndarray, norm: str) -> float:
    return float(np.linalg.norm(delta.ravel(), np.inf if norm == "linf" else 2))


def bisect(success: Successful, x: np.ndarray, far: np.ndarray, norm: str, halvings: int) -> np.ndarray:
    """The successful end of the bracket between a clean and a successful record."""
    reach = size(far - x, norm)
    outer, inner = 1.0, 0.0

    def at(share: float) -> np.ndarray:
        return x + share * (far - x) if norm == "l2" else np.clip(far, x - share * reach, x + share * reach)

    for _ in range(halvings):
        middle = (outer + inner) / 2
        outer, inner = (middle, inner) if success(at(middle)) else (outer, middle)
    return at(outer)


def hop_skip_jump(
    success: Successful, x: np.ndarray, far: np.ndarray, norm: str, rounds: int, rng: np.random.Generator
) -> np.ndarray:
    """Chen et al. 2020, algorithm 2, in the box [0, 1] with B_1 = 100: the nearest success of so many rounds."""
    features = x.size
    halvings = int(np.ceil((1.5 if norm == "l2" else 2) * np.log2(features)))
    at = best = bisect(success, x, far, norm, halvings)
    for t in range(1, rounds + 1):
        distance = size(at - x, norm)
        width = 0.1 if t == 1 else distance / features
        terms = []
        for _ in range(int(100 * np.sqrt(t))):
            u = rng.normal(size=features) if norm == "l2" else rng.uniform(-1, 1, size=features)
            candidate = np.clip(at + width * u / np.linalg.norm(u), 0, 1)
            terms.append((1.0 if success(candidate) else -1.0, (candidate - at) / width))
        mean = np.mean([phi for phi, _ in terms])
        base = 0.0 if abs(mean) == 1 else mean
        gradient = np.sum([(phi - base) * u for phi, u in terms], axis=0)
        toward = np.sign(gradient) if norm == "linf" else gradient / np.linalg.norm(gradient)
        step = distance / np.sqrt(t)
        while not success(np.clip(at + step * toward, 0, 1)):
            step /= 2
            if step < 1e-4 * distance:
                step = 0.0
                break
        at = bisect(success, x, np.clip(at + step * toward, 0, 1), norm, halvings)
        best = at if size(at - x, norm) < size(best - x, norm) else best
    return best
