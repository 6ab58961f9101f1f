"""The transfer report's forms: terminal, Markdown, page and pictures, all from one record."""
