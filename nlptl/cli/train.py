"""A supervised recipe from its configuration to its saved runs: what all labelled tasks share."""

from pathlib import Path
from typing import Any

from nlptl.cli.check import Prepared, PrepareData, drawn_by_split_seed, prepare_run
from nlptl.cli.report import cell_of_run, report_run
from nlptl.runs.directory import (
    release_on_failure,
    save_run,
    scores,
    seed_directories,
    seed_homes,
    spread_line,
    summarize_seeds,
)
from nlptl.train.finetune import finetune
from nlptl.train.setup import start_accelerator
from nlptl.train.stem_cache.store import free_states
from nlptl.train.terminal import is_main_process, say


def run_supervised(config: Any, prepare_data: PrepareData) -> None:
    """Check everything, then for each seed: fine-tune, score, save, read back; report, if asked.

    Args:
        config: A :class:`nlptl.cli.config.SupervisedConfig`.
        prepare_data: Reads and checks the data: task, splits and their record.

    Raises:
        UserError: With every mistake, before any slow work.
    """
    ready = prepare_run(config, drawn_by_split_seed(prepare_data))
    with release_on_failure(ready.config.output_dir):
        for seed, directory in seed_directories(ready.config):
            _run_seed(ready, seed, directory)
    free_states()
    if config.seeds > 1 and is_main_process():
        say(spread_line(summary_of(ready)))
    if config.report:
        report_run(ready, config.output_dir, config.report)


def _run_seed(ready: Prepared, seed: int, directory: Path) -> None:
    """One run; a function, so that its model is gone before the next one is loaded."""
    config = ready.config
    accelerator = start_accelerator(tracker=config.tracker, output_dir=directory, seed=seed)
    run = finetune(
        ready.task,
        ready.splits,
        ready.settings(seed),
        accelerator=accelerator,
        checkpoint_dir=directory / "checkpoints",
        resume=config.resume,
    )
    save_run(run, directory, extra=ready.record, accelerator=accelerator)
    say(scores(run, directory))


def summary_of(ready: Prepared) -> dict[str, Any]:
    """The spread over ``--seeds N``, and which runs learnt nothing; also in the first ``result.json``."""
    found = [cell_of_run(ready.task, home).score for home in seed_homes(ready.config)]
    task, splits = ready.task, ready.splits
    constant = task.statistics(task.constant_predictions(splits["train"], splits["test"]))
    floor = float(task.combine(constant.mean(axis=0)))
    return summarize_seeds(ready.config, found, floor)
