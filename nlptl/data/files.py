"""Files that are never seen half-written."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file under another name and move it to its place; text as UTF-8.

    Returns:
        The path.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return partial.replace(path)


def write_json(path: Path, record: Mapping[str, Any]) -> Path:
    """Write indented JSON with :func:`write_whole`; a number that could not be computed (nan) becomes null.

    Returns:
        The path.
    """
    text = json.dumps(finite(record), indent=2, ensure_ascii=False, allow_nan=False)
    return write_whole(path, text + "\n")


def json_line(record: Mapping[str, Any]) -> str:
    """Return a line of a ``.jsonl`` file with its line end; nan, which could not be computed, becomes null."""
    return json.dumps(finite(record), ensure_ascii=False, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """Replace nan and infinite numbers by None, because JSON has none."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
