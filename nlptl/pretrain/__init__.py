"""Pretraining: objectives, corpora, building and growing models, teachers, and forgetting."""
