"""Training: losses, the loop, the learner, hooks and checkpoints."""
