"""A supervised recipe from its configuration to its saved runs: what all labelled tasks share."""

from collections.abc import Callable
from typing import Any

from nlptl.cache.prefix_cache import forget
from nlptl.engine.setup import start_accelerator
from nlptl.finetuning import finetune
from nlptl.planning import prepare_run
from nlptl.reporting import report_run
from nlptl.runs import save_run, scores, seed_directories, summarize_seeds
from nlptl.tasks.base import Task
from nlptl.terminal import say


def run_supervised(
    config: Any, prepare_data: Callable[[Any], tuple[Task, dict[str, Any], dict[str, Any]]]
) -> None:
    """Check everything, then for each seed: fine-tune, score, save, read back; report, if asked.

    Args:
        config: A :class:`nlptl.config.SupervisedConfig`.
        prepare_data: Reads and checks the data: task, splits and their record.

    Raises:
        UserError: With every mistake, before any slow work.
    """
    ready = prepare_run(config, prepare_data)
    for seed, directory in seed_directories(ready.config):
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
    forget()
    summarize_seeds(ready.config)
    if config.report:
        report_run(ready, config.output_dir, config.report)
