"""The record of a run: what ``result.json`` holds, with the versions that it was made with."""

import dataclasses
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nlptl.models.adapters import unwrap_peft
from nlptl.models.pooling import PooledClassifier
from nlptl.runs.errors import calibration
from nlptl.tasks import source_of
from nlptl.train.run import Run

#: Most learning rates in the record; of longer runs, evenly spaced ones are kept.
TRACE_POINTS = 2000


def result_record(run: Run) -> dict[str, Any]:
    """Return the content of a run's ``result.json``; parts that the run does not have are left out."""
    record = {
        "task": run.task.name,
        "task_version": run.task.version,
        "task_source": source_of(type(run.task)),
        "task_settings": dataclasses.asdict(run.task),
        "loss": run.identity,
        "head": run.head,
        "temperature": run.temperature,
        "metrics": run.metrics,
        **worth(run),
        "n": run.num_examples,
        "timing": run.timing,
        "cache": run.cache,
        "training_flops": run.flops,
        "peak_memory_mb": run.peak_memory,
        "padding_share": round(run.padding, 4),
        "settings": run.settings,
        "seed": run.settings["seed"],
        "truncated": run.truncated,
        "notes": run.notes,
        "history": run.history,
        "learning_rates": learning_rates(run.lr_history),
        "versions": versions(),
    }
    pooled = isinstance(unwrap_peft(run.model), PooledClassifier)
    record["opened_by"] = "sentence-transformers" if pooled else "transformers"
    if run.copies:
        record["augmentation"] = run.copies
    if run.searches:
        record["learning_rate_searches"] = run.searches
    if run.manifest is not None:
        record["parameters"] = parameters(run.manifest, run.newly_initialized)
    if run.args is not None:
        mode = run.args.mode
        record |= {"model": run.args.model, "mode": mode.name, "mode_settings": mode.settings}
        if mode.is_adapter:
            record["adapter"] = {"merged": mode.merges}
        record["labels"] = list(run.task.head.get("id2label", {}).values())
    if run.best is not None:
        record["selection"] = selection(run)
    return record


def worth(run: Run) -> dict[str, Any]:
    """Say what the scores are worth: beside the cheapest ways, by class, and as far as the model says it."""
    if run.predictions is None:
        return {}
    return {
        "fields": list(run.task.fields),
        "floors": run.floors,
        "per_class": run.per_class,
        "weakest": run.weakest,
        "calibration": calibration(run.predictions),
    }


def selection(run: Run) -> dict[str, Any]:
    """Say which epoch was kept, and by what."""
    best = run.history[run.best or 0] if run.history else {}
    metric = run.task.selection
    return {
        "split": "validation",
        "metric": metric,
        "best_epoch": best.get("epoch"),
        "best_line": run.best,
        "score": best.get(f"validation_{metric}"),
    }


def parameters(manifest: Any, new: Iterable[str]) -> dict[str, Any]:
    """Count the parameters that trained, and list those that no checkpoint had.

    Args:
        manifest: A :class:`nlptl.modes.base.Manifest`.
        new: Names of the parameters that no checkpoint had.
    """
    return {
        "total": manifest.total,
        "trainable": manifest.trainable,
        "by_part": manifest.parts,
        "new": sorted(new),
    }


def learning_rates(lr_history: Sequence[float]) -> list[list[float]]:
    """List number and learning rate of each step; of a long run, of evenly spaced steps."""
    thin = range(0, len(lr_history), max(1, -(-len(lr_history) // TRACE_POINTS)))
    return [[i + 1, lr_history[i]] for i in thin]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    names = ("nlptl", "torch", "transformers", "datasets", "peft", "accelerate", "evaluate")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "unknown"
    return found
