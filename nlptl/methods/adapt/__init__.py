"""Adaptation to another domain: labels of the source, texts of the target, each method between its bounds."""
