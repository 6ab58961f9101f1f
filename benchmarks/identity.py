"""What a measurement depends on, as a short name: two that differ in any of it are never mixed up."""

import dataclasses
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent.parent / "nlptl"


def identity(options: Any, *, but: tuple[str, ...] = ()) -> str:
    """Hash of options, nlptl's source, the files that options name, device, precision and torch's version.

    Args:
        options: A dataclass; a checkpoint's folder counts by name and size of its files.
        but: Fields that change nothing.
    """
    import torch

    given = {k: v for k, v in dataclasses.asdict(options).items() if k not in but}
    files = [path for value in given.values() for path in _files(value)]
    found = sha256(json.dumps(given, sort_keys=True, default=str).encode())
    found.update(str([(path.name, path.stat().st_size) for path in files]).encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        found.update(path.read_bytes())
    device = torch.accelerator.current_accelerator() or "cpu"
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    found.update(f"{device} {precision} {torch.__version__}".encode())
    return found.hexdigest()[:12]


def _files(value: Any) -> list[Path]:
    if not isinstance(value, str | Path) or not str(value):
        return []
    path = Path(value)
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    return [path] if path.is_file() else []
