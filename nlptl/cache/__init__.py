"""Frozen blocks computed once: where their states are kept, whether that pays, and how they are used."""
