"""Tables and pictures of studies."""
