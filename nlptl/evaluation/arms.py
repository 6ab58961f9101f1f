"""The arms of a comparison: one way of starting and training, over several seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nlptl.engine.setup import start_accelerator
from nlptl.finetuning import FineTuned, Settings, finetune
from nlptl.models.architecture import save_untrained
from nlptl.tasks.base import Task

Checkpoint = Callable[[int], str]


@dataclass(frozen=True)
class Arm:
    """Scores of one arm.

    Attributes:
        scores: Score of each test example under each seed, shape ``(seeds, examples)``.
        validation: Selection metric of each seed's best epoch, on validation data.
        settings: As trained, with the rate that was chosen.
        tried: Rate to validation score of the first seed.
        seconds: Training time of all runs, those of the search included.
    """

    scores: np.ndarray
    validation: tuple[float, ...]
    settings: Settings
    tried: Mapping[float, float]
    seconds: float


def run_arm(
    task: Task,
    splits: Mapping[str, Any],
    settings: Settings,
    *,
    seeds: Sequence[int],
    rates: Sequence[float],
    checkpoint: Checkpoint | None = None,
) -> Arm:
    """Fine-tune once a seed, at the rate whose first run does best on validation data.

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        settings: Everything but rate and seed.
        seeds: One run each; arms with the same seeds see the same orders.
        rates: Peak rates to try with the first seed.
        checkpoint: Seed to checkpoint; None takes the settings' own for all.

    Returns:
        Test scores; the test set plays no part in choosing.
    """

    def run(seed: int, rate: float) -> FineTuned:
        accelerator = start_accelerator(tracker=None, output_dir=Path(), seed=seed)
        name = checkpoint(seed) if checkpoint else settings.model
        own = replace(settings, model=name, learning_rate=rate, seed=seed)
        return finetune(task, splits, own, accelerator=accelerator)

    first = {rate: run(seeds[0], rate) for rate in rates}
    best = max(first, key=lambda rate: _validation(first[rate]))
    runs = [first[best], *(run(seed, best) for seed in seeds[1:])]
    made = [*first.values(), *runs[1:]]
    return Arm(
        scores=np.asarray([r.task.example_scores(r.predictions) for r in runs]),
        validation=tuple(_validation(r) for r in runs),
        settings=replace(settings, learning_rate=best),
        tried={rate: _validation(r) for rate, r in first.items()},
        seconds=sum(r.timing["train_seconds"] for r in made),
    )


def scratch_arm(
    task: Task,
    splits: Mapping[str, Any],
    settings: Settings,
    *,
    seeds: Sequence[int],
    rates: Sequence[float],
) -> Arm:
    """:func:`run_arm` from untrained twins of the settings' checkpoint, other weights each seed."""
    with TemporaryDirectory() as folder:

        def twin(seed: int) -> str:
            path = Path(folder) / str(seed)
            if not path.exists():
                save_untrained(settings.model, path, seed=seed)
            return str(path)

        return run_arm(task, splits, settings, seeds=seeds, rates=rates, checkpoint=twin)


def _validation(run: FineTuned) -> float:
    return run.history[run.best][f"validation_{run.task.selection}"]
