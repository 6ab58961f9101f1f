"""Data: sources, column checks, splits, token ids, batches."""
