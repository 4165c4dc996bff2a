"""What an experiment would train and attack, and what that takes, told before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp

from privsec.core import axis
from privsec.core.recipe import Model
from privsec.nets.base import model_of, parameter_count
from privsec.runner.plan import Plan
from privsec.runner.store import kept_models
from privsec.training import many

TRAINING_PASSES = 3
"""A gradient step costs about three forward passes (one forward, two backward)."""


def forecast(plan: Plan, out: Path) -> Iterator[str]:
    """Lines for a person: banks, cells and arithmetic. Reads the data set's shape; trains and attacks nothing."""
    experiment = plan.experiment
    dataset = experiment.data.load()
    model = model_of(experiment.net, dataset.shape, dataset.num_classes)
    models, size = experiment.population.models, experiment.population.size
    yield f"{experiment.title}"
    shape, classes = list(dataset.shape), dataset.num_classes
    yield f"data      {experiment.data.title}: {dataset.size} records of shape {shape}, {classes} classes"
    yield f"split     {2 * size} candidates ({size} train each model), {dataset.size - 2 * size} public"
    yield f"net       {experiment.net.name}: {parameter_count(model):,} parameters"  # type: ignore[attr-defined]
    yield ""
    work = 0.0
    flops = flops_per_record(model)
    for bank in plan.banks:
        finished = min(kept_models(out, bank), models)
        claim = f", epsilon {bank.claim.epsilon:.2f} at delta {bank.claim.delta:g}" if bank.claim else ""
        yield (
            f"train     seed {bank.seed}: {models} models, {bank.title}{claim}; {bank.recipe.steps} steps of "
            f"{bank.recipe.batch_size}" + (f" ({finished} models are there already)" if finished else "")
        )
        work += (models - finished) * bank.recipe.steps * bank.recipe.batch_size * flops * TRAINING_PASSES
    runnable = [cell for cell in plan.cells if not cell.reason]
    yield ""
    yield f"cells     {len(runnable)} to compute, {len(plan.cells) - len(runnable)} not applicable"
    for defense, title, reason in dict.fromkeys((c.defense, c.title, c.reason) for c in plan.cells if c.reason):
        yield f"          {defense} x {title}: {reason}"
    yield f"cost      about {work / 1e12:.2g} TFLOP of training"
    yield f"placement {_placed(many.placement_of(experiment.training.placement))}"


def _placed(placement: many.Placement) -> str:
    backend, devices = jax.default_backend(), jax.local_device_count()
    return {
        "threads": f"threads: {axis.workers()} models at a time, one a core of the {backend}",
        "devices": f"devices: one share of the models on each of {devices} {backend} devices",
        "vmap": f"vmap: at most {many.VMAP_CHUNK} models in one program on the {backend}",
    }[placement]


def flops_per_record(model: Model) -> float:
    """Floating-point operations of one forward pass for one record, as XLA counts them; nothing is compiled."""
    params = jax.eval_shape(model.init, jax.random.key(0))
    batch = jax.ShapeDtypeStruct((64, *model.shape), jnp.float32)
    analysis = jax.jit(model.apply).lower(params, batch).cost_analysis() or {}
    return float(analysis.get("flops", 0.0)) / 64
