"""Statistics of scores: bootstrap, verdicts, spread."""
