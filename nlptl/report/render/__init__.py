"""The report's page, texts and pictures."""
