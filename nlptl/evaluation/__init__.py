"""What a checkpoint is worth: upstream, and later downstream."""
