"""Comparison of a checkpoint's tensors with what its configuration says; only a head may differ."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from nlptl.errors import ModelError, listed


def refuse_lost(name: str, lost: Iterable[str]) -> None:
    """Refuse a checkpoint that lacks tensors of the backbone."""
    if lost := sorted(lost):
        raise ModelError(
            f"--model {name}: {len(lost)} tensors of the backbone are not in the checkpoint "
            f"({listed(lost, 3)}). The file is damaged, or of another architecture than its config."
        )


def refuse_other_shape(name: str, differ: Iterable[tuple[str, Any, Any]]) -> None:
    """Refuse a checkpoint whose backbone has tensors of another shape than its configuration says."""
    if differ := sorted(differ, key=lambda each: each[0]):
        shown = [
            f"{key}: {list(file)} in the file, {list(model)} by config.json"
            for key, file, model in differ
        ]
        raise ModelError(
            f"--model {name}: {len(differ)} tensors of the backbone have another shape than config.json says "
            f"({listed(shown, 3)}). Give the config.json that belongs to the weights."
        )


def left_blocks(model: Any, parts: Mapping[str, str], unexpected: Iterable[str]) -> list[str]:
    """Return a notice if the file holds blocks above the number that the configuration says."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."

    def form(key: str) -> str:
        return re.sub(r"\d+", "#", key.removeprefix(prefix))

    known = {form(key) for key, part in parts.items() if part.startswith("block")}
    left = sorted(key for key in unexpected if form(key) in known)
    if not left:
        return []
    return [
        f"The checkpoint holds more blocks than its config.json says: {len(left)} tensors are left out "
        f"({listed(left, 3)})."
    ]
