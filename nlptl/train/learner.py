"""A model with a task and a mode, and the verbs of every method: fit, predict, score, features."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlptl.data.batching import LengthBatches
from nlptl.data.encoding import splits_hash
from nlptl.data.progress import doing, waiting
from nlptl.errors import RunError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.flops import training_flops
from nlptl.models.heads import Read
from nlptl.models.loading import load_tokenizer, load_with_head, pooling_under, share_padding
from nlptl.models.one_token import last_block_for_one_token
from nlptl.models.pooling import PooledClassifier
from nlptl.models.reuse import reused
from nlptl.models.tokenizer import longest_input
from nlptl.modes.base import Manifest, Mode, apply_mode, first_mode
from nlptl.records import Batches, FitState, Hook
from nlptl.tasks.base import EncodedSplit, Task
from nlptl.train.copies import Copies
from nlptl.train.defaults import fill_learner
from nlptl.train.head import HeadInputs, HeadStart, rate_groups, start_head
from nlptl.train.hooks import ProgressBar, Trackers
from nlptl.train.keep_close import kept_close, mixed_weights, pretrained
from nlptl.train.keeping import keep_best, without_steps
from nlptl.train.loop import predict
from nlptl.train.losses import Loss, Outputs, TaskLoss, loss_for
from nlptl.train.machine import PeakMemory
from nlptl.train.setup import FinetuneArgs, TrainArgs, seed_dropout, train
from nlptl.train.stem_cache.plan import check_fed, open_cache
from nlptl.train.stem_cache.stem_cache import StemCache
from nlptl.train.terminal import say


class Learner:
    """The parts of :func:`nlptl.train.finetune.finetune`, which every outer loop calls.

    Example::

        learner = Learner(task, args, accelerator).mode(args.mode)
        learner.fit(train, validation=validation)
        learner.score(test)

    Args:
        task: Task of the examples.
        args: Checkpoint and hyper-parameters; a rate or epochs that are None get their defaults for the first
            training set.
        accelerator: Accelerator from :func:`nlptl.train.setup.start_accelerator`, which seeds the head too.
        model: A live model with the task's head; None loads the checkpoint.

    Attributes:
        model: The model, wrapped by peft where the mode does so; trained in place.
        tokenizer: Its tokenizer.
        newly_initialized: Parameters that the checkpoint did not have.
        manifest: Counts of what trains, after :meth:`mode`.
        notes: Sentences for the user about what the model cannot learn or sees less of.
        encoded: The splits that are prepared, by name.
        cache: The kept states of their frozen blocks; None if there are none.
        history: A line for each epoch of the last fit: losses and validation metrics.
        best: Index in ``history`` of the epoch that was kept.
        searches: The last fit's range tests for a learning rate, one for each stage
            (:meth:`nlptl.train.rate_finder.RateSearch.record`).
        flops: Operations of the last fit.
        identity: Identity of its loss (:meth:`nlptl.train.losses.Loss.identity`).
        head: Convex fit that the head started from; None if it started otherwise.
        head_started: Whether the head has its start, so that a further fit goes on from it.
        head_rates: Factors of the rate that the fit asks for, by parameter.
        known: Labels and hash of the prepared splits; None before they were asked for.
        head_fitted: Whether a convex fit was its start, in this process or before a resumed run was killed.
        memory: Most memory held since the learner was made.
        copies: Training tables with changed copies of their texts, where ``--augment`` asks for them.
    """

    def __init__(
        self, task: Task, args: FinetuneArgs, accelerator: Any, *, model: Any = None
    ) -> None:
        gc.collect()  # an earlier model, which refers to itself, must not take this one's memory
        self.memory = PeakMemory(accelerator.device)
        args = replace(args, pooling=pooling_under(task, args.model, args.pooling))
        self.task, self.args, self.accelerator = task, args, accelerator
        self.newly_initialized: frozenset[str] = frozenset()
        self.notes: list[str] = []
        self._loaded: tuple[str, ...] = ()
        if model is None:
            with waiting(f"loading {args.model}"):
                loaded = load_with_head(
                    args.model, auto_class=task.auto_class, head=task.head, pooling=args.pooling
                )
            self.model, self.tokenizer = loaded.model, loaded.tokenizer
            self.newly_initialized, self._loaded = loaded.new, loaded.notices
            self.model, drawn = reused(self.model, args.keep_layers, args.reinit_top)
            self.newly_initialized |= drawn
        else:
            self.model, self.tokenizer = model, load_tokenizer(args.model)
            self._loaded = tuple(share_padding(unwrap_peft(model), self.tokenizer))
        config = unwrap_peft(self.model).config
        self.max_length = longest_input(
            config,
            self.tokenizer,
            args.max_length,
            usual=task.usual_length,
            taken=args.mode.vectors,
        )
        if isinstance(self.model, PooledClassifier):
            self.model.max_length = self.max_length  # for the directory that is written
        self.collate = task.collator(self.tokenizer)
        self.copies = Copies(task, args, accelerator)
        self.manifest: Manifest | None = None
        self.current: Mode | None = None
        self.tables: dict[str, Any] = {}
        self.encoded: dict[str, EncodedSplit] = {}
        self.cache: StemCache | None = None
        self.history: list[dict[str, Any]] = []
        self.searches: list[dict[str, Any]] = []
        self.best = 0
        self.flops, self.identity = 0.0, ""
        self.head: HeadStart | None = None
        self.head_started = self.head_fitted = False
        self.head_rates: dict[str, float] = {}
        self.known: dict[str, Any] | None = None
        self._opened = self._left_out = self._one = False
        close = bool(args.l2_sp or args.mixout)
        self.start = pretrained(self.model, but=self.newly_initialized) if close else {}

    def mode(self, mode: Mode) -> "Learner":
        """Set what trains; any mode after any other equals that mode alone.

        For a mode with stages the first one is set; :meth:`fit` goes on to the others.

        Raises:
            ModeError: If the mode does not fit the model.
        """
        self.model, self.manifest = apply_mode(
            self.model,
            first_mode(self.model, mode),
            newly_initialized=self.newly_initialized,
            task_type=self.task.peft_type,
            notices=self._loaded,
        )
        self.current = mode
        self.cache, self._opened = None, False
        seed_dropout(self.accelerator, self.args.seed)
        return self

    def loss(self) -> TaskLoss:
        """Return the task's own loss around the model as it is now."""
        return TaskLoss(self.model, self.task)

    def prepare(self, splits: Mapping[str, Any], loss: Loss | None = None) -> None:
        """Tokenize splits, and compute their frozen blocks once if that pays.

        Args:
            splits: Mapping from names to :class:`datasets.Dataset`; :meth:`fit` and :meth:`predict`
                recognize them.
            loss: Training loss; it says whether states may be kept.
        """
        fill_learner(self, splits.get("train"))
        if "train" in splits:
            splits = {**splits, "train": self.copies.made(splits["train"])}
        self.encoded = {name: self.encode(table) for name, table in splits.items()}
        self.tables, self.known = dict(splits), None
        found = list(self._loaded)
        if any(self.truncated.values()):
            counts = ", ".join(f"{n} of {name}" for name, n in self.truncated.items() if n)
            limited = self.task.truncation_notice.format(limit=self.max_length)
            found.append(f"{limited} were cut: {counts}.")
        found += self.task.notes(self.encoded, self.tokenizer)
        for note in found:
            if note not in self.notes:  # an outer loop prepares many times
                self.notes.append(note)
                say(f"note: {note}")
        self._open(loss)

    def _open(self, loss: Loss | None) -> None:
        """Decide once under each mode whether states are kept."""
        self._opened = True
        with self.one_token():
            self.cache = open_cache(self, loss)

    @property
    def truncated(self) -> dict[str, int]:
        """Number of texts of each prepared split that were longer than the model takes."""
        return {name: part.truncated for name, part in self.encoded.items()}

    def batches(
        self, table: Any, *, seed: int | None = None, batch_size: int | None = None
    ) -> Batches:
        """Cut a table into batches of similar length.

        Args:
            table: A prepared split, or any other table of the task's form.
            seed: Seed of the order of a training set; None sorts by length (for predictions).
            batch_size: Examples per batch over all processes; None takes the arguments' number, doubled for
                predictions.
        """
        return self._stream(table, seed=seed, batch_size=batch_size)[1]

    def _stream(
        self, table: Any, *, seed: int | None = None, batch_size: int | None = None
    ) -> tuple[EncodedSplit, Batches]:
        """Return the encoded table and its batches, of cached states if the table is prepared and cached."""
        size = batch_size or self.args.batch_size * (1 if seed is not None else 2)
        table = table if seed is None else self.copies.known(table)
        name = self._name(table)
        if name and self.cache:
            return self.encoded[name], self.cache.batches(name, batch_size=size, seed=seed)
        part = self.encoded[name] if name else self.encode(table)
        process = (self.accelerator.process_index, self.accelerator.num_processes)
        return part, LengthBatches(
            part.rows, part.lengths, self.collate, batch_size=size, seed=seed, process=process
        )

    def _name(self, table: Any) -> str | None:
        return next((name for name, known in self.tables.items() if known is table), None)

    def encode(self, table: Any) -> EncodedSplit:
        """Tokenize a table; one process does it for all."""
        with self.accelerator.main_process_first():  # the others read what the first one tokenized
            return self.task.encode(table, self.tokenizer, self.max_length)

    def fit(
        self,
        data: Any,
        *,
        loss: Loss | Callable[["Learner"], Loss] | None = None,
        validation: Any = None,
        plan: TrainArgs | None = None,
        hooks: Sequence[Hook] = (),
        home: Path | None = None,
        resume: bool = False,
    ) -> FitState:
        """Train; with validation data, restore the weights of the epoch that they choose at the end.

        Args:
            data: A table, or your own :class:`nlptl.records.Batches`.
            loss: Training loss; None takes the task's own. Under a mode with stages that wrap the
                model, a function of the learner that makes it. Validation always uses the task's own.
            validation: Table that the epoch is chosen on (:class:`nlptl.train.hooks.KeepBest`).
            plan: Length and manner of the training; None follows from the arguments.
            hooks: Observers besides the progress bar and the trackers.
            home: Directory of the checkpoints; for a mode with stages, they go to ``stage-<number>`` below it.
            resume: Whether to continue from the newest intact checkpoint.

        Returns:
            The final state; for a mode with stages, the last stage's with the rates of all.

        Raises:
            RunError: If the loss holds another model than the learner's.
            ConfigError: If the loss cannot go with cached states that are there or asked for.
        """
        self.history, self.best, self.flops, self.searches = [], 0, 0.0, []
        fill_learner(self, data)
        data = self.copies.made(data)
        if self.current is not None and self.current.staged:
            from nlptl.train.stages import fit_stages

            return fit_stages(
                self,
                data,
                loss,
                validation=validation,
                plan=plan,
                hooks=hooks,
                home=home,
                resume=resume,
            )
        made = loss_for(self, loss)
        made = kept_close(made, self.start, self.args.l2_sp)
        if not hasattr(data, "epoch") and self._name(data) is None:
            more = {} if validation is None else {"validation": validation}
            self.prepare({"train": data, **more}, made)
        elif self._name(data) and not self._opened:
            self._open(made)
        started = self.start_head(data) if self._name(data) else None
        stream = data if hasattr(data, "epoch") else self.batches(data, seed=self.args.seed)
        cached, self.identity = check_fed(stream, made), made.identity()
        keeper = [] if validation is None else [keep_best(self, validation)]
        untrained = self.current is not None and self.current.definition.untrained
        if untrained or self._fitted(made):
            state = without_steps(self, made, len(stream), keeper)
            self._count(data, state, cached, looks=int(started is not None))
            return state
        args = plan or self.args.plan(len(stream))
        if args.groups is None:
            args = replace(args, groups=rate_groups(self))
        self.model.to(self.accelerator.device)  # starting a GPU is not part of training
        mixed = mixed_weights(self.model, self.start, self.args.mixout)
        with self._reading(cached, checked=cached), self._feeding(made, cached), mixed:
            if self.args.find_rate:
                args = self._with_found_rate(made, stream, args)
            state = train(
                made,
                stream,
                args=args,
                accelerator=self.accelerator,
                hooks=[ProgressBar(), Trackers(self.accelerator), *hooks, *keeper],
                checkpoint_dir=home,
                checkpoint_every=self.args.save_every,
                resume=resume,
                about=self.about(data, validation) if home else None,
            )
        state.clock.add(training=sum(found["seconds"] for found in self.searches), scoring=0.0)
        for hook in keeper:
            self.history, self.best = hook.history, hook.best or 0
        if started:
            state.clock.add(training=started.seconds, scoring=0.0)
        self._count(data, state, cached, looks=int(started is not None))
        return state

    def about(self, data: Any, validation: Any = None) -> dict[str, Any]:
        """Return what a resumed run must have in common with its checkpoints: labels, a hash of the data."""
        if self.known is None:
            labels = list(getattr(self.task, "labels", None) or [])
            given = {"train": data, "validation": validation}
            tables = self.tables if self._name(data) else given
            # Neither batches nor None.
            tables = {n: t for n, t in tables.items() if hasattr(t, "iter")}
            self.known = {"labels": labels, "data": splits_hash(tables)}
        return self.known

    def _count(self, data: Any, state: FitState, cached: bool, *, looks: int) -> None:
        """Count the operations of a fit on a prepared table."""
        if name := self._name(data):
            self.flops = training_flops(
                self.model,
                self.encoded[name].lengths,
                state.step / state.steps_per_epoch,
                cached=cached,
                pooled=self.task.pooled,
                looks=looks,
            )

    @property
    def tempers(self) -> bool:
        """Whether the outputs may be divided by a temperature after training."""
        return self.args.head != "random" and (
            self.current is None or self.current.definition.convex_start
        )

    def start_head(self, table: Any) -> HeadStart | None:
        """Start a new head from a convex fit, once (:func:`nlptl.train.head.start_head`).

        :meth:`fit` does it for a table. Whoever gives batches of another kind calls it first.

        Args:
            table: A prepared split with labels.

        Returns:
            The fit, if it was made now.
        """
        mode = self.current
        wanted = mode is None or mode.definition.convex_start
        if self.head_started or self.args.head == "random" or not wanted:
            return None
        self.head_started = True
        self.model.to(self.accelerator.device)
        table = self.copies.known(table)
        self.head = start_head(self, table, refit=bool(mode and not mode.trains_blocks))
        if self.head:
            self.head_rates = self.head.rates
            say(self.head)
        self.head_fitted = self.head is not None
        return self.head

    def head_states(
        self, table: Any
    ) -> tuple[EncodedSplit, dict[str, list[np.ndarray]], Read | None]:
        """Compute what the linear layers of the head read of each row (:class:`nlptl.train.head.HeadInputs`).

        Returns:
            The encoded rows, the states by name, and the layers that read them.
        """
        loss = HeadInputs(self.model, self.task)
        with doing("states for the head"):
            part, rows, _ = self.predict_rows(table, loss)
        return part, rows, loss.read

    def _fitted(self, loss: Loss) -> bool:
        """Whether the convex fit of the head is the whole training."""
        head_alone = self.current is not None and not self.current.trains_blocks
        whole = self.head is not None and self.head.whole and self.args.head == "fit"
        return head_alone and whole and loss.identity() == self.loss().identity()

    def _with_found_rate(self, loss: Loss, stream: Batches, args: TrainArgs) -> TrainArgs:
        """Replace the peak rate by that of a range test on training batches, if there is one."""
        from nlptl.train.rate_finder import find_rate

        found = find_rate(loss, stream, args=args, accelerator=self.accelerator)
        self.searches.append(found.record())
        say(found)
        if found.rate is None:
            return args
        self.args = replace(self.args, learning_rate=found.rate)  # for the record
        return replace(args, learning_rate=found.rate)

    def judge(self, table: Any) -> tuple[list[dict[str, Any]], float]:
        """Predict a labelled table: one record per example, and the mean of the task's own loss."""
        part, rows, loss = self.predict_rows(table, self.loss())
        return self.task.predictions(table, part, rows), loss

    def predict(self, table: Any) -> list[dict[str, Any]]:
        """Predict a table, with or without labels: one record per example, in their order."""
        part, rows, _ = self.predict_rows(table, Outputs(self.model, self.task))
        return self.task.predictions(table, part, rows)

    def score(self, table: Any) -> dict[str, float]:
        """Score a labelled table by the task's metrics, each with its standard error under ``<name>_se``."""
        return self.task.score(self.predict(table))

    def features(self, table: Any) -> np.ndarray:
        """Compute the state of each encoded row that the head reads, ``(rows, width)``, float32."""
        loss = Outputs(self.model, self.task, features=True)
        _, rows, _ = self.predict_rows(table, loss)
        loss.unwatch()
        return np.stack(rows["features"])

    def predict_rows(
        self, table: Any, loss: Loss
    ) -> tuple[EncodedSplit, dict[str, list[np.ndarray]], float]:
        """Run a loss over a table in eval mode; return the encoded rows, its outputs by row, its mean."""
        part, stream = self._stream(table)
        cached = check_fed(stream, loss)
        self.model.to(self.accelerator.device)
        loss.train(self.model.training)
        with self._reading(cached), self._feeding(loss, cached):
            rows, mean = predict(loss, stream, accelerator=self.accelerator)
        return part, rows, mean

    def state(self) -> dict[str, Tensor]:
        """Copy what trains, and nothing else, by name."""
        return {n: p.detach().clone() for n, p in self._trainable().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` gave, of this learner or of another one in the same mode.

        Raises:
            RunError: If the names differ from what trains here.
        """
        own = self._trainable()
        if odd := sorted(set(own) ^ set(state)):
            raise RunError(
                f"The state does not fit: {len(odd)} tensors differ from what trains here ({odd[0]}, …). Give "
                "one of a learner with the same checkpoint, task and mode."
            )
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)
        self.head_started = True

    def _trainable(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    @contextmanager
    def _reading(self, cached: bool, *, checked: bool = False) -> Iterator[None]:
        """Let the model compute only what is read: one token of a text, nothing below cached states.

        Args:
            cached: Whether cached states are fed.
            checked: Whether to make sure afterwards that the frozen weights have not changed.
        """
        with self.one_token():
            if self.cache is None or cached == self._left_out:
                yield
                return
            stem = self.cache.stem
            self._left_out = cached
            try:
                with (
                    self.cache.active() if checked else stem.left_out() if cached else stem.whole()
                ):
                    yield
            finally:
                self._left_out = not cached

    @contextmanager
    def one_token(self) -> Iterator[None]:
        """Compute one token per text within, where the head reads one; blocks are left out inside it."""
        if self._one or not self.task.pooled:
            yield
            return
        self._one = True
        try:
            with last_block_for_one_token(self.model):
                yield
        finally:
            self._one = False

    def _feeding(self, loss: Loss, cached: bool) -> Any:
        return self.cache.feeding(loss) if self.cache and cached else nullcontext()
