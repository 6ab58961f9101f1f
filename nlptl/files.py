"""Files that are never seen half-written."""

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file beside its place and move it there; text as UTF-8.

    Returns:
        The path.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return partial.replace(path)
