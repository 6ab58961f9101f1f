"""The same task under several checkpoints and modes: checked at once, run cell by cell, never twice."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from multiprocessing import get_context
from typing import Any

from nlptl.cli.check import (
    check_training,
    drawn_by_split_seed,
    finetune_args,
    resolve_defaults,
    upstream_texts,
)
from nlptl.cli.config import TaskConfig, with_task
from nlptl.cli.output import check_directory, check_unchanged, reserve_output_dir
from nlptl.cli.ranges import with_sound_numbers
from nlptl.errors import Problems
from nlptl.study.arms import Arm, Runner, run_arm
from nlptl.tasks import get_task
from nlptl.tasks.base import Task
from nlptl.train.setup import FinetuneArgs
from nlptl.train.stem_cache.store import free_states
from nlptl.train.terminal import is_main_process, say


@dataclass(frozen=True)
class Grid:
    """What is compared.

    Attributes:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        origin: Where they came from.
        entries: Name to settings, all but the seed.
        seeds: One run of each entry a seed.
    """

    task: Task
    splits: Mapping[str, Any]
    origin: Mapping[str, Any]
    entries: Mapping[str, FinetuneArgs]
    seeds: tuple[int, ...]


def prepare_grid(config: Any, pairs: Sequence[tuple[str, str]]) -> Grid:
    """Check every checkpoint and mode and the data, all mistakes at once.

    Args:
        config: A :class:`nlptl.cli.config.GridConfig`.
        pairs: Checkpoints and modes.

    Raises:
        UserError: With every mistake.
    """
    problems = Problems()
    if config.parallel < 1:
        problems.add(f"--parallel is {config.parallel}; expected 1 or more.")
    if config.parallel > 1 and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        problems.add(
            "--parallel starts processes of its own: run it with python, not with a launcher."
        )
    if not pairs:
        problems.add("Nothing to compare: give at least one checkpoint and one mode.")
    kind = with_task(TaskConfig, config.task)
    prepare = drawn_by_split_seed(get_task(config.task).prepare)
    known = {field.name for field in fields(kind)}
    given = {k: v for k, v in vars(config).items() if k in known and v is not None}
    checked, data = [], None
    for model, mode in pairs:
        own: Any = kind(**{**given, "model": model, "mode": mode})
        checked.append((own, problems.run(check_training, own)))
        if data is None:
            data = problems.run(prepare, with_sound_numbers(own))
    problems.run(upstream_texts, config.upstream_text)
    if is_main_process():
        problems.run(check_grid_directory, config)
    problems.raise_if_any()
    assert data  # raised above otherwise
    task, splits, origin = data
    entries = {}
    several = len({model for model, _ in pairs}) > 1
    for own, found in checked:
        assert found
        mode, family, width = found
        filled = resolve_defaults(own, mode, family, width, len(splits["train"]))
        name = f"{own.model} {mode.name}" if several else mode.name
        entries[name] = finetune_args(filled, mode, config.seed)
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    return Grid(task, splits, origin, entries, seeds)


def check_grid_directory(config: Any) -> None:
    """Make sure that ``config.output_dir`` is free, or that what began there began with the same flags.

    The same command goes on without ``--resume`` too: nothing is lost, since finished cells lie elsewhere and
    are found again.

    Raises:
        ConfigError: If another run is there.
    """
    if (config.output_dir / "config.yaml").exists():
        check_unchanged(config, free=("resume", "parallel"))
    else:
        check_directory(config)


def reserve_study_dir(config: Any) -> None:
    """Make ``config.output_dir`` and write ``config.yaml`` there, unless the same comparison has done so.

    Raises:
        ConfigError: If nothing can be written there.
    """
    if is_main_process() and not (config.output_dir / "config.yaml").exists():
        reserve_output_dir(config)


def run_grid(
    grid: Grid, *, texts: Sequence[str] | None = None, parallel: int = 1
) -> dict[str, Arm]:
    """Run all cells that are not on disk yet.

    Args:
        grid: What to run.
        texts: Measure what the first seed of each entry forgot, on these.
        parallel: Processes, each with its share of the processor's cores.

    Returns:
        Name to outcome.
    """
    if parallel > 1:
        _ahead(grid, texts, parallel)
    arms, runner = {}, Runner(grid.task, grid.splits)
    for name, settings in grid.entries.items():
        arms[name] = _arm(grid, settings, grid.seeds, texts, runner, title=name)
        free_states()
    return arms


def _arm(
    grid: Grid,
    settings: FinetuneArgs,
    seeds: Sequence[int],
    texts: Sequence[str] | None,
    runner: Runner | None = None,
    title: str = "",
) -> Arm:
    return run_arm(
        Runner(grid.task, grid.splits) if runner is None else runner,
        settings,
        seeds=seeds,
        rates=[settings.learning_rate],
        texts=texts,
        title=title,
    )


def _ahead(grid: Grid, texts: Sequence[str] | None, parallel: int) -> None:
    """Let worker processes put every cell on disk."""
    threads = max(1, (os.cpu_count() or 1) // parallel)
    with ProcessPoolExecutor(
        parallel, mp_context=get_context("spawn"), initializer=_limit, initargs=(threads,)
    ) as pool:
        waiting = {
            pool.submit(_arm, grid, settings, (seed,), texts if seed == grid.seeds[0] else None): (
                name,
                seed,
            )
            for name, settings in grid.entries.items()  # seeds side by side: they share cached states
            for seed in grid.seeds
        }
        for done in as_completed(waiting):
            done.result()
            name, seed = waiting[done]
            say(f"{name}, seed {seed}: done")


def _limit(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
