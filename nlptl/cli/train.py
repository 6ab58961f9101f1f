"""Supervised runs from a configuration: the parts that the recipes of labelled tasks share."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from nlptl.cli.check import Prepared, prepare_run
from nlptl.cli.output import seed_directories, seed_homes
from nlptl.data.files import read_object
from nlptl.data.progress import doing
from nlptl.errors import Problems
from nlptl.runs.directory import is_finished, release_on_failure, save_run, scores
from nlptl.runs.locking import locked
from nlptl.runs.seeds import spread_line, summarize_seeds
from nlptl.tasks import get_task
from nlptl.train.finetune import finetune
from nlptl.train.run import Run
from nlptl.train.schedule import Schedule
from nlptl.train.setup import start_accelerator
from nlptl.train.stem_cache.store import free_states
from nlptl.train.stopping import command_to_go_on, going_on, report_kept
from nlptl.train.terminal import is_main_process, say


def prepare(config: Any, task: str) -> Prepared:
    """Check flags, checkpoint, data and output directory, all at once, and reserve the directory.

    Args:
        config: A :class:`nlptl.cli.config.ReportedConfig` with the task's flags.
        task: Registered name, or ``path/to/file.py:Class``.

    Raises:
        UserError: With every mistake, before any slow work.
    """
    return prepare_run(config, get_task(task))


def each_seed(
    ready: Prepared,
    train: Callable[[Prepared, int, Path], object],
    *,
    go_on: Callable[..., str] = command_to_go_on,
) -> None:
    """Train with each seed that is not finished yet, and report, if asked.

    Args:
        ready: Run from :func:`prepare`.
        train: Function that trains, scores and saves one run, given its seed and its directory.
        go_on: Function of ``resume`` that says how to go on after an error.
    """
    config = ready.config
    schedule = Schedule({"seed": sum(not is_finished(home) for home in seed_homes(config))})
    with release_on_failure(config.output_dir, go_on):
        if not config.report:  # a report trains again what its data have left behind, and says so
            check_finished(ready)
        for seed, directory in seed_directories(config):
            where = schedule.begin()
            if schedule.total > 1:
                say(f"\n{where}: seed {seed}", "bold")
            with doing(where) if schedule.total > 1 else nullcontext():
                train(ready, seed, directory)
                if config.explain and is_main_process():
                    from nlptl.runs.explaining import explain_mistakes

                    say(explain_mistakes(directory))
            schedule.end("seed")
    free_states()
    if config.seeds > 1 and is_main_process():
        say(spread_line(summary_of(ready)))
    if config.report:
        from nlptl.cli.report import report_run

        with locked(config.output_dir), going_on(report_kept):
            report_run(ready, config.output_dir, config.report)


def check_finished(ready: Prepared) -> None:
    """Make sure that the runs that ``--resume`` passes over were trained on the data of now.

    Raises:
        ConfigError: With those that were not.
    """
    now, problems = ready.record["data"]["sha256"], Problems()
    for home in seed_homes(ready.config):
        if is_finished(home) and read_object(home / "result.json")["data"]["sha256"] != now:
            problems.add(
                f"--resume: the run in {home} is finished, and its data have changed since. Put them back, or "
                "choose another --output-dir for the new ones."
            )
    problems.raise_if_any()


def train_seed(ready: Prepared, seed: int, directory: Path) -> None:
    """Make one run of any task and print its scores; the recipes show the same step by step."""
    say(scores(make_run(ready, seed, directory), directory))


def make_run(ready: Prepared, seed: int, directory: Path, *, checkpoints: bool = True) -> Run:
    """Fine-tune, score and save one run of any task.

    Args:
        ready: Run from :func:`prepare`.
        seed: Its seed.
        directory: Its directory.
        checkpoints: Whether to write checkpoints there while it trains.
    """
    config = ready.config
    accelerator = start_accelerator(tracker=config.tracker, output_dir=directory, seed=seed)
    run = finetune(
        ready.task,
        ready.splits,
        ready.args(seed),
        accelerator=accelerator,
        checkpoint_dir=directory / "checkpoints" if checkpoints else None,
        resume=config.resume,
    )
    save_run(run, directory, extra=ready.record, accelerator=accelerator)
    return run


def summary_of(ready: Prepared) -> dict[str, Any]:
    """Compute the spread over ``--seeds N``, find the runs that learned nothing, and record both."""
    from nlptl.cli.report import outcome_of_run
    from nlptl.stats.bootstrap import scores_of
    from nlptl.study.outcomes import combine_of, constant_statistics

    homes, task, splits = seed_homes(ready.config), ready.task, ready.splits
    found = [outcome_of_run(task, home).score for home in homes]
    constant = constant_statistics(task, splits["train"], splits["test"])
    return summarize_seeds(homes, found, float(scores_of(constant, combine_of(task))))
