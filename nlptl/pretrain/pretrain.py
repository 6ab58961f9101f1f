"""Pretraining as one call: pieces, corruption, fit, held-out loss."""

import gc
import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from nlptl.models.adapters import is_lora, merge_adapter
from nlptl.models.flops import training_flops
from nlptl.models.loading import save_pretrained
from nlptl.pretrain.building import set_dropout
from nlptl.pretrain.held_out import held_out_loss
from nlptl.pretrain.objectives import Objective
from nlptl.pretrain.pieces import Pieces
from nlptl.records import FitState
from nlptl.train.checkpoints import START
from nlptl.train.hooks import EvaluateEvery, ProgressBar, SaveModels, Trackers
from nlptl.train.losses import Loss, Plus
from nlptl.train.machine import PeakMemory
from nlptl.train.run import Run
from nlptl.train.setup import TrainArgs, seed_dropout, train
from nlptl.train.terminal import say

#: Peak rate of AdamW for pretraining a whole checkpoint further, at the width given: half of a new model's,
#: which at a width of 768 is 8e-5 (Gururangan et al., 2020, adapted RoBERTa to a task's texts at 1e-4).
GOING_ON, AT_WIDTH = 5e-4, 128


@dataclass(frozen=True)
class PretrainArgs:
    """Arguments of a pretraining, with every field filled in.

    Attributes:
        train: Steps, rates and optimizer.
        batch_size: Pieces per batch, over all processes.
        max_length: Tokens per input, special tokens included.
        dropout: Dropout rate while training.
        seed: Seed of the order and the corruption.
        eval_every: Steps between held-out losses.
        save_every: Steps between checkpoints, or minutes, such as ``10m``, besides the ends of epochs.
        keep: Number of models to keep under ``models/`` at log-spaced steps, each with a line in the log.
    """

    train: TrainArgs
    batch_size: int
    max_length: int
    dropout: float = 0.0
    seed: int = 0
    eval_every: int = 1000
    save_every: int | str = "10m"
    keep: int = 0


@dataclass(frozen=True)
class Extra:
    """A loss term besides the objective's own loss.

    Attributes:
        name: Name of the term in logs.
        weight: Factor of the term.
        make: Function that makes it, a module of :mod:`nlptl.pretrain.terms`; called when the seed is set.
    """

    name: str
    weight: float
    make: Callable[[], Any]


def log_spaced(count: int, steps: int) -> list[int]:
    """List the steps at which models are kept: ``count`` of them, evenly spaced in the logarithm.

    Example:
        >>> log_spaced(4, 1000)
        [1, 10, 100, 1000]
    """
    return sorted({round(steps ** (i / max(1, count - 1))) for i in range(count)})


def pretrain(
    model: Any,
    tokenizer: Any,
    pieces: Pieces,
    args: PretrainArgs,
    *,
    objective: Objective,
    accelerator: Any,
    output_dir: Path,
    extras: Sequence[Extra] = (),
    resume: bool = False,
) -> Run:
    """Train a model on pieces of text with an upstream objective, in place.

    Args:
        model: Model, already frozen where it does not train.
        tokenizer: Its tokenizer.
        pieces: Pieces to train on, and pieces to score on, which are corrupted in the same way every time.
        args: Length and manner of the training.
        objective: Objective of the training.
        accelerator: Accelerator with devices, processes and precision.
        output_dir: Directory for ``log.jsonl``, ``checkpoints/`` and ``models/``.
        extras: Terms besides the objective's own loss, which alone is scored.
        resume: Whether to continue from the newest intact checkpoint.

    Returns:
        The trained model with its losses and its record.
    """
    gc.collect()
    memory = PeakMemory(accelerator.device)
    set_dropout(model, args.dropout)
    # Not before: a teacher may draw while it is loaded, and a resumed run loads none.
    seed_dropout(accelerator, args.seed)
    loss, collate = with_extras(objective, model, tokenizer, extras)
    batches = pieces.training(collate, args.batch_size, accelerator, seed=args.seed)
    aside = pieces.held_out(objective.collator(tokenizer), args.batch_size, accelerator)
    log = output_dir / "log.jsonl"
    state = train(
        loss,
        batches,
        args=args.train,
        accelerator=accelerator,
        hooks=[
            ProgressBar(),
            Trackers(accelerator),
            *_watchers(model, tokenizer, objective, aside, pieces, args, log, accelerator),
        ],
        checkpoint_dir=output_dir / "checkpoints",
        checkpoint_every=args.save_every,
        resume=resume,
    )
    accelerator.wait_for_everyone()  # for the log's last line
    run = _finished(model, tokenizer, objective, pieces, aside, state, log)
    run.settings |= _settings(args)
    run.like = start_of(output_dir)
    run.peak_memory, run.identity = round(memory.megabytes(), 1), loss.identity()
    return run


def _finished(
    model: Any,
    tokenizer: Any,
    objective: Objective,
    pieces: Pieces,
    aside: Any,
    state: FitState,
    log: Path,
) -> Run:
    """Make the record of a finished pretraining; its scores are in its log."""
    history = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    seconds, lengths = state.clock.training, pieces.lengths
    return Run(
        task=objective,
        model=model,
        tokenizer=tokenizer,
        judge=objective.loss,
        compared="losses",
        check_batch=next(iter(aside.epoch(0))),
        metrics=metrics(history),
        num_examples={
            **pieces.documents,
            "train_pieces": len(lengths),
            "held_out_pieces": len(aside.lengths),
            "held_out_tokens": history[-1]["tokens"] if history else 0,
        },
        history=history,
        timing={
            "train_seconds": round(seconds, 3),
            "held_out_seconds": round(state.clock.scoring, 3),
            "examples_per_second": round(state.examples / seconds, 2),
        },
        settings={},
        lr_history=state.lr_history,
        padding=state.padding,
        flops=_operations(model, lengths, state.examples, objective, tokenizer),
    )


def with_extras(
    objective: Objective, model: Any, tokenizer: Any, extras: Sequence[Extra]
) -> tuple[Loss, Any]:
    """Return an objective's loss with its terms, and the collate function that feeds all of them."""
    loss, collate = objective.loss(model), objective.collator(tokenizer)
    for extra in extras:
        term: Any = extra.make()
        collate = term.collator(collate, tokenizer)
        loss = Plus(loss, term, extra.weight, extra.name)
    return loss, collate


def _watchers(
    model: Any,
    tokenizer: Any,
    objective: Objective,
    aside: Any,
    pieces: Pieces,
    args: PretrainArgs,
    log: Path,
    accelerator: Any,
) -> list[Any]:
    """Make the hooks that score held-out text and keep models."""
    at = log_spaced(args.keep, args.train.steps) if args.keep else []

    def score(wrapped: nn.Module) -> dict[str, float]:
        judge = objective.loss(model).to(accelerator.device).train(model.training)
        return held_out_loss(judge, aside, objective, accelerator)

    def save(path: Path) -> None:
        # A copy, because merging takes the adapters off, and these go on training.
        whole = merge_adapter(deepcopy(model)) if is_lora(model) else model
        save_pretrained(whole, tokenizer, path, like=start_of(log.parent))

    each = float(pieces.lengths.mean())
    return [
        EvaluateEvery(
            score,
            log,
            accelerator,
            every=args.eval_every,
            at=at,
            tokens_each=each,
            report=say,
        ),
        SaveModels(save, log.parent / "models", accelerator, at),
    ]


def start_of(directory: Path) -> Path | None:
    """Return where a run keeps the model that it began with; None if it keeps none."""
    start = directory / START
    return start if (start / "config.json").exists() else None


def metrics(history: Sequence[Any]) -> dict[str, float]:
    """Return the held-out losses of the saved model and the start, nats per predicted token, with errors."""
    if not history:  # a process on another machine than the log
        return {}
    first, last = history[0], history[-1]
    return {
        "loss": last["loss"],
        "loss_se": last["se"],
        "start_loss": first["loss"],
        "start_loss_se": first["se"],
    }


def _settings(args: PretrainArgs) -> dict[str, Any]:
    # Parameter groups are tensors; the mode says what they are.
    values = asdict(replace(args, train=replace(args.train, groups=None)))
    train = values.pop("train")
    del train["groups"]
    return {**train, **values, "start_share": 0.0}


def _operations(
    model: Any, pieces: np.ndarray, seen: int, objective: Objective, tokenizer: Any
) -> float:
    """Count the operations of training on so many of these pieces, each of which was as likely to be seen."""
    kinds, which = np.unique(pieces, return_inverse=True)
    sizes = np.asarray([objective.lengths(int(tokens), tokenizer) for tokens in kinds])
    read, targets = sizes[which].T
    return training_flops(model, read, seen / len(pieces), cached=False, targets=targets)
