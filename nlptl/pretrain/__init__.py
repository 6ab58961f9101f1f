"""Pretraining: objectives, corpora, building and growing models, teachers, and how much of it is kept."""
