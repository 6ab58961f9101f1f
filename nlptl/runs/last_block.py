"""The last lines of a run: its scores, what they are worth, where everything lies, and what to type next."""

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptl.data.text import plain
from nlptl.metrics.by_class import weakness
from nlptl.train.epoch_table import clock
from nlptl.train.run import Run

#: Files that a run's directory may hold besides model/, in the order in which they are named.
FILES = (
    "adapter",
    "errors.html",
    "predictions.jsonl",
    "log.jsonl",
    "result.json",
    "config.yaml",
    "README.md",
)


def last_rows(run: Run, directory: Path) -> list[tuple[str, str]]:
    """Return the rows of the last lines, each a name and a text (:func:`nlptl.train.terminal.block`).

    Args:
        run: Finished run.
        directory: Its directory.
    """
    tested = "test" if "test" in run.num_examples else "held_out"
    chosen = getattr(run.task, "selection", None)
    first = chosen if chosen in run.metrics else next(iter(run.metrics))
    names = [name for name in run.metrics if name != first and not name.endswith("_se")]
    count = f"{run.num_examples[tested]:,} examples"
    others = ", ".join(metric(run.metrics, name) for name in names)
    rows = [
        (tested.replace("_", " "), f"{metric(run.metrics, first)} on {count}"),
        ("", others),
        ("floors", floors_line(run.floors, first, run.metrics[first])),
        ("weakest", weakest_line(run.weakest)),
        ("time", f"trained in {clock(run.timing['train_seconds'])}"),
        ("saved", f"{directory}: {', '.join(['model/', *files_of(directory)])}"),
        ("", f"model/ was read back and gives the same {run.compared}"),
    ]
    commands = next_commands(run, directory)
    rows += [("" if number else "next", line) for number, line in enumerate(commands)]
    return [(name, text) for name, text in rows if text]


def metric(metrics: Mapping[str, float], name: str) -> str:
    """Write a metric with its standard error, where that is known.

    Example:
        >>> metric({"accuracy": 0.6344, "accuracy_se": 0.027}, "accuracy")
        'accuracy 0.634 ± 0.027'
    """
    value, error = metrics[name], metrics.get(f"{name}_se")
    digits = 3 if abs(value) < 10 else 1
    known = error is not None and math.isfinite(error)
    return f"{name} {value:.{digits}f}" + (f" ± {error:.{digits}f}" if known else "")


def floors_line(floors: Mapping[str, Mapping[str, Any]], name: str, score: float) -> str:
    """Write what simple ways reach by the same metric; empty if nothing is known.

    Args:
        floors: Name of a way to its metrics, and its ``seconds`` (:func:`nlptl.train.floors.floors`).
        name: Name of the metric; higher is better.
        score: The run's own.

    Example:
        >>> floors_line({"majority": {"f1": 0.5}, "bag_of_words": {"f1": 0.7, "seconds": 0.42}}, "f1", 0.8)
        'majority 0.500, bag of words 0.700 (0.4 s)'
        >>> floors_line({"bag_of_words": {"f1": 0.7}}, "f1", 0.65)
        'bag of words 0.700: no lower than this model'
    """
    found, best = [], -math.inf
    for way, reached in floors.items():
        if name in reached:
            seconds = f" ({reached['seconds']:.1f} s)" if "seconds" in reached else ""
            found.append(
                f"{way.replace('_', ' ')} {metric(reached, name).removeprefix(name + ' ')}{seconds}"
            )
            best = max(best, reached[name])
    return ", ".join(found) + ": no lower than this model" * (best >= score)


def weakest_line(weakest: Mapping[str, Any] | None) -> str:
    """Write which class fares worst, and what it is taken for; empty if nothing is known.

    Args:
        weakest: From :func:`nlptl.metrics.by_class.weakest_class`.
    """
    if not weakest:
        return ""
    taken = weakest.get("taken_for")
    mistaken = f", the others mostly taken for {plain(taken)}" if taken is not None else ""
    share, words = weakness(weakest)
    return f"{plain(weakest['label'])}: {share:.0%} {words}{mistaken}"


def files_of(directory: Path) -> list[str]:
    """List the files of a run that are there."""
    there = [directory / name for name in FILES if (directory / name).exists()]
    return [f"{path.name}/" if path.is_dir() else path.name for path in there]


def next_commands(run: Run, directory: Path) -> list[str]:
    """List the commands that one types next, ready to be copied.

    Args:
        run: Finished run.
        directory: Its directory.
    """
    where = shlex.quote(str(directory))
    if run.predictions is None:  # a pretraining: what it made is to be fine-tuned
        recipe = "qa" if run.task.name == "recurring-spans" else "sentiment"
        home = shlex.quote(f"{directory}_{recipe}")
        return [f"nlptl run {recipe} --model {where}/model --output-dir {home}"]
    fields = run.task.fields
    known = {("text",): '--text "…"', ("question", "context"): '--question "…" --context "…"'}
    single = known.get(tuple(fields)) or f"--field {' '.join(f'{name}=…' for name in fields)}"
    found = [f"nlptl predict {where} {single}"]
    return [*found, f"nlptl report {where}"] if (directory / "config.yaml").exists() else found
