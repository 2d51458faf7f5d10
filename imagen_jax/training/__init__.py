"""Training: optimizers, EMA, the train state, checkpoints and metrics."""
