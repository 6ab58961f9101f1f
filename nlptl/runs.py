"""A run's directory: claimed before any slow work, written at the end, read back and compared."""

import dataclasses
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nlptl.config import load_yaml, to_yaml
from nlptl.errors import ConfigError, RunError, UserError, listed
from nlptl.files import write_json
from nlptl.finetuning import FineTuned
from nlptl.metrics.spread import has_failed, spread
from nlptl.model_card import model_card
from nlptl.models.loading import quiet_transformers, save_pretrained
from nlptl.models.lora import is_lora, merged
from nlptl.terminal import say
from nlptl.versions import versions

#: Any of these in an output directory means that a run was there.
TRACES = (
    *("result.json", "config.yaml", "model", "checkpoints"),
    *("compare.json", "upstream_curve.json"),
)
#: May differ between a run and its resumption.
FREE = {"resume", "report", "curve", "upstream_text"}
#: Learning rates kept in the record; of longer runs, evenly chosen ones.
TRACE_POINTS = 2000
#: Logits after reloading may differ by this much, and by this much after merging LoRA.
RELOADED, MERGED = 1e-6, 1e-4


def check_directory(config: Any) -> None:
    """Make sure that ``config.output_dir`` is free, or that ``--resume`` is given.

    Raises:
        ConfigError: If another run is there.
    """
    directory: Path = config.output_dir
    check_parents(directory)
    found = [name for name in TRACES if (directory / name).exists()]
    if found and not config.resume:
        raise ConfigError(
            f"--output-dir {directory} holds another run ({listed(found)}), which would be written "
            "over. Choose another directory, delete that one, or go on from it with --resume."
        )


def check_parents(directory: Path) -> None:
    """Make sure that a directory is there or can be made: no part of its path is a file.

    Raises:
        ConfigError: Naming the file.
    """
    nearest = next(path for path in (directory, *directory.parents) if os.path.exists(path))
    if not nearest.is_dir():
        raise ConfigError(
            f"--output-dir {directory}: {nearest} is a file; expected a directory, or a new name."
        )


def claim_directory(config: Any) -> None:
    """Make ``config.output_dir`` and write ``config.yaml`` there.

    Raises:
        ConfigError: If ``--resume`` finds a run that began with other flags, or nothing can be written there.
    """
    saved = config.output_dir / "config.yaml"
    if saved.exists():
        check_unchanged(config)
        return
    try:
        config.output_dir.mkdir(parents=True, exist_ok=True)
        saved.write_text(to_yaml(config), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--output-dir {config.output_dir}: cannot be written to ({error.strerror}). Choose another "
            "directory."
        ) from error


def check_unchanged(config: Any, free: Collection[str] = FREE) -> None:
    """Make sure that the run in ``config.output_dir`` began with the same flags.

    Args:
        config: What is asked for now.
        free: Flags that may differ.

    Raises:
        ConfigError: Naming those that do, or if the run there is of another recipe.
    """
    saved = config.output_dir / "config.yaml"
    try:
        before = type(config)(**load_yaml(type(config), saved))
    except UserError as error:
        raise ConfigError(
            f"--output-dir {config.output_dir} holds a run of another recipe or version, which would be "
            "written over. Choose another directory, or delete that one."
        ) from error
    changed = [
        f"--{name.replace('_', '-')} was {getattr(before, name)}, is {value}"
        for name, value in vars(config).items()
        if name not in free and getattr(before, name) != value
    ]
    if changed:
        raise ConfigError(
            f"--output-dir {config.output_dir} holds a run that began with other flags: {'; '.join(changed)}. "
            f"Give the same flags (or --config {saved}) to go on with it, or choose another --output-dir."
        )


def seed_directories(config: Any) -> Iterator[tuple[int, Path]]:
    """Yield each seed with its directory: the first run is the directory itself.

    Further seeds go to ``seeds/<seed>/`` below it, each a whole run of its own. Seeds whose
    ``result.json`` is there already are passed over, so ``--resume`` does not repeat them.
    """
    for number in range(config.seeds):
        seed = config.seed + number
        directory = config.output_dir if not number else config.output_dir / "seeds" / str(seed)
        if (directory / "result.json").exists():
            say(f"{directory} is finished, nothing is left to do there.")
        else:
            yield seed, directory


def save_run(
    run: FineTuned, directory: Path, *, extra: Mapping[str, Any], accelerator: Any
) -> None:
    """Write everything but ``checkpoints/``, then read ``model/`` back and compare logits.

    Predictions and the result are written first: whatever fails later, the run's figures are safe.

    Args:
        run: From :func:`nlptl.finetuning.finetune`.
        directory: The run's directory.
        extra: More for ``result.json``: where the data came from, which flags were defaults.
        accelerator: Only the main process writes.

    Raises:
        RunError: If the saved model does not give the trained model's logits.
    """
    if accelerator.is_main_process:
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "predictions.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in run.predictions)
        record = {**result_record(run), **extra, "reload_difference": None}
        write_json(directory / "result.json", record)
        record["reload_difference"] = _save_model(run, directory)
        write_json(directory / "result.json", record)
        (directory / "README.md").write_text(model_card(record), encoding="utf-8")
    accelerator.wait_for_everyone()


def result_record(run: FineTuned) -> dict[str, Any]:
    """What ``result.json`` holds of one fine-tuning."""
    settings = dataclasses.asdict(run.settings)
    mode = settings.pop("mode")
    best = run.history[run.best] if run.history else {}
    thin = range(0, len(run.trace), max(1, -(-len(run.trace) // TRACE_POINTS)))
    return {
        "task": run.task.name,
        "task_settings": dataclasses.asdict(run.task),  # type: ignore[call-overload]
        "model": run.settings.model,
        "mode": run.settings.mode.name,
        "metrics": run.metrics,
        "n": run.n,
        "seed": run.settings.seed,
        "labels": list(run.task.head.get("id2label", {}).values()),
        "parameters": {
            "total": run.manifest.total,
            "trainable": run.manifest.trainable,
            "by_part": run.manifest.parts,
            "new": sorted(run.new),
        },
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
        "learning_rates": [[i + 1, run.trace[i]] for i in thin],
        "versions": versions(),
    }


def _save_model(run: FineTuned, directory: Path) -> float:
    model = run.model.to("cpu")
    before = _logits(model, run)
    with quiet_transformers():
        if is_lora(model):
            model.save_pretrained(directory / "adapter")
            model = merged(model).eval()
            _compare(before, _logits(model, run), MERGED, "Merging LoRA into the weights")
            before = _logits(model, run)
        save_pretrained(model, run.tokenizer, directory / "model")
        again = run.task.auto_class.from_pretrained(directory / "model", dtype=torch.float32).eval()
    return _compare(before, _logits(again, run), RELOADED, f"Reloading {directory / 'model'}")


@torch.no_grad()
def _logits(model: Any, run: FineTuned) -> Mapping[str, torch.Tensor]:
    return run.task.outputs(model, run.sample.inputs)


def _compare(before: Mapping, after: Mapping, tolerance: float, what: str) -> float:
    worst = max(float((before[name] - after[name]).abs().max()) for name in before)
    if not worst <= tolerance:
        raise RunError(
            f"{what} changed the logits by {worst:.2e}; at most {tolerance:.0e} is allowed. The saved "
            "model is not the one that was trained and scored; please report this."
        )
    return worst


def scores(run: FineTuned, directory: Path) -> str:
    """One paragraph for the terminal: what came out, and where it lies."""
    metrics = []
    for name, value in run.metrics.items():
        if not name.endswith("_se"):
            error = run.metrics.get(f"{name}_se")
            metrics.append(f"{name} {value:.4f}" + (f" ± {error:.4f}" if error is not None else ""))
    return (
        f"test ({run.n['test']} examples): {', '.join(metrics)}; trained in "
        f"{run.timing['train_seconds']:.0f} s.\n{directory}: model/, result.json, predictions.jsonl, "
        "config.yaml, README.md; model/ was read back and gives the same logits."
    )


def summarize_seeds(config: Any) -> dict[str, Any] | None:
    """Gather the results of ``--seeds N`` into the first run's ``result.json``.

    A run failed if its score is at most a point above the share of the largest class among the
    test labels (collapsed fine-tunings: Mosbach et al., 2021).

    Returns:
        Per metric mean, standard deviation, median, minimum, maximum and all scores; None for one
        seed.
    """
    if config.seeds == 1:
        return None
    directories = [config.output_dir] + [
        config.output_dir / "seeds" / str(config.seed + i) for i in range(1, config.seeds)
    ]
    records = [json.loads((d / "result.json").read_text("utf-8")) for d in directories]
    selection = records[0]["selection"]["metric"]
    floor = majority_share(config.output_dir / "predictions.jsonl")
    failed = [
        r["seed"]
        for r in records
        if floor is not None and has_failed(r["metrics"][selection], floor)
    ]
    names = [n for n in records[0]["metrics"] if not n.endswith("_se")]
    summary = {
        "seeds": [r["seed"] for r in records],
        "failed": failed,
        "majority": floor,
        "metrics": {n: _spread([r["metrics"][n] for r in records]) for n in names},
    }
    write_json(config.output_dir / "result.json", {**records[0], "seeds": summary})
    return summary


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {**spread(values), "scores": list(values)}


def majority_share(predictions: Path) -> float | None:
    """Share of the most frequent gold label among a run's predictions; None without labels."""
    gold = [json.loads(line)["gold"] for line in predictions.open(encoding="utf-8")]
    if not gold or not all(isinstance(label, str) for label in gold):
        return None
    return max(gold.count(label) for label in set(gold)) / len(gold)


def save_pretrained_run(model: Any, tokenizer: Any, directory: Path, accelerator: Any) -> None:
    """Write ``model/`` of a pretraining run, and for LoRA ``adapter/`` before the two are merged."""
    if accelerator.is_main_process:
        if is_lora(model):
            model.save_pretrained(directory / "adapter")
        save_pretrained(merged(model), tokenizer, directory / "model")
    accelerator.wait_for_everyone()
