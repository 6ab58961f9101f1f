"""What is seen: sources, column checks, splits, token ids, batches."""
