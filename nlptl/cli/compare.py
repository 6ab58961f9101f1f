"""``compare``: checkpoints, modes and methods side by side; and the parts that all studies share."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from nlptl.cli.check import (
    check_head,
    check_reading,
    check_training,
    drawn_by_split_seed,
    finetune_args,
    launch,
    resolve_defaults,
    upstream_texts,
)
from nlptl.cli.config import TaskConfig, with_task
from nlptl.cli.doctor import own_version
from nlptl.cli.output import check_directory, check_unchanged, reserve_output_dir
from nlptl.cli.precision import with_precision
from nlptl.cli.values import check_numbers, with_sound_numbers
from nlptl.data.progress import waiting
from nlptl.errors import Problems
from nlptl.modes.base import Mode
from nlptl.pretrain.upstream_entry import bundled_texts
from nlptl.runs.locking import lock, unlock
from nlptl.study.arms import ArmSpec
from nlptl.study.comparison import compare, write_comparison
from nlptl.study.methods import get_method
from nlptl.study.study import Study
from nlptl.tasks import get_task
from nlptl.tasks.base import Task
from nlptl.train.copies import check_augment
from nlptl.train.header import copies_rows, data_rows, limits_of, machine_row, runs_row
from nlptl.train.setup import FinetuneArgs
from nlptl.train.stopping import going_on, study_kept
from nlptl.train.terminal import Block, is_main_process, say


@dataclass(frozen=True)
class Way:
    """An arm as the command line names it.

    Attributes:
        model: The checkpoint.
        mode: The mode.
        method: The method.
    """

    model: str
    mode: str
    method: str = "finetune"


def run_comparison(config: Any) -> dict[str, Any]:
    """Run every checkpoint under every mode and method, and write ``compare.html`` and its other forms.

    Finished runs are found again, so the same command continues where an interrupted one stopped;
    ``config.yaml`` records which command it was.

    Args:
        config: A :class:`nlptl.cli.config.CompareConfig`.

    Returns:
        What ``compare.json`` holds.

    Raises:
        UserError: With every mistake, before any slow work.
    """
    config = with_precision(config)
    ways = [
        Way(model, mode, method)
        for model in config.model
        for mode in config.mode
        for method in config.method
    ]
    study, dataset = prepare_study(config, ways)
    study.texts = upstream_texts(config.upstream_text) or bundled_texts()
    reserve_study_dir(config)
    with going_on(study_kept):
        record = compare(study, study.run(parallel=config.parallel), dataset=dataset)
        table = write_comparison(record, config.output_dir)
    unlock(config.output_dir)
    say(f"\n{table}\n\n{config.output_dir}: compare.html, .md, .json, .png, .svg")
    return record


def check_study(config: Any, *checks: Callable[[Any], Any]) -> tuple[Mode, Any, list[Any]]:
    """Check one checkpoint, one mode and the output directory of a study of methods, and report all mistakes.

    Args:
        config: A :class:`nlptl.cli.config.GridConfig` with a method's flags.
        checks: Functions of the configuration, in which every wrong number has its default.

    Returns:
        The mode, the checkpoint's configuration, and what the functions returned.

    Raises:
        UserError: With every mistake.
    """
    problems = Problems()
    check_parallel(config, problems)
    problems.run(check_numbers, config)
    trained = problems.run(check_training, alone(config))
    problems.run(check_reading, config, get_task(config.task))
    problems.run(check_augment, config, get_task(config.task))
    found = [problems.run(check, with_sound_numbers(config)) for check in checks]
    if is_main_process():
        problems.run(check_study_dir, config)
    problems.raise_if_any()
    assert trained  # raised above otherwise
    say(Block([machine_row(own_version(), launch(), config.seed)]))
    return *trained, found


def study_args(config: Any, mode: Mode, model: Any, examples: int, task: Task) -> FinetuneArgs:
    """Return the arguments of an arm with so many training examples, with every default filled in."""
    own = alone(config)
    check_head(own, task)
    return finetune_args(resolve_defaults(own, mode, model, examples, task), mode, own.seed)


def check_modes(config: Any, names: Sequence[str]) -> dict[str, Mode]:
    """Check that the checkpoint can be trained under each of several modes.

    Args:
        config: A :class:`nlptl.cli.config.GridConfig`.
        names: Names of the modes.

    Returns:
        Name to mode.

    Raises:
        UserError: With every mistake.
    """
    problems = Problems()
    found = {name: problems.run(check_training, alone(config, mode=name)) for name in names}
    problems.raise_if_any()
    return {name: trained[0] for name, trained in found.items() if trained}


def mode_args(
    config: Any, modes: Mapping[str, Mode], model: Any, name: str, examples: int, task: Task
) -> FinetuneArgs:
    """Return the arguments of an arm under one of several modes, by name (:func:`study_args`)."""
    return study_args(config, modes[name], model, examples, task)


def alone(config: Any, **own: Any) -> Any:
    """Return the configuration of one fine-tuning of a study.

    Args:
        config: A :class:`nlptl.cli.config.GridConfig`.
        own: Values that go before the study's.
    """
    kind = with_task(TaskConfig, config.task)
    known = {field.name for field in fields(kind)}
    given = {k: v for k, v in vars(config).items() if k in known and v is not None}
    return kind(**{**given, **own})


def check_parallel(config: Any, problems: Problems) -> None:
    """Note what is wrong with ``--parallel``."""
    if config.parallel < 1:
        problems.add(f"--parallel is {config.parallel}; expected 1 or more.")
    if config.parallel > 1 and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        problems.add(
            "--parallel starts processes of its own: run it with python, not with a launcher."
        )


def prepare_study(config: Any, ways: Sequence[Way]) -> tuple[Study, str]:
    """Check all checkpoints, modes and methods and the data; report all mistakes at once.

    Args:
        config: A :class:`nlptl.cli.config.GridConfig`.
        ways: The arms.

    Returns:
        The study, and the name of its data.

    Raises:
        UserError: With every mistake.
    """
    problems = Problems()
    check_parallel(config, problems)
    if not ways:
        problems.add("Nothing to compare: give at least one checkpoint and one mode.")
    task_kind = get_task(config.task)
    prepare = drawn_by_split_seed(task_kind.prepare)
    checked, data = [], None
    for way in ways:
        own = alone(config, model=way.model, mode=way.mode)
        method = problems.run(get_method, way.method, "--method")
        checked.append((own, problems.run(check_training, own), method))
        problems.run(check_reading, own, task_kind)
        problems.run(check_augment, own, task_kind)
        if data is None:
            with waiting("reading the data"):
                data = problems.run(prepare, with_sound_numbers(own))
        if data:
            problems.run(check_head, own, data[0])
    problems.run(upstream_texts, config.upstream_text)
    if is_main_process():
        problems.run(check_study_dir, config)
    problems.raise_if_any()
    assert data  # raised above otherwise
    task, splits, origin = data
    arms = {}
    for way, (own, found, method) in zip(ways, checked, strict=True):
        assert found and method
        mode, model = found
        filled = resolve_defaults(own, mode, model, len(splits["train"]), task)
        arms[arm_name(way, ways)] = ArmSpec(finetune_args(filled, mode, config.seed), method)
    seeds = range(config.seed, config.seed + config.seeds)
    rows = [
        machine_row(own_version(), launch(), config.seed),
        *data_rows(
            task,
            splits,
            origin,
            limits=limits_of(config),
            seed=config.seed if config.split_seed is None else config.split_seed,
        ),
        *copies_rows(next(iter(arms.values())).args),
        runs_row(list(arms), len(seeds)),
    ]
    say(Block(rows))
    for note in origin.get("notes", ()):
        say(f"note: {note}")
    dataset = str(origin.get("dataset") or config.train_file)
    return Study(task, splits, arms, seeds), dataset


def arm_name(way: Way, ways: Sequence[Way]) -> str:
    """Name an arm by its mode, and by its checkpoint and method where the arms differ in them.

    Args:
        way: The arm.
        ways: All arms.
    """
    models, methods = ({getattr(other, part) for other in ways} for part in ("model", "method"))
    method = way.method.rpartition(":")[2]  # of path/to/file.py:name
    if [other.rpartition(":")[2] for other in methods].count(method) > 1:
        method = way.method
    return " ".join([way.model] * (len(models) > 1) + [way.mode] + [method] * (len(methods) > 1))


def check_study_dir(config: Any) -> None:
    """Make sure that ``config.output_dir`` is free, or that the study there began with the same flags.

    The same command continues without ``--resume`` too: nothing is lost, since finished runs are kept
    elsewhere and are found again.

    Raises:
        ConfigError: If another run is there.
    """
    if (config.output_dir / "config.yaml").exists():
        check_unchanged(config, free=("resume", "parallel"))
    else:
        check_directory(config)


def reserve_study_dir(config: Any) -> None:
    """Make ``config.output_dir`` and write ``config.yaml`` there, unless the same command has already done so.

    Raises:
        ConfigError: If nothing can be written there.
    """
    if is_main_process():
        if not (config.output_dir / "config.yaml").exists():
            reserve_output_dir(config)
        lock(config.output_dir)
