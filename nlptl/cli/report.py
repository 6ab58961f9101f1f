"""The transfer report of a run's directory: during the recipe, or afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nlptl.cli.check import (
    Prepared,
    check_reading,
    check_training,
    drawn_by_split_seed,
    launch,
    upstream_texts,
)
from nlptl.cli.config import ClassifyConfig, TaskConfig, load_yaml, read_yaml, with_options
from nlptl.cli.doctor import own_version
from nlptl.cli.precision import use_precision_of
from nlptl.cli.values import declared_types
from nlptl.data.encoding import splits_hash
from nlptl.data.files import read_lines, read_object, read_result
from nlptl.data.frames import DATA
from nlptl.data.sources import load_splits
from nlptl.data.text import plain
from nlptl.errors import ConfigError, ModelError, listed, many
from nlptl.models.loading import load_config, open_saved
from nlptl.modes.base import parse_mode
from nlptl.report.report import SEEDS, Finished, Tier, TransferReport, score_transfer
from nlptl.runs.locking import locked
from nlptl.runs.predictor import check_there
from nlptl.study.outcomes import Outcome, scored, validation_scores
from nlptl.tasks import recorded_task
from nlptl.tasks.base import Task
from nlptl.train.header import machine_row
from nlptl.train.stopping import going_on, study_kept
from nlptl.train.terminal import Block, is_main_process, say


def report_run(
    ready: Prepared, directory: Path, tier: Tier, *, notes: Sequence[str] = ()
) -> TransferReport:
    """Report on a finished run, and write the report into its directory.

    Args:
        ready: Task, data and settings of the run; ``config`` says whether to draw curves, and on which text
            to measure forgetting.
        directory: Directory of the run.
        tier: Number of seeds: ``quick``, ``standard`` or ``full``.
        notes: Further warnings.
    """
    config = ready.config
    seeds = [config.seed + i for i in range(config.seeds)]
    known, lost, data = [], list(notes), ready.record["data"]["sha256"]
    for number, seed in enumerate(seeds):
        home = directory if not number else directory / "seeds" / str(seed)
        try:
            known.append(outcome_of_run(ready.task, home, data=data))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            lost.append(f"{home}: {error}; seed {seed} is trained again for the report.")
    lost += launched_otherwise(directory)
    adapted = None
    try:
        adapted = trained_model(ready.task, directory / "model")
    except (OSError, ModelError) as error:
        lost.append(
            f"{directory / 'model'} cannot be opened ({str(error).splitlines()[0]}), so forgetting and shift "
            + (
                "are left out."
                if any(outcome.seed == config.seed for outcome in known)
                else "are those of the run that is made again."
            )
        )
    for note in lost:
        say(f"note: {note}")
    adapter = directory / "adapter"
    report = score_transfer(
        ready.task,
        ready.splits,
        ready.args(config.seed),
        tier=tier,
        curve=config.curve,
        finished=Finished(
            outcomes=known,
            model=adapted,
            adapter=adapter if adapter.is_dir() else None,
            directory=str(directory),
            notes=lost,
        ),
        upstream_texts=upstream_texts(config.upstream_text),
        dataset=str(config.dataset if config.train_file is None else config.train_file),
    )
    if is_main_process():
        report.save(directory)
    say(report.summary())
    return report


def report_directory(
    directory: Path, *, tier: Tier, curve: bool = False, upstream_text: str | None = None
) -> TransferReport:
    """Report on a finished run from the files that it left; its data must still be where they were.

    Args:
        directory: A run of a recipe, of :func:`nlptl.fit`, or of a program that saved its splits too
            (:func:`nlptl.runs.directory.save_run`).
        tier: Number of seeds: ``quick``, ``standard`` or ``full``.
        curve: Whether to train on smaller sets too.
        upstream_text: Held-out text to measure forgetting on.

    Raises:
        UserError: If it is not such a run, or its data or its checkpoint are gone.
    """
    changes = {"curve": curve, "upstream_text": upstream_text}
    if (directory / "config.yaml").is_file() or not (directory / DATA).is_dir():
        ready = _configured(directory, changes)
    else:
        ready = recorded_run(directory, changes)
    config, seeds = ready.config, max(SEEDS[tier], ready.config.seeds)
    about = f"on {plain(directory)} ({plain(config.model)}, mode {config.mode}), {tier}: {many(seeds, 'seed')}"
    say(Block([machine_row(own_version(), launch(), config.seed), ("report", about)]))
    with locked(directory), going_on(study_kept):
        return report_run(ready, directory, tier)


def _configured(directory: Path, changes: Mapping[str, Any]) -> Prepared:
    """Read again what a run's configuration says."""
    kind, config = config_of(directory)
    config = replace(config, **changes)
    use_precision_of(config)
    mode, _ = check_training(config)
    check_reading(config, kind)
    upstream_texts(config.upstream_text)
    task, splits, _ = drawn_by_split_seed(kind.prepare)(config)
    return Prepared(config, mode, task, splits, {"data": {"sha256": splits_hash(splits)}})


def recorded_run(directory: Path, changes: Mapping[str, Any]) -> Prepared:
    """Read again what a program's run has in its record, and the splits that were saved with it."""
    names = ("task", "task_settings", "settings", "mode", "mode_settings")
    record = read_result(directory / "result.json", *names)
    kind, settings = recorded_task(record, directory), record["settings"]
    task = kind.from_run(load_config(str(directory / "model")), record["task_settings"])
    files = {path.stem: path for path in sorted((directory / DATA).glob("*.parquet"))}
    splits = load_splits(None, files)
    cls: Any = with_options(TaskConfig, kind.options)
    known = {name: value for name, value in settings.items() if name in declared_types(cls)}
    known |= {"max_grad_norm": settings["max_grad_norm"] or 0.0, "train_file": files["train"]}
    config = cls(**known, mode=record["mode"], task=kind.name, output_dir=directory, **changes)
    upstream_texts(config.upstream_text)
    values = (
        (k, tuple(v) if isinstance(v, list) else v) for k, v in record["mode_settings"].items()
    )
    mode = replace(parse_mode(record["mode"]), values=tuple(values))
    return Prepared(config, mode, task, splits, {"data": {"sha256": splits_hash(splits)}})


def config_of(directory: Path) -> tuple[type[Task], Any]:
    """Read the task and the configuration of a finished run.

    Raises:
        UserError: If it is not such a run, or its task cannot be imported.
    """
    record_path = directory / "result.json"
    check_there(directory)
    if not record_path.is_file() or not (directory / "config.yaml").is_file():
        holds = sorted(p.name for p in directory.glob("*")) if directory.is_dir() else []
        raise ConfigError(
            f"{directory} is not a finished run: expected result.json and config.yaml in it, found "
            f"{listed(holds) or 'nothing'}. Give the --output-dir of a recipe; a program saves its "
            "data too: nlptl.save_run(run, directory, splits=splits, …)."
        )
    kind = recorded_task(read_result(record_path, "task"), directory)
    file = directory / "config.yaml"
    config_class: Any = with_options(TaskConfig, kind.options)
    if "kind" in read_yaml(file):
        config_class = ClassifyConfig
    config: Any = config_class(**load_yaml(config_class, file))
    return kind, config


def trained_model(task: Task, directory: Path) -> Any:
    """Open a run's model, float32, in eval mode.

    Raises:
        ModelError: If it is not there.
    """
    load_config(str(directory))
    return open_saved(directory, task.auto_class)


def launched_otherwise(directory: Path) -> list[str]:
    """Return a note if the run had another precision or number of processes than this one."""
    try:
        then = read_object(directory / "result.json", "launch")["launch"]
        differ = [
            f"{name} {then[name]}, now {now}" for name, now in launch().items() if then[name] != now
        ]
    except (OSError, ValueError, LookupError, TypeError):
        return []  # damaged, which is reported elsewhere, or of an older form
    if not differ:
        return []
    return [
        f"{directory} was launched otherwise ({listed(differ)}), so the runs made here are not quite like it. "
        "Launch the report as the run was."
    ]


def outcome_of_run(task: Any, directory: Path, *, data: str | None = None) -> Outcome:
    """Read the outcome of a run from its ``result.json`` and ``predictions.jsonl``.

    Args:
        task: What the examples mean.
        directory: Directory of the run.
        data: Hash of the data that it must have had (:func:`nlptl.data.encoding.splits_hash`); None takes any.

    Raises:
        OSError: If one of them is missing.
        ValueError: If one of them is damaged, or the data were different.
        KeyError: If the record is of an older form.
    """
    record = read_object(directory / "result.json", "data", "n", "history", "settings")
    if data is not None and record["data"].get("sha256", data) != data:
        raise ValueError("its data have changed since")
    predictions = read_lines(directory / "predictions.jsonl")
    if len(predictions) != record["n"]["test"]:
        raise ValueError(
            f"predictions.jsonl has {many(len(predictions), 'line')}, expected {record['n']['test']}"
        )
    own = type(task).from_run(load_config(record["model"]), record["task_settings"])
    history = record["history"]
    return Outcome(
        **scored(own, own.statistics(predictions)),
        seed=record["seed"],
        learning_rate=record["settings"]["learning_rate"],
        validation=validation_scores(task, history),
        best=record["selection"]["best_line"],
        epochs=history[-1]["epoch"],
        seconds=record["timing"]["train_seconds"],
        flops=record["training_flops"],
        peak_memory=record["peak_memory_mb"],
        trainable=record["parameters"]["trainable"],
        total=record["parameters"]["total"],
        cache_bytes=int((record["cache"] or {}).get("bytes", 0)),
    )
