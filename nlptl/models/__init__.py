"""Checkpoints, layer maps, heads, LoRA, and new models for pretraining."""
