"""``errors.html``: what a run gets wrong, on one page that loads nothing and runs no script.

The page is made of ``result.json`` and ``predictions.jsonl`` alone. Every text on it is escaped.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.text import plain
from nlptl.errors import shortened
from nlptl.metrics.by_class import lowest, weakness
from nlptl.runs import errors

#: Most classes of the confusion matrix and of the table of classes, most mistakes, most points of a picture.
MATRIX, CLASSES, MISTAKES, POINTS = 20, 40, 20, 800
#: Most characters of a text and of a short value on the page.
TEXT, VALUE = 600, 80
#: Heading of the list of mistakes, by what they are measured by.
HEADINGS: dict[errors.Measure, str] = {
    "confidence": "The most confident mistakes",
    "error": "The largest errors",
    "wrong_words": "The sentences with the most wrong words",
}
#: Size of a picture, and the room for what stands at its left and below.
WIDTH, HEIGHT, LEFT, BELOW = 460, 260, 46, 30


def errors_page(
    record: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    *,
    whole: bool = True,
    marked: Mapping[Any, Sequence[Mapping[str, Any]]] | None = None,
) -> str:
    """Write the page.

    Args:
        record: The run's ``result.json``.
        predictions: The lines of its ``predictions.jsonl``.
        whole: Whether to write a whole page; else a part of one for a notebook, without single mistakes.
        marked: Words of some mistakes with their weights (:func:`nlptl.runs.explaining.explain`), by row.
    """
    return _template().render(
        whole=whole,
        task=record["task"],
        model=record.get("model"),
        mode=record.get("mode"),
        n=record["n"],
        seed=record["seed"],
        tiles=tiles(record),
        weakest=record.get("weakest"),
        weakness=weakness(record["weakest"]) if record.get("weakest") else None,
        per_class=lowest(record.get("per_class", ()), CLASSES),
        hidden_classes=max(0, len(record.get("per_class", ())) - CLASSES),
        matrix=matrix(predictions, [one["label"] for one in record.get("per_class", ())]),
        confusions=errors.frequent_confusions(predictions, 10),
        curves=learning_curves(record),
        calibration=_calibration(record),
        scatter=scatter(predictions),
        mistakes=mistakes(record, predictions, marked or {}) if whole else None,
        measure=errors.measured(predictions[0])[0] if predictions else "confidence",
        headings=HEADINGS,
        marked=bool(marked),
        wrong=sum(map(errors.is_wrong, predictions)),
    )


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    environment.filters["short"] = lambda value, most=VALUE: shortened(plain(value), most)
    environment.filters["number"] = lambda value: f"{value:.4g}"
    environment.filters["error"] = lambda value: f"{value:.2g}"
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    return environment.from_string(
        Path(__file__).with_name("errors_page.html").read_text(encoding="utf-8")
    )


def tiles(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the scores that stand beside each other: the run's, a bag of words', always one answer's."""
    metric = record.get("selection", {}).get("metric") or next(iter(record["metrics"]))
    floors = record.get("floors", {})
    bag = floors.get("bag_of_words")
    seconds = bag and bag.get("seconds")
    each = [
        (f"this run, test {metric}", record["metrics"], f"{record['n']['test']:,} examples"),
        ("a bag of words", bag, f"fitted in {seconds:.1f} s" if seconds is not None else ""),
        ("always one answer", floors.get("majority"), ""),
    ]
    return [
        {
            "title": title,
            "value": found[metric],
            "error": found.get(f"{metric}_se"),
            "note": note,
            "below": bool(number) and found[metric] > record["metrics"].get(metric, math.inf),
        }
        for number, (title, found, note) in enumerate(each)
        if found and metric in found
    ]


def matrix(
    predictions: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> dict[str, Any] | None:
    """Make the confusion matrix with a shade for each cell, by the share of its row.

    Returns:
        ``labels`` and ``rows``, each a label and its cells (count, shade in [0, 1], whether right); None with
        too many classes, or none that exclude each other.
    """
    if not 1 < len(labels) <= MATRIX:
        return None
    table = errors.confusion(predictions, labels)
    if not table.sum():
        return None
    shares = table / np.maximum(1, table.sum(axis=1, keepdims=True))
    rows = [
        {
            "label": label,
            "n": int(table[i].sum()),
            "cells": [
                {"count": int(table[i, j]), "shade": round(float(shares[i, j]), 3), "right": i == j}
                for j in range(len(labels))
            ],
        }
        for i, label in enumerate(labels)
    ]
    return {"labels": list(labels), "rows": rows}


def learning_curves(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Make the pictures of the epochs: the losses, and the metric that the epoch was chosen by."""
    history, chosen = record.get("history", []), record.get("selection", {})
    if len(history) < 2:
        return []
    epochs = [line["epoch"] for line in history]
    kept = chosen.get("best_line")
    metric = chosen.get("metric")
    groups = [("loss", ["train_loss", "validation_loss"])]
    groups += [(f"validation {metric}", [f"validation_{metric}"])] if metric else []
    made = []
    for title, names in groups:
        lines = {name.replace("_", " "): [line.get(name) for line in history] for name in names}
        picture = chart(epochs, lines, kept=epochs[kept] if kept is not None else None)
        if picture:
            made.append({"title": title, "x": "epochs", **picture})
    return made


def chart(
    x: Sequence[float], lines: Mapping[str, Sequence[float | None]], *, kept: float | None = None
) -> dict[str, Any] | None:
    """Compute where the lines of a picture run.

    Args:
        x: Places of the points.
        lines: Values of each line at these places; None where there is none.
        kept: Place to mark.

    Returns:
        Points in the picture's coordinates, ticks, and the place of the mark; None without two points.
    """
    points = {
        name: [
            (a, float(b)) for a, b in zip(x, values, strict=True) if b is not None and _is_number(b)
        ]
        for name, values in lines.items()
    }
    heights = [b for each in points.values() for _, b in each]
    if len(heights) < 2:
        return None
    low, high = min(heights), max(heights)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    across = _scale(min(x), max(x), LEFT, WIDTH - 10)
    up = _scale(low - room, high + room, HEIGHT - BELOW, 8)
    return {
        "lines": [
            {"name": name, "points": [(across(a), up(b)) for a, b in each]}
            for name, each in points.items()
            if each
        ],
        "x_ticks": [(across(a), f"{a:g}") for a in _few(sorted(set(x)), 8)],
        "y_ticks": [(up(b), f"{b:.3g}") for b in np.linspace(low, high, 4)],
        "kept": across(kept) if kept is not None else None,
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _scale(low: float, high: float, first: float, last: float) -> Any:
    width = (high - low) or 1.0
    return lambda value: round(first + (value - low) / width * (last - first), 1)


def _few(values: Sequence[float], most: int) -> Sequence[float]:
    return values[:: max(1, -(-len(values) // most))]


def _calibration(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Make the picture of confidence and right answers; each bin has an error of two standard errors."""
    found = record.get("calibration")
    if not found:
        return None
    across, up = _scale(0, 1, LEFT, WIDTH - 10), _scale(0, 1, HEIGHT - BELOW, 8)
    bars = []
    for one in found["bins"]:
        share, n = one["right"], one["n"]
        error = 2 * math.sqrt(max(share * (1 - share), 1 / (4 * n)) / n) if n > 1 else 1.0
        bars.append(
            {
                **one,
                "x": across(one["confidence"]),
                "y": up(share),
                "low": up(max(0.0, share - error)),
                "high": up(min(1.0, share + error)),
                "radius": round(3 + 5 * math.sqrt(n / found["n"]), 1),
            }
        )
    ticks = [(across(v), up(v), f"{v:g}") for v in (0, 0.25, 0.5, 0.75, 1)]
    temperature = record.get("temperature")
    return {**found, "bars": bars, "ticks": ticks, "temperature": temperature}


def scatter(predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Make the picture of predicted numbers over gold numbers; None for other predictions."""
    pairs = [(r["gold"], r["prediction"]) for r in predictions]
    pairs = [(a, b) for a, b in pairs if _is_number(a) and _is_number(b)]
    if len(pairs) < 2:
        return None
    low, high = min(map(min, pairs)), max(map(max, pairs))
    across, up = _scale(low, high, LEFT, WIDTH - 10), _scale(low, high, HEIGHT - BELOW, 8)
    step = max(1, -(-len(pairs) // POINTS))
    return {
        "points": [(across(a), up(b)) for a, b in pairs[::step]],
        "shown": len(pairs[::step]),
        "n": len(pairs),
        "x_ticks": [(across(v), f"{v:.3g}") for v in np.linspace(low, high, 5)],
        "y_ticks": [(up(v), f"{v:.3g}") for v in np.linspace(low, high, 5)],
        "ends": (across(low), up(low), across(high), up(high)),
    }


def mistakes(
    record: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    marked: Mapping[Any, Sequence[Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """List the mistakes as they stand on the page: row, id, texts, gold, prediction, and their size.

    A text is a list of parts, each with its ``shade`` in [-1, 1]: how much it speaks for what was predicted.
    """
    fields = record.get("fields", ["text"])
    return [
        {
            "row": one.get("row"),
            "id": one.get("id"),
            "texts": [
                (name, _parts(one[name], name, marked.get(one.get("row"), ())))
                for name in fields
                if name in one
            ],
            **_both(one),
            "size": _size(*errors.measured(one)),
        }
        for one in errors.worst(predictions, MISTAKES)
    ]


def _size(measure: errors.Measure, value: float | None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f} %" if measure == "confidence" else f"{value:.4g}"


def _both(record: Mapping[str, Any]) -> dict[str, str]:
    """Write the gold value and the prediction; of tags those alone that differ, with their words."""
    gold, guess = record["gold"], record["prediction"]
    words = record.get("tokens")
    if isinstance(words, list) and isinstance(gold, list) and isinstance(guess, list):
        differ = [(w, g, p) for w, g, p in zip(words, gold, guess, strict=False) if g != p]
        gold = [f"{word}: {true}" for word, true, _ in differ]
        guess = [f"{word}: {said}" for word, _, said in differ]
    return {"gold": _value(gold), "prediction": _value(guess)}


def _value(value: Any) -> str:
    if isinstance(value, list):
        return shortened(", ".join(map(str, value)), 4 * VALUE) or "nothing"
    if isinstance(value, float):
        return f"{value:.4g}"
    return shortened(str(value), 4 * VALUE) or "nothing"


def _parts(
    value: Any, field: str, words: Sequence[Mapping[str, Any]]
) -> list[tuple[str, float, str]]:
    """Cut a text into parts: each its text, its shade and its weight in words, both empty between words.

    Args:
        value: The text.
        field: Its field.
        words: Words of all fields of the example, with ``start``, ``end`` and ``weight``; those without a
            place are not shown.
    """
    own = [word for word in words if "start" in word and word.get("field", field) == field]
    if not own or not isinstance(value, str):
        return [(_text(value), 0.0, "")]
    most = max(abs(word["weight"]) for word in words) or 1.0
    parts, done = [], 0
    for word in own:
        if word["end"] > TEXT:
            break
        parts.append((_spaced(value[done : word["start"]]), 0.0, ""))
        weight, text = word["weight"], _spaced(value[word["start"] : word["end"]])
        parts.append((text, weight / most, f"{weight:+.2g}"))
        done = word["end"]
    rest = value[done:]
    cut = f"{rest[: max(0, TEXT - done)].rstrip()}…" if len(value) > TEXT else rest
    return [*parts, (_spaced(cut), 0.0, "")]


def _spaced(text: str) -> Any:
    """Escape a part of a text for the page, with the white space around it."""
    from markupsafe import escape

    ends = " " * text[:1].isspace(), " " * text[-1:].isspace()
    return escape(f"{ends[0]}{plain(text)}{ends[1]}" if text.strip() else " " * bool(text))


def _text(value: Any) -> str:
    text = (
        " ".join(map(str, value))
        if isinstance(value, Iterable) and not isinstance(value, str)
        else str(value)
    )
    return shortened(plain(text), TEXT)
