"""Fine-tuning as one call: checkpoint, head, mode, batches, fit, score."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nlptl.data.batching import LengthBatches
from nlptl.data.progress import doing
from nlptl.data.rows import with_rows
from nlptl.records import FitState
from nlptl.tasks.base import Task
from nlptl.train.learner import Learner
from nlptl.train.losses import Loss, TaskLoss
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs
from nlptl.train.temperature import temper
from nlptl.train.terminal import say
from nlptl.train.units import in_own_unit


def finetune(
    task: Task,
    splits: Mapping[str, Any],
    args: FinetuneArgs,
    *,
    accelerator: Any,
    loss: Callable[[Learner], Loss] | None = None,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
) -> Run:
    """Fine-tune a checkpoint on ``train``, choose the epoch on ``validation``, score on ``test``.

    Without ``validation`` the last epoch is taken, and nothing is chosen.

    Args:
        task: Task of the examples.
        splits: ``train``, ``validation`` and ``test``, as :class:`datasets.Dataset`.
        args: Checkpoint, mode and hyper-parameters; a rate and epochs that are None get their defaults.
        accelerator: Accelerator from :func:`nlptl.train.setup.start_accelerator`, which seeds the head too.
        loss: Function that makes the training loss; None takes the task's own, which always scores.
        checkpoint_dir: Directory of the checkpoints that ``--resume`` needs; None writes none.
        resume: Whether to continue from the newest intact checkpoint.

    Returns:
        The trained model with its scores and its record.
    """
    learner = Learner(task, args, accelerator)
    say(learner.mode(args.mode).manifest)
    made = loss(learner) if loss else learner.loss()
    learner.prepare(splits, made)
    state = learner.fit(
        splits["train"],
        loss=loss if args.mode.staged else made,  # a stage may wrap the model
        validation=splits.get("validation"),
        home=checkpoint_dir,
        resume=resume,
    )
    return finished(learner, state, splits)


def finished(
    learner: Learner,
    state: FitState,
    splits: Mapping[str, Any],
    *,
    measured: Mapping[str, Any] | None = None,
) -> Run:
    """Score a trained learner on ``test``, and make the record of its run.

    What a task chooses on validation predictions, such as a threshold, is chosen first, on the epoch that was
    kept and before the test set is seen.

    Args:
        learner: Learner after :meth:`~nlptl.train.learner.Learner.fit`; ``test`` need not be prepared.
        state: State that the fit returned.
        splits: ``train``, ``validation`` (if there is one) and ``test``.
        measured: What the method measured besides, as JSON.
    """
    if "test" not in learner.encoded:  # the labels are read now, and not before
        learner.encoded["test"] = learner.encode(splits["test"])
    seconds, began = state.clock.training, time.perf_counter()
    held_out = splits.get("validation")
    tempered = temper(learner, held_out) if held_out is not None and learner.tempers else None
    if held_out is not None and learner.task.calibrates:
        learner.task = learner.task.calibrate(learner.judge(held_out)[0])
    with doing("test"):
        predictions, loss = learner.judge(splits["test"])
    timing = _timing(learner, state, seconds, time.perf_counter() - began)
    learner.task = in_own_unit(learner, splits["test"])
    if learner.cache:
        say(learner.cache)
    learner.model._compiled_call_impl = None  # what is saved and read back is the plain model
    return Run(
        task=learner.task,
        args=learner.args,
        model=learner.model.eval(),
        tokenizer=learner.tokenizer,
        judge=partial(TaskLoss, task=learner.task),
        check_batch=_check_batch(learner),
        manifest=learner.manifest,
        newly_initialized=learner.newly_initialized,
        splits=splits,
        predictions=with_rows(
            predictions,
            splits["test"],
            fields=learner.task.fields,
            gold=learner.task.gold_columns,
        ),
        metrics={**learner.task.score(predictions), "loss": loss},
        history=learner.history,
        best=learner.best,
        searches=learner.searches,
        timing=timing,
        settings=settings_record(learner.args),
        padding=state.padding,
        lr_history=state.lr_history,
        num_examples={name: len(table) for name, table in splits.items()},
        truncated=learner.truncated,
        notes=learner.notes,
        cache=learner.cache.record() if learner.cache else None,
        flops=learner.flops,
        peak_memory=round(learner.memory.megabytes(), 1),
        head=learner.head.record() if learner.head else None,
        temperature=tempered and tempered.value,
        identity=learner.identity,
        measured=dict(measured or {}),
        copies=learner.copies.record(),
    )


def settings_record(args: FinetuneArgs) -> dict[str, Any]:
    """Return the arguments as JSON; the record has the mode by name and with its settings."""
    settings = dataclasses.asdict(args)
    del settings["mode"]
    return settings


def _check_batch(learner: Learner) -> Any:
    part, size = learner.encoded["test"], 2 * learner.args.batch_size
    plain = LengthBatches(part.rows, part.lengths, learner.collate, batch_size=size)
    return next(iter(plain.epoch(0)))


def _timing(learner: Learner, state: FitState, train: float, test: float) -> dict[str, float]:
    took, validate = learner.cache.took if learner.cache else {}, state.clock.scoring
    train += (learner.copies.record() or {"seconds": 0.0})["seconds"]
    train, validate, test = (
        seconds + took.get(split, 0.0)
        for split, seconds in (("train", train), ("validation", validate), ("test", test))
    )
    return {
        "train_seconds": round(train, 3),
        "validation_seconds": round(validate, 3),
        "test_seconds": round(test, 3),
        "examples_per_second": round(state.examples / train, 2),
    }
