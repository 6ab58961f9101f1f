"""The arms of a comparison: one way of starting and training, over several seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nlptl.engine.setup import start_accelerator
from nlptl.evaluation import cells
from nlptl.evaluation.body import upstream_entry
from nlptl.evaluation.cells import Cell
from nlptl.finetuning import Settings, finetune
from nlptl.models.architecture import save_untrained
from nlptl.models.lora import merged
from nlptl.tasks.base import Task
from nlptl.terminal import muted, say

#: Pieces of text that forgetting is measured on.
PIECES = 2000
#: A seed to a checkpoint's name, which may have to be made first.
Checkpoint = Callable[[int], str]


@dataclass(frozen=True)
class Arm:
    """Scores of one arm.

    Attributes:
        cells: One a seed, at the rate that was chosen.
        settings: As trained, with that rate.
        tried: Rate to validation score of the first seed.
        searched: Runs of the search that were not chosen.
        kept: Runs that were found on disk.
    """

    cells: tuple[Cell, ...]
    settings: Settings
    tried: Mapping[float, float]
    searched: tuple[Cell, ...] = ()
    kept: int = 0

    @property
    def scores(self) -> np.ndarray:
        """Score of each test example under each seed, shape ``(seeds, examples)``."""
        return np.asarray([cell.scores for cell in self.cells])

    @property
    def validation(self) -> tuple[float, ...]:
        """Selection metric of each seed's best epoch, on validation data."""
        return tuple(cell.chosen for cell in self.cells)

    @property
    def seconds(self) -> float:
        """Training time of all runs, those of the search included."""
        return sum(cell.seconds for cell in (*self.cells, *self.searched))


class Runner:
    """Runs fine-tunings of one task, and never the same one twice.

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        keep: Look for finished runs on disk, and put new ones there.
        texts: Also measure what each run's model forgot, on these; None does not.
    """

    def __init__(
        self,
        task: Task,
        splits: Mapping[str, Any],
        *,
        keep: bool = True,
        texts: Sequence[str] | None = None,
    ) -> None:
        self.task, self.splits, self.keep, self.texts = task, splits, keep, texts
        self.data = cells.splits_hash(splits) if keep else ""
        self.found = 0

    def run(self, settings: Settings, *, start: str, checkpoint: Callable[[], str]) -> Cell:
        """One fine-tuning.

        Args:
            settings: With rate and seed; the checkpoint's name in it does not count.
            start: Hash of what it starts from.
            checkpoint: Gives the checkpoint's name, once it is needed.
        """
        # Every process must come to the same answer, so only what all of them see decides.
        accelerator = start_accelerator(tracker=None, output_dir=Path(), seed=settings.seed)
        key = cells.cell_key(
            start, self.task, self.data, settings, processes=accelerator.num_processes
        )
        accelerator.wait_for_everyone()
        cell = cells.load(key) if self.keep else None
        if cell and (self.texts is None or cell.upstream):
            self.found += 1
            return cell
        accelerator.wait_for_everyone()
        own = replace(settings, model=checkpoint())
        with muted():
            run = finetune(self.task, self.splits, own, accelerator=accelerator)
        cell = cells.cell_of(run)
        if self.texts is not None:
            body = merged(run.model)
            with muted():
                found = upstream_entry(own.model, body, self.texts, accelerator, PIECES)
            cell = replace(cell, upstream=found)
        if self.keep and accelerator.is_main_process:
            cells.keep(key, cell)
        return cell


def run_arm(
    task: Task,
    splits: Mapping[str, Any],
    settings: Settings,
    *,
    seeds: Sequence[int],
    rates: Sequence[float],
    checkpoint: Checkpoint | None = None,
    start: Callable[[int], str] | None = None,
    keep: bool = False,
    known: Mapping[int, Cell] | None = None,
    texts: Sequence[str] | None = None,
    title: str = "",
) -> Arm:
    """Fine-tune once a seed, at the rate whose first run does best on validation data.

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        settings: Everything but rate and seed.
        seeds: One run each; arms with the same seeds see the same orders.
        rates: Peak rates to try with the first seed.
        checkpoint: Seed to checkpoint; None takes the settings' own for all.
        start: Seed to the hash of what it starts from; None hashes the checkpoint.
        keep: Take finished runs from disk, and put new ones there.
        known: Seeds that are finished, at the only rate.
        texts: Also measure what the first seed's model forgot, on these.
        title: What to call the arm while it runs; empty says nothing.

    Returns:
        Test scores; the test set plays no part in choosing.
    """
    runner = Runner(task, splits, keep=keep)
    measured = Runner(task, splits, keep=keep, texts=texts)
    own: dict[str, str] = {}

    def hashed(seed: int) -> str:
        if not keep:
            return ""
        if start:
            return start(seed)
        name = checkpoint(seed) if checkpoint else settings.model
        if name not in own:
            own[name] = cells.checkpoint_hash(name)
        return own[name]

    def run(seed: int, rate: float) -> Cell:
        if known and seed in known:
            return known[seed]
        each = replace(settings, learning_rate=rate, seed=seed)
        name = partial(checkpoint, seed) if checkpoint else lambda: settings.model
        chosen = measured if seed == seeds[0] else runner
        found = chosen.found
        cell = chosen.run(each, start=hashed(seed), checkpoint=name)
        if title:
            how = "kept from before" if chosen.found > found else f"{cell.seconds:.0f} s"
            say(f"{title}, seed {seed}, rate {rate:.2g}: {cell.score:.4f} ({how})")
        return cell

    first = {rate: run(seeds[0], rate) for rate in rates}
    best = max(first, key=lambda rate: first[rate].chosen)
    return Arm(
        cells=(first[best], *(run(seed, best) for seed in seeds[1:])),
        settings=replace(settings, learning_rate=best),
        tried={rate: cell.chosen for rate, cell in first.items()},
        searched=tuple(cell for rate, cell in first.items() if rate != best),
        kept=runner.found + measured.found,
    )


def scratch_arm(
    task: Task,
    splits: Mapping[str, Any],
    settings: Settings,
    *,
    seeds: Sequence[int],
    rates: Sequence[float],
    keep: bool = False,
    title: str = "",
) -> Arm:
    """:func:`run_arm` from untrained twins of the settings' checkpoint, other weights each seed.

    Kept runs are found again for every checkpoint of the same architecture and tokenizer.
    """
    with TemporaryDirectory() as folder:

        def twin(seed: int) -> str:
            path = Path(folder) / str(seed)
            if not path.exists():
                save_untrained(settings.model, path, seed=seed)
            return str(path)

        architecture = cells.architecture_hash(settings.model) if keep else ""
        return run_arm(
            task,
            splits,
            settings,
            seeds=seeds,
            rates=rates,
            checkpoint=twin,
            start=lambda seed: f"untrained {architecture} {seed}",
            keep=keep,
            title=title,
        )
