"""Finished runs: their directory, record and card, and predictions with them."""
