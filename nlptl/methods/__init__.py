"""Methods beyond plain fine-tuning, a folder each; they import the core and never one another."""
