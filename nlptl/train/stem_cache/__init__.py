"""Frozen blocks computed once: what is cached, where, and whether it pays."""
