"""Training, clipping and answers by loops over records, in float64."""

import jax
import numpy as np


def log_softmax(z):
    z = np.asarray(z, np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def signals(logits, y):
    """Every signal of `core/signals.py` by its definition, from logits [B, C] and labels [B]."""
    names = ("correct", "log_confidence", "margin", "score_gap", "entropy", "modified_entropy", "top_scores")
    found = {name: [] for name in names}
    for z, label in zip(np.asarray(logits, np.float64), y, strict=True):
        log_p = log_softmax(z)
        p = np.exp(log_p)
        others = [c for c in range(len(z)) if c != label]
        log_rest = [log_of_sum(log_p[[k for k in range(len(z)) if k != c]]) for c in range(len(z))]
        found["correct"].append(float(z.argmax() == label))
        found["log_confidence"].append(log_p[label])
        found["margin"].append(z[label] - log_of_sum(z[others]))
        found["score_gap"].append(z[label] - max(z[others]))
        found["entropy"].append(-sum(p * log_p))
        found["modified_entropy"].append(
            -np.exp(log_rest[label]) * log_p[label] - sum(p[c] * log_rest[c] for c in others)
        )
        found["top_scores"].append(np.sort(log_p)[::-1][:10])
    return {name: np.array(values) for name, values in found.items()}


def log_of_sum(logs):
    return logs.max() + np.log(np.exp(logs - logs.max()).sum())


def gradients(model, loss, params, batch):
    """Each record's gradient, one jax.grad a record, stacked in float64: every leaf has a leading [B]."""
    one = jax.jit(jax.grad(lambda params, x, y: loss(model.apply(params, x[None]), y[None])[0]))
    found = [one(params, x, y) for x, y in zip(batch.x, batch.y, strict=True)]
    return jax.tree.map(lambda *leaves: np.stack(leaves).astype(np.float64), *found)


def norms(stacked):
    """|g_i| [B] of stacked gradients."""
    return np.sqrt(sum((leaf.reshape(len(leaf), -1) ** 2).sum(axis=1) for leaf in jax.tree.leaves(stacked)))


def clipped_sum(stacked, weight, clip_norm):
    """sum_i w_i g_i min(1, C / |g_i|) of stacked gradients."""
    factors = [
        w * min(1.0, clip_norm / max(n, 1e-300)) for w, n in zip(np.asarray(weight), norms(stacked), strict=True)
    ]
    return jax.tree.map(lambda leaf: sum(f * g for f, g in zip(factors, leaf, strict=True)), stacked)


def softmax_regression(kernel, bias, batches, learning_rates, optimizer="sgd", momentum=0.0):
    """Parameters after one step for each (x [B, D], y [B]) of `batches`, in float64.

    `optimizer` is "sgd" (with `momentum`: v = momentum v + g, p -= lr v) or "adam" (Kingma & Ba 2015, beta .9 and .999,
    epsilon 1e-8).
    """
    parameters = [np.array(kernel, np.float64), np.array(bias, np.float64)]
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    for t, ((x, y), rate) in enumerate(zip(batches, learning_rates, strict=True), start=1):
        x = np.asarray(x, np.float64)
        error = np.exp(log_softmax(x @ parameters[0] + parameters[1]))
        error[np.arange(len(y)), y] -= 1
        for i, g in enumerate((x.T @ error / len(y), error.mean(axis=0))):
            if optimizer == "sgd":
                first[i] = momentum * first[i] + g
                parameters[i] -= rate * first[i]
            else:
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.999 * second[i] + 0.001 * g**2
                corrected = first[i] / (1 - 0.9**t), second[i] / (1 - 0.999**t)
                parameters[i] -= rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    return parameters
