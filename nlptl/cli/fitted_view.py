"""What a finished run says of itself, in a few lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: What the cheap ways are called, by their names in the record.
FLOORS = {"majority": "always one answer", "bag_of_words": "bag of words"}


def as_text(record: Mapping[str, Any], directory: Path | None) -> str:
    """Sum up a run in a few lines: what it is, its score, what that is worth, where it lies.

    Args:
        record: Its ``result.json``.
        directory: Its directory; None for one that goes with the object.
    """
    name, metrics = record["selection"]["metric"], record["metrics"]
    error = metrics.get(f"{name}_se")
    score = f"{name} {metrics[name]:.3f}" + (f" ± {error:.3f}" if error is not None else "")
    where = f"saved in {directory}" if directory else "not saved: run.save(directory) keeps it"
    lines = [
        f"{record['task']}: {record['model']}, mode {record['mode']}, seed {record['seed']}",
        f"{score} on {record['n']['test']:,} test examples",
        _floors(record.get("floors") or {}, name),
        _weakest(record.get("weakest")),
        where,
    ]
    return "\n".join(line for line in lines if line)


def _floors(floors: Mapping[str, Mapping[str, Any]], name: str) -> str:
    found = [
        f"{words} {floors[way][name]:.3f}"
        for way, words in FLOORS.items()
        if name in floors.get(way, {})
    ]
    return f"for comparison: {', '.join(found)}" if found else ""


def _weakest(weakest: Mapping[str, Any] | None) -> str:
    if not weakest:
        return ""
    taken = weakest.get("taken_for")
    mistaken = f", most often taken for {taken}" if taken is not None else ""
    return f"weakest: {weakest['label']} (recall {weakest['recall']:.2f}{mistaken})"
