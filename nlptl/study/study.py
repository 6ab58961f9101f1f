"""A study: arms over seeds, each run made once, kept, and found again."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nlptl.data.encoding import splits_hash
from nlptl.data.progress import counted, doing
from nlptl.errors import Diverged
from nlptl.models import identity
from nlptl.models.adapters import merge_adapter
from nlptl.models.layer_map import depth
from nlptl.models.loading import pooling_under, trained_config
from nlptl.pretrain.architecture import save_untrained
from nlptl.pretrain.upstream_entry import upstream_entry
from nlptl.registry import load_file, loaded_files
from nlptl.study import outcomes
from nlptl.study.arms import Arm, ArmSpec, View, choose_rate
from nlptl.study.cells import EVERY, going_on, unfinished
from nlptl.study.methods import goes_on
from nlptl.study.outcomes import Outcome, diverged_outcome, outcome_of
from nlptl.tasks.base import Task
from nlptl.train.defaults import fill_defaults
from nlptl.train.epoch_table import about
from nlptl.train.run import Run
from nlptl.train.schedule import Schedule, run_cost
from nlptl.train.setup import FinetuneArgs, start_accelerator
from nlptl.train.stem_cache.store import free_states
from nlptl.train.terminal import muted, say

#: Pieces of text that forgetting is measured on.
PIECES = 2000


class Study:
    """Arms of one task over the same seeds, and so over the same heads, orders and test examples.

    Every finished run is kept on disk under a key of all that it depends on, so that no run is made twice,
    and a study that was interrupted goes on where it stopped: within a run too, from its last checkpoint
    (:mod:`nlptl.study.cells`).

    Example::

        study = Study(task, splits, {"full": ArmSpec(full), "lora": ArmSpec(lora)}, range(6))
        arms = study.run(parallel=2)

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        arms: Name to arm.
        seeds: One run of each arm for each.
        texts: Also measure what the first seed of each arm forgot, on these.
        keep: Whether outcomes are looked for on disk and kept there.

    Attributes:
        found: How many runs were found on disk so far.
    """

    def __init__(
        self,
        task: Task,
        splits: Mapping[str, Any],
        arms: Mapping[str, ArmSpec],
        seeds: Sequence[int],
        *,
        texts: Sequence[str] | None = None,
        keep: bool = True,
    ) -> None:
        self.task, self.splits, size = task, splits, len(splits["train"])
        self.arms = {
            name: replace(spec, args=fill_defaults(spec.args, task, size))
            for name, spec in arms.items()
        }
        self.seeds, self.texts, self.keep = tuple(seeds), texts, keep
        self.found = 0
        # For this object's life only: a folder of that name may hold other weights tomorrow.
        self._starts: dict[tuple[str, bool, str | None], str] = {}
        self._data: dict[tuple[View, int] | None, str] = {}

    def run(
        self,
        *,
        parallel: int = 1,
        known: Mapping[str, Mapping[int, Outcome]] | None = None,
    ) -> dict[str, Arm]:
        """Run all arms, as far as their outcomes are not on disk yet.

        Args:
            parallel: Number of processes, each with its share of the processor's cores; with more than one
                outcomes must be kept.
            known: Name of an arm to outcomes of some of its seeds, at the only rate.

        Returns:
            Name to arm; the test set plays no part in choosing a rate.

        Raises:
            Diverged: If every run of an arm did.
        """
        known, schedule = known or {}, None
        if parallel > 1:
            self._run_ahead(parallel)
        else:
            schedule = self.schedule(known)
            if schedule.total > 1:
                say(schedule.plan())
        found = {}
        for name in self.arms:
            found[name] = self._run_arm(name, known.get(name, {}), schedule)
            free_states()
        return found

    def schedule(self, known: Mapping[str, Mapping[int, Outcome]]) -> Schedule:
        """Count the runs of each arm, and estimate what they cost.

        Args:
            known: Name of an arm to outcomes that need no run.
        """
        runs = {
            name: sum(seed not in known.get(name, {}) for seed in self.seeds)
            + len(rates_of(spec))
            - 1
            for name, spec in self.arms.items()
        }
        made = Schedule(runs, {name: self._cost(spec) for name, spec in self.arms.items()})
        for name, outcomes_of_seeds in known.items():
            for outcome in outcomes_of_seeds.values():
                made.knows(name, outcome.seconds)
        return made

    def _cost(self, spec: ArmSpec) -> float:
        args, sizes = spec.args, {name: len(table) for name, table in self.splits.items()}
        blocks = sum(depth(trained_config(args.model, args.pooling)))
        return run_cost(
            blocks=blocks,
            frozen=args.mode.frozen_blocks(blocks),
            epochs=args.epochs,
            train=min(sizes["train"], getattr(spec.view, "examples", sizes["train"])),
            validation=sizes["validation"],
            test=sizes["test"],
        )

    def _run_arm(
        self, name: str, known: Mapping[int, Outcome], schedule: Schedule | None = None
    ) -> Arm:
        """Run an arm once a seed, at the rate that the first seed's runs speak for (:func:`choose_rate`)."""
        spec, before = self.arms[name], self.found

        def run(seed: int, rate: float) -> Outcome:
            if seed in known:
                return known[seed]
            found, title = self.found, spec.title or name
            with doing(schedule.begin()) if schedule else nullcontext():
                outcome = self.run_one(spec, seed, rate=rate)
            how = "kept from before" if self.found > found else f"{outcome.seconds:.0f} s"
            score = "the loss became infinite" if outcome.diverged else f"{outcome.score:.4f}"
            number = rest = ""
            if schedule:
                schedule.end(name, found=self.found > found)
                number = f"run {schedule.number} of {schedule.total}: "
                rest = schedule.rest()
            say(f"{number}{title}, seed {seed}, rate {rate:.2g}: {score} ({how}){rest}")
            return outcome

        first = {rate: run(self.seeds[0], rate) for rate in rates_of(spec)}
        best = choose_rate(first)
        own = (first[best], *(run(seed, best) for seed in self.seeds[1:]))
        if all(outcome.diverged for outcome in own):
            raise Diverged(
                f"{spec.args.model}, {spec.args.mode.name}: the loss became infinite in every run, at a rate "
                f"of {best:.2g}. Lower --learning-rate."
            )
        return Arm(
            outcomes=own,
            args=replace(spec.args, learning_rate=best),
            method=spec.method.name,
            tried={rate: outcome.chosen for rate, outcome in first.items()},
            searched=tuple(outcome for rate, outcome in first.items() if rate != best),
            kept=self.found - before,
        )

    def run_one(
        self,
        spec: ArmSpec,
        seed: int,
        *,
        rate: float | None = None,
        made: Callable[[Run], None] | None = None,
    ) -> Outcome:
        """Make one run, or find its outcome on disk.

        Args:
            spec: The arm.
            seed: The seed.
            rate: Peak rate; None takes the arguments' own.
            made: Gets the run with its model, which no outcome on disk has: with it a run is always made.

        Returns:
            Its outcome; of a run that diverged one that says so.

        Raises:
            Diverged: If it does, and ``made`` is given.
        """
        args = self._args(spec, seed, rate)
        # Before the seed is set: it loads the checkpoint, and draws what that lacks.
        start = self._start(spec, seed) if self.keep else ""
        # Every process must come to the same answer, so only what all of them see decides.
        accelerator = start_accelerator(tracker=None, output_dir=Path(), seed=seed)
        texts = self.texts if seed == self.seeds[0] else None
        measured = "" if texts is None else outcomes.texts_hash(texts, PIECES)
        key, found = "", None
        if self.keep:
            key = self._key(spec, args, start, accelerator)
            accelerator.wait_for_everyone()
            found = outcomes.load(key)
        known = found and (texts is None or found.diverged or found.upstream_texts == measured)
        if found and known and made is None:
            self.found += 1
            return found
        accelerator.wait_for_everyone()
        resumes = self.keep and goes_on(spec.method)
        with unfinished(key, accelerator) if resumes else nullcontext() as home:
            with _checkpoint(spec, seed) as name:
                words = args.augment_model or args.model  # a random start has no words to give
                own = replace(args, model=name, save_every=EVERY, augment_model=words)
                outcome = self._train(spec, own, accelerator, home, texts=texts, made=made)
            if texts is None and found:
                forgot = {"upstream": found.upstream, "upstream_texts": found.upstream_texts}
                outcome = replace(outcome, **forgot)
            if self.keep and accelerator.is_main_process:
                outcomes.keep(key, outcome)
        return outcome

    def _args(self, spec: ArmSpec, seed: int, rate: float | None) -> FinetuneArgs:
        rate = spec.args.learning_rate if rate is None else rate
        pooling = pooling_under(self.task, spec.args.model, spec.args.pooling)
        return replace(spec.args, seed=seed, learning_rate=rate, pooling=pooling)

    def _key(self, spec: ArmSpec, args: FinetuneArgs, start: str, accelerator: Any) -> str:
        return outcomes.outcome_key(
            start,
            self.task,
            self.data_hash(spec.view, args.seed),
            args,
            method=spec.method,
            processes=accelerator.num_processes,
            device=accelerator.device.type,
        )

    def first_key(self, name: str) -> str:
        """Return the key of an arm's first run: a hash of all that its numbers depend on.

        Args:
            name: Name of the arm.
        """
        spec, seed = self.arms[name], self.seeds[0]
        args, start = self._args(spec, seed, None), self._start(spec, seed)
        accelerator = start_accelerator(tracker=None, output_dir=Path(), seed=seed)
        return self._key(spec, args, start, accelerator)

    def _train(
        self,
        spec: ArmSpec,
        args: FinetuneArgs,
        accelerator: Any,
        home: Path | None,
        *,
        texts: Sequence[str] | None,
        made: Callable[[Run], None] | None,
    ) -> Outcome:
        splits = self.view(spec.view, args.seed)
        make = partial(spec.method, self.task, splits, args, accelerator=accelerator)
        try:
            with muted():
                run = going_on(make, home, accelerator, seed=args.seed)
        except Diverged:
            if made is not None:
                raise
            return diverged_outcome(self.task, splits, args)
        outcome = outcome_of(run, args)
        if made is not None:
            made(run)
        if texts is None:
            return outcome
        with muted():
            model = merge_adapter(run.model)
            forgot = upstream_entry(args.model, model, texts, accelerator, PIECES)
        return replace(outcome, upstream=forgot, upstream_texts=outcomes.texts_hash(texts, PIECES))

    def view(self, view: View | None, seed: int) -> Mapping[str, Any]:
        """Return the splits that a seed sees."""
        return self.splits if view is None else view(self.task, self.splits, seed)

    def data_hash(self, view: View | None = None, seed: int = 0) -> str:
        """Hash the splits that a seed sees."""
        key = None if view is None else (view, seed)
        if key not in self._data:
            self._data[key] = splits_hash(self.view(view, seed))
        return self._data[key]

    def checkpoint_hash(
        self, name: str, *, untrained: bool = False, pooling: str | None = "auto"
    ) -> str:
        """Hash a checkpoint with the head that its file holds for this task, or its architecture alone."""
        key = (name, untrained, pooling)
        if key not in self._starts:
            self._starts[key] = (
                identity.architecture_hash(name)
                if untrained
                else identity.checkpoint_hash(name, task=self.task, pooling=pooling)
            )
        return self._starts[key]

    def _start(self, spec: ArmSpec, seed: int) -> str:
        args = spec.args
        pooling = pooling_under(self.task, args.model, args.pooling)
        found = self.checkpoint_hash(args.model, untrained=spec.untrained, pooling=pooling)
        if not spec.untrained:
            return found
        words = f" {self.checkpoint_hash(args.model, pooling=pooling)}" * bool(args.augment)
        return f"untrained {found} {seed}{words}"

    def _run_ahead(self, parallel: int) -> None:
        """Let worker processes put outcomes on disk; where there are several rates, the search goes first."""
        if not self.keep:
            raise ValueError("expected kept outcomes with parallel processes, found keep=False")
        for spec in self.arms.values():  # once here instead of once in every worker
            self._start(spec, self.seeds[0])
            for seed in self.seeds:
                self.data_hash(spec.view, seed)
        threads = max(1, (os.cpu_count() or 1) // parallel)
        with ProcessPoolExecutor(
            parallel,
            mp_context=get_context("spawn"),
            initializer=_start_worker,
            initargs=(threads, loaded_files()),
        ) as pool:
            try:
                jobs = [
                    (name, seed, rate)
                    for name, spec in self.arms.items()  # seeds side by side: they share cached states
                    for rate in rates_of(spec)
                    for seed in self.seeds[: 1 if len(rates_of(spec)) > 1 else None]
                ]
                found = self._submit(pool, jobs)
                later = []
                for name, spec in self.arms.items():
                    if len(rates_of(spec)) > 1:
                        first = {rate: found[name, self.seeds[0], rate] for rate in rates_of(spec)}
                        later += [(name, seed, choose_rate(first)) for seed in self.seeds[1:]]
                self._submit(pool, later)
            except BaseException:  # a signal, for example: nobody waits for the runs that go on
                for worker in active_children():
                    worker.terminate()
                raise

    def _submit(
        self, pool: ProcessPoolExecutor, jobs: Sequence[tuple[str, int, float]]
    ) -> dict[tuple[str, int, float], Outcome]:
        waiting, found, began = {}, {}, time.perf_counter()
        for name, seed, rate in jobs:
            one = pool.submit(self.run_one, self.arms[name], seed, rate=rate)
            waiting[one] = (name, seed, rate)
        for done in counted(as_completed(waiting), "runs", len(jobs), "runs"):
            name, seed, rate = job = waiting[done]
            found[job] = done.result()
            left = (len(jobs) - len(found)) * (time.perf_counter() - began) / len(found)
            rest = f"; about {about(left)} left" if left else ""
            say(
                f"{len(found)} of {len(jobs)} runs: {name}, seed {seed}, rate {rate:.2g}: done{rest}"
            )
        return found


def rates_of(spec: ArmSpec) -> tuple[float, ...]:
    """List the peak rates that an arm's first seed tries."""
    return spec.rates or (spec.args.learning_rate,)


@contextmanager
def _checkpoint(spec: ArmSpec, seed: int) -> Iterator[str]:
    """Yield the name of the checkpoint that a run starts from; of random weights a folder for the while."""
    if not spec.untrained:
        yield spec.args.model
        return
    with TemporaryDirectory() as folder:
        save_untrained(spec.args.model, Path(folder), seed=seed)
        yield folder


def _start_worker(threads: int, files: Sequence[Path]) -> None:
    """Set up a worker process: its threads, and the tasks and methods that came from files."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    for path in files:
        load_file(path, str(path))
