"""Fine-tuning as one call: checkpoint, head, mode, batches, fit, score."""

import gc
import math
import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.batching import LengthBatches
from nlptl.models.adapters import unwrap_peft
from nlptl.models.flops import training_flops
from nlptl.models.frozen_stem import FrozenStem, frozen_blocks
from nlptl.models.layer_map import layer_map
from nlptl.models.loading import load_with_head, longest_input
from nlptl.models.one_token import last_block_for_one_token
from nlptl.modes.base import Manifest, Mode, apply_mode
from nlptl.records import Batch, Batches, Collate, FitState
from nlptl.tasks.base import EncodedSplit, Task, supervised_step
from nlptl.train.hooks import KeepBest, ProgressBar, Trackers
from nlptl.train.memory import PeakMemory, free_memory
from nlptl.train.predict import predict
from nlptl.train.processes import from_main
from nlptl.train.setup import Plan, seed_dropout, steps_for, train
from nlptl.train.stem_cache.directory import free_disk
from nlptl.train.stem_cache.plan import Kind, choose, places, refusal
from nlptl.train.stem_cache.stem_cache import StemCache, TooLarge
from nlptl.train.stem_cache.store import free_states
from nlptl.train.terminal import say


@dataclass(frozen=True)
class FinetuneArgs:
    """How to fine-tune; every field is filled, none is a default any more.

    Attributes:
        model: Bundled name, directory or hub name.
        mode: What trains.
        learning_rate: Peak rate.
        epochs: Passes over the training set.
        batch_size: Examples a batch, over all processes.
        gradient_accumulation_steps: Batches a step.
        warmup: Share of the steps (below 1) or a count.
        weight_decay: AdamW's.
        max_grad_norm: Gradient clipping; None for none.
        max_length: Tokens a text; None takes what the model does, at most 512.
        patience: Epochs without a better validation score before stopping; None never stops.
        seed: Of head, order and dropout.
        cache: Where the states of frozen blocks are kept: ``auto``, ``off``, ``memory`` or ``disk``.
        compile: Compile the model.
        gradient_checkpointing: Compute activations twice instead of keeping them.
    """

    model: str
    mode: Mode
    learning_rate: float
    epochs: float
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float | None = 1.0
    max_length: int | None = None
    patience: int | None = None
    seed: int = 0
    cache: Kind = "auto"
    compile: bool = False
    gradient_checkpointing: bool = False


@dataclass
class FineTuned:
    """A finished fine-tuning.

    Attributes:
        task: The task.
        settings: As given.
        model: The trained model, the epoch that was kept, below Accelerate's wrappers (LoRA: peft's stays).
        tokenizer: Its tokenizer.
        manifest: What trained.
        new: Parameters that the checkpoint did not have.
        predictions: One record a test example.
        metrics: Of the test split, each with its standard error.
        history: A line an epoch: losses and validation metrics.
        best: Index in ``history`` of the epoch that was kept (:class:`nlptl.train.hooks.KeepBest`).
        timing: Seconds and examples a second.
        padding: Share of padding in training.
        lr_history: Learning rate of each step.
        n: Examples a split.
        cut: Texts a split that were longer than the model takes.
        notices: What the user should know.
        sample: A batch of test features, to compare logits with after reloading.
        cache: What the cache of frozen blocks did; None where there was none.
        flops: Operations of its training (:func:`nlptl.models.flops.training_flops`).
        peak_memory: Most memory held meanwhile, in millions of bytes.
    """

    task: Task
    settings: FinetuneArgs
    model: Any
    tokenizer: Any
    manifest: Manifest
    new: frozenset[str]
    predictions: list[dict[str, Any]]
    metrics: dict[str, float]
    history: list[dict[str, float]]
    best: int
    timing: dict[str, float]
    padding: float
    lr_history: list[float]
    n: dict[str, int]
    cut: dict[str, int]
    notices: list[str]
    sample: Batch
    cache: dict[str, Any] | None = None
    flops: float = 0.0
    peak_memory: float = 0.0
    compared = "logits"  # what :meth:`outputs` are

    @property
    def auto_class(self) -> Any:
        """The transformers auto class that opens the saved model."""
        return self.task.auto_class

    def outputs(self, model: Any) -> Mapping[str, Any]:
        """What a model makes of the sample, to compare a saved model with the trained one."""
        return self.task.outputs(model, self.sample.inputs)


def default_epochs(mode: Mode, examples: int, batch_size: int) -> float:
    """Three epochs, or as many as 500 steps take, at most 20; twice the steps for a head alone.

    Small sets fail for want of steps, not of data (Mosbach et al., 2021; Zhang et al., 2021).
    """
    least, steps, most = (5, 1000, 40) if mode.kind == "head-only" else (3, 500, 20)
    return float(min(most, max(least, math.ceil(steps * batch_size / max(1, examples)))))


def finetune(
    task: Task,
    splits: Mapping[str, Any],
    settings: FinetuneArgs,
    *,
    accelerator: Any,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
) -> FineTuned:
    """Fine-tune a checkpoint on ``train``, choose the epoch on ``validation``, score on ``test``.

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``, as :class:`datasets.Dataset`.
        settings: Checkpoint, mode and hyper-parameters.
        accelerator: From :func:`nlptl.train.setup.start_accelerator`, which seeds the head too.
        checkpoint_dir: Where ``--resume`` finds its checkpoints; None writes none.
        resume: Go on from the newest whole one.

    Returns:
        The trained model with its scores and its record.
    """
    gc.collect()  # an earlier run's model, which refers to itself, must not take this one's memory
    memory = PeakMemory(accelerator.device)
    loaded = load_with_head(settings.model, auto_class=task.auto_class, head=task.head)
    model, manifest = apply_mode(
        loaded.model, settings.mode, new=loaded.new, task_type=task.peft_type
    )
    seed_dropout(accelerator, settings.seed)
    notices = list(loaded.notices)
    say(manifest)
    max_length = longest_input(
        unwrap_peft(model).config, loaded.tokenizer, settings.max_length, usual=task.usual_length
    )
    with accelerator.main_process_first():  # the others read what the first one tokenized
        features = {
            name: task.encode(table, loaded.tokenizer, max_length) for name, table in splits.items()
        }
    cut = {name: part.truncated for name, part in features.items()}
    if any(cut.values()):
        counts = ", ".join(f"{count} of {name}" for name, count in cut.items() if count)
        notices.append(f"{task.truncation_notice.format(limit=max_length)} were cut: {counts}.")
    for notice in notices:
        say(f"note: {notice}")
    collate, step = task.collator(loaded.tokenizer), supervised_step(task)
    reading = partial(last_block_for_one_token, model) if task.pooled else nullcontext
    with reading():
        cache = open_cache(task, model, features, collate, settings, accelerator)
    if cache:
        step = cache.step(step)

    def batches(split: str, *, seed: int | None) -> Batches:
        size = settings.batch_size if seed is not None else 2 * settings.batch_size
        if cache:
            return cache.batches(split, batch_size=size, seed=seed)
        part = features[split]
        process = (accelerator.process_index, accelerator.num_processes)
        return LengthBatches(
            part.rows, part.lengths, collate, batch_size=size, seed=seed, process=process
        )

    def judge(model: Any, split: str) -> tuple[list[dict[str, Any]], float]:
        stream = batches(split, seed=None)
        rows, loss = predict(model, stream, step=step, accelerator=accelerator)
        return task.predictions(splits[split], features[split], rows), loss

    def validate(model: Any) -> dict[str, float]:
        predictions, loss = judge(model, "validation")
        return {**task.calibrate(predictions).score(predictions), "loss": loss}

    stream = batches("train", seed=settings.seed)
    keeper = KeepBest(
        validate,
        task.selection,
        accelerator,
        patience=settings.patience,
        report=say,
    )
    model.to(accelerator.device)  # starting a GPU is no part of training
    with reading(), cache.active() if cache else nullcontext():
        state = train(
            model,
            stream,
            step=step,
            plan=_plan(settings, len(stream)),
            accelerator=accelerator,
            hooks=[ProgressBar(accelerator), Trackers(accelerator), keeper],
            checkpoint_dir=checkpoint_dir,
            resume=resume,
        )
        train_seconds = state.clock.training
        began = time.perf_counter()
        if task.calibrates:  # on the kept epoch's model, and before the test set is seen
            task = task.calibrate(judge(state.model, "validation")[0])
        predictions, loss = judge(state.model, "test")
        test_seconds = time.perf_counter() - began
    if cache:
        say(cache)
    trained = accelerator.unwrap_model(state.model, keep_fp32_wrapper=False)
    trained._compiled_call_impl = None  # what is saved and read back is the plain model
    live = LengthBatches(
        features["test"].rows,
        features["test"].lengths,
        collate,
        batch_size=2 * settings.batch_size,
    )
    return FineTuned(
        task=task,
        settings=settings,
        model=trained.eval(),
        tokenizer=loaded.tokenizer,
        manifest=manifest,
        new=loaded.new,
        predictions=predictions,
        metrics={**task.score(predictions), "loss": loss},
        history=keeper.history,
        best=keeper.best or 0,
        timing=_timing(state, train_seconds, test_seconds, cache),
        padding=state.padding,
        lr_history=state.lr_history,
        n={name: len(table) for name, table in splits.items()},
        cut=cut,
        notices=notices,
        sample=next(iter(live.epoch(0))),
        cache=cache.record() if cache else None,
        flops=training_flops(
            trained,
            features["train"].lengths,
            state.step / state.steps_per_epoch,
            cached=cache is not None,
            pooled=task.pooled,
        ),
        peak_memory=round(memory.megabytes(), 1),
    )


def open_cache(
    task: Task,
    model: Any,
    features: Mapping[str, EncodedSplit],
    collate: Collate,
    settings: FinetuneArgs,
    accelerator: Any,
) -> StemCache | None:
    """Keep the states of the frozen blocks of all splits, where that pays (see ``stem_cache.plan.choose``).

    Returns:
        None where there is nothing to keep or nothing to gain; the user is told why.
    """
    prefix = FrozenStem(model, frozen_blocks(model))
    pooled = (
        layer_map(unwrap_peft(model)).family.pooled
        if task.pooled and prefix.blocks and prefix.whole
        else None
    )
    processes = accelerator.num_processes
    reason = refusal(
        settings.cache,
        blocks=prefix.blocks,
        passes=settings.epochs,
        machines=processes // int(os.environ.get("LOCAL_WORLD_SIZE") or processes),
    )
    if reason:
        free_states()  # another run's, which have served
        return _told(settings, reason)
    model.to(accelerator.device)
    cache = StemCache(
        prefix,
        outputs=lambda inputs: task.outputs(model, inputs),
        pooled=pooled,
        accelerator=accelerator,
        report=say,
    )
    free_states(but=cache.weights)
    lengths = np.concatenate([part.lengths for part in features.values()])
    plan = choose(
        settings.cache,
        blocks=prefix.blocks,
        values=(len(lengths) if pooled else int(lengths.sum())) * prefix.width * len(prefix.names),
        width=prefix.width,
        passes=settings.epochs,
        free_memory=free_memory(),
        free_disk=free_disk(),
        processes=processes,
        on_cpu=accelerator.device.type == "cpu",
        pooled=pooled is not None,
        kept=cache.look(features, collate, places(settings.cache, processes)),
    )
    cache.plan = plan = from_main(plan, accelerator)
    if plan.kind == "off":
        return _told(settings, plan.reason)
    try:
        for name, part in features.items():
            cache.add(name, part.rows, part.lengths, collate)
    except TooLarge:
        return _told(settings, "some states are beyond float16, and float32 does not fit")
    return cache


def _told(settings: FinetuneArgs, reason: str) -> None:
    if settings.mode.kind != "full" and settings.cache != "off":
        say(f"cache: off, {reason}")


def _plan(settings: FinetuneArgs, batches: int) -> Plan:
    return Plan(
        steps=steps_for(settings.epochs, batches, settings.gradient_accumulation_steps),
        learning_rate=settings.learning_rate,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        max_grad_norm=settings.max_grad_norm,
        compile=settings.compile,
        gradient_checkpointing=settings.gradient_checkpointing,
    )


def _timing(
    state: FitState, train: float, test: float, cache: StemCache | None
) -> dict[str, float]:
    took, validate = cache.took if cache else {}, state.clock.scoring
    train, validate, test = (
        seconds + took.get(split, 0.0)
        for split, seconds in (("train", train), ("validation", validate), ("test", test))
    )
    return {
        "train_seconds": round(train, 3),
        "validation_seconds": round(validate, 3),
        "test_seconds": round(test, 3),
        "examples_per_second": round((state.examples - state.examples_before) / train, 2),
    }
