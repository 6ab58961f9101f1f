"""Self-taught learning: features from texts without labels, then a classifier on few labels."""
