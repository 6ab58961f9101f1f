"""What ``result.json`` holds of a run: of a fine-tuning, and of a pretraining."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from nlptl.tasks import source_of
from nlptl.train.finetune import FineTuned
from nlptl.pretrain.pretrain import Pretrained
from nlptl.runs.versions import versions

#: Learning rates kept in the record; of longer runs, evenly chosen ones.
TRACE_POINTS = 2000


def result_record(run: FineTuned | Pretrained) -> dict[str, Any]:
    """What ``result.json`` holds of one run."""
    return upstream_record(run) if isinstance(run, Pretrained) else fine_tuned_record(run)


def fine_tuned_record(run: FineTuned) -> dict[str, Any]:
    """What ``result.json`` holds of one fine-tuning."""
    settings = dataclasses.asdict(run.settings)
    mode = settings.pop("mode")
    best = run.history[run.best] if run.history else {}
    return {
        "task": run.task.name,
        "task_version": run.task.version,
        "task_source": source_of(type(run.task)),
        "task_settings": dataclasses.asdict(run.task),
        "model": run.settings.model,
        "mode": run.settings.mode.name,
        "metrics": run.metrics,
        "n": run.n,
        "seed": run.settings.seed,
        "labels": list(run.task.head.get("id2label", {}).values()),
        "parameters": parameters(run.manifest, run.new),
        "selection": {
            "split": "validation",
            "metric": run.task.selection,
            "best_epoch": best.get("epoch"),
            "score": best.get(f"validation_{run.task.selection}"),
        },
        "timing": run.timing,
        "cache": run.cache,
        "training_flops": run.flops,
        "peak_memory_mb": run.peak_memory,
        "padding_share": round(run.padding, 4),
        "settings": {**settings, "lora": mode if mode["kind"] == "lora" else None},
        "texts_cut": run.cut,
        "notices": run.notices,
        "history": run.history,
        "learning_rates": learning_rates(run.lr_history),
        "versions": versions(),
    }


def upstream_record(run: Pretrained) -> dict[str, Any]:
    """What ``result.json`` holds of one pretraining; the recipe adds task, model, mode and parameters."""
    return {
        "task_settings": dataclasses.asdict(run.objective),  # type: ignore[call-overload]
        "metrics": run.metrics,
        "n": run.n,
        "timing": run.timing,
        "training_flops": run.flops,
        "peak_memory_mb": run.peak_memory,
        "padding_share": round(run.state.padding, 4),
        "settings": run.settings,
        "notices": [],
        "history": run.history,
        "learning_rates": learning_rates(run.state.lr_history),
        "versions": versions(),
    }


def parameters(manifest: Any, new: Iterable[str]) -> dict[str, Any]:
    """What trained, counted, and which parameters no checkpoint had.

    Args:
        manifest: A :class:`nlptl.modes.base.Manifest`.
        new: Their names.
    """
    return {
        "total": manifest.total,
        "trainable": manifest.trainable,
        "by_part": manifest.parts,
        "new": sorted(new),
    }


def learning_rates(lr_history: Sequence[float]) -> list[list[float]]:
    """Number and rate of each step; of a long run, of evenly chosen ones."""
    thin = range(0, len(lr_history), max(1, -(-len(lr_history) // TRACE_POINTS)))
    return [[i + 1, lr_history[i]] for i in thin]
