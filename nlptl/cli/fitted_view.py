"""What a finished run shows of itself: a few lines of text, and a view for notebooks."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any


def as_text(record: Mapping[str, Any], directory: Path | None) -> str:
    """Sum up a run in a few lines.

    Args:
        record: Its ``result.json``.
        directory: Its directory; None for one that goes with the object.
    """
    where = f"saved in {directory}" if directory else "not saved yet: .save(directory) keeps it"
    lines = [
        f"{record['task']}: {record['model']}, mode {record['mode']}, seed {record['seed']}",
        f"{score_line(record)} on {record['n']['test']:,} test examples",
        *floor_lines(record),
        where,
    ]
    return "\n".join(lines)


def score_line(record: Mapping[str, Any]) -> str:
    """Return the selection metric with its standard error."""
    name, metrics = record["selection"]["metric"], record["metrics"]
    error = metrics.get(f"{name}_se")
    return f"{name} {metrics[name]:.3f}" + (f" ± {error:.3f}" if error is not None else "")


def floor_lines(record: Mapping[str, Any]) -> list[str]:
    """Say what the cheap ways reach, and which class is the weakest, as far as the record has it."""
    name, lines = record["selection"]["metric"], []
    words = {"bag_of_words": "bag of words", "majority": "always one answer"}
    floors = [
        f"{words.get(way, way)} {values[name]:.3f}"
        for way, values in (record.get("floors") or {}).items()
        if values and name in values
    ]
    if floors:
        lines.append(f"for comparison: {', '.join(floors)}")
    if weak := record.get("weakest"):
        taken = f", taken for {weak['taken_for']}" if weak.get("taken_for") else ""
        lines.append(f"weakest: {weak['label']} (recall {weak['recall']:.2f}{taken})")
    return lines


def as_html(record: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> str:
    """Show a run in a notebook.

    Args:
        record: Its ``result.json``.
        predictions: Its test predictions.
    """
    lines = [score_line(record), *floor_lines(record)]
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
