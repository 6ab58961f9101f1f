"""Modes: what trains, by one registered pure function for each mode."""
