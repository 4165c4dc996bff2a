"""Defenses that stand round a trained model: input filters, detectors, smoothing, pruning."""
