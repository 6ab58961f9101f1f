"""The cache of frozen blocks: what is kept, where, and whether it pays."""
