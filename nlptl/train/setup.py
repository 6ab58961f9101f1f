"""Preparation of a run before the loop: processes, seeds, optimizer, schedule, and where to resume."""

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from nlptl.data.augment.options import ALPHA, COPIES, Way
from nlptl.errors import ModelError, RunError
from nlptl.models.adapters import plain_name, unwrap_peft
from nlptl.models.layer_map import layer_map
from nlptl.models.pooling import Pooling
from nlptl.modes.base import Mode, parse_mode
from nlptl.records import Batches, Clock, FitState, Hook
from nlptl.train import checkpoints
from nlptl.train.dropout import dropout_made_cheap
from nlptl.train.intervals import Interval
from nlptl.train.launch import check_launch
from nlptl.train.loop import fit
from nlptl.train.losses import Loss
from nlptl.train.machine import launchers_environment, use_cores
from nlptl.train.optimizer import make_optimizer, make_schedule, warmup_steps
from nlptl.train.precision import forget_precision
from nlptl.train.saving import SaveCheckpoints
from nlptl.train.stem_cache.plan import Kind
from nlptl.train.stopping import StopAtSignal, held
from nlptl.train.watch import begun_together, watch_over

#: Time that a process waits for another one before it gives up.
LONGEST_WAIT = timedelta(hours=12)


def new_accelerator(*, kwargs_handlers: Sequence[Any] = (), **options: Any) -> Any:
    """Start Accelerate with the settings of ``accelerate launch``, for any number of processes.

    Args:
        kwargs_handlers: Further handlers of Accelerate, such as ``DistributedDataParallelKwargs``; they
            override those that nlptl sets itself.
        options: Further arguments of :class:`accelerate.Accelerator`.

    Raises:
        UserError: If the launch asks for something that nlptl does not do.
    """
    from accelerate import Accelerator, InitProcessGroupKwargs

    check_launch(os.environ, launchers_environment())
    use_cores()
    forget_precision()
    handlers = list(kwargs_handlers)
    if not any(isinstance(handler, InitProcessGroupKwargs) for handler in handlers):
        # One process tokenizes or reads a teacher for all, which may take longer than the usual ten minutes.
        handlers.append(InitProcessGroupKwargs(timeout=LONGEST_WAIT))
    # Without `cpu`, each of several torchrun processes on CPUs would train alone, unsynchronised.
    with begun_together(os.environ):
        made = Accelerator(
            **{"cpu": not torch.accelerator.is_available(), "kwargs_handlers": handlers, **options}
        )
    watch_over(made)
    return made


def start_accelerator(*, tracker: str | None, output_dir: Path, seed: int, **options: Any) -> Any:
    """Start Accelerate with the settings of ``accelerate launch``, and seed everything.

    Args:
        tracker: Name of a tracker, or None.
        output_dir: Directory for a tracker that writes files.
        seed: Seed, the same on every process because the head must start equal everywhere.
        options: Further arguments of :func:`new_accelerator`.
    """
    from accelerate.utils import set_seed

    accelerator = new_accelerator(
        log_with=tracker, project_dir=str(output_dir) if tracker else None, **options
    )
    if tracker:
        accelerator.init_trackers(output_dir.name)
    set_seed(seed)
    return accelerator


def seed_dropout(accelerator: Any, seed: int) -> None:
    """Seed each process differently: heads start equal everywhere, dropout must not be."""
    from accelerate.utils import set_seed

    set_seed(seed + accelerator.process_index)


def steps_for(epochs: float, batches: int, gradient_accumulation_steps: int) -> int:
    """Count the optimizer steps in ``epochs``, at least one; a ragged last window counts as one."""
    return max(1, round(epochs * math.ceil(batches / gradient_accumulation_steps)))


@dataclass(frozen=True)
class TrainArgs:
    """Length and manner of a training.

    Attributes:
        steps: Number of optimizer steps.
        learning_rate: Peak learning rate.
        warmup: Share of the steps (below 1), or a number of steps.
        weight_decay: Weight decay of AdamW.
        gradient_accumulation_steps: Batches per optimizer step.
        max_grad_norm: Global norm that gradients are clipped to; None for no clipping.
        schedule: Schedule of the rate (:data:`nlptl.train.optimizer.SCHEDULES`).
        betas: Decay of Adam's moment estimates.
        optimizer: Optimizer: ``adamw`` or ``adafactor``.
        compile: Whether the model is compiled, for batches of any shape.
        gradient_checkpointing: Whether activations are recomputed instead of kept.
        groups: Parameter groups with their own rates, as a mode gives them
            (:func:`nlptl.train.optimizer.make_optimizer`); None for one rate.
        first_epoch: Number of the first epoch, which the order of the examples depends on.
    """

    steps: int
    learning_rate: float
    warmup: float = 0.1
    weight_decay: float = 0.01
    gradient_accumulation_steps: int = 1
    max_grad_norm: float | None = 1.0
    schedule: str = "linear"
    betas: tuple[float, float] = (0.9, 0.999)
    optimizer: str = "adamw"
    compile: bool = False
    gradient_checkpointing: bool = False
    groups: Sequence[Mapping[str, Any]] | None = None
    first_epoch: int = 0


@dataclass(frozen=True)
class FinetuneArgs:
    """Arguments of a fine-tuning.

    Attributes:
        model: Bundled name, directory or hub name of the checkpoint.
        mode: What trains.
        learning_rate: Peak learning rate; None takes the default for mode and checkpoint
            (:func:`nlptl.train.defaults.fill_defaults`).
        epochs: Passes over the training set; None takes the default for mode and number of examples.
        batch_size: Examples per batch, over all processes.
        gradient_accumulation_steps: Batches per optimizer step.
        warmup: Share of the steps (below 1), or a number of steps.
        weight_decay: Weight decay of AdamW.
        max_grad_norm: Global norm that gradients are clipped to; None for no clipping.
        max_length: Tokens per text; None takes as many as the model, at most the task's usual length.
        pooling: What the head reads of a text: the ``first`` or ``last`` token or the ``mean``; ``auto`` is
            resolved by the checkpoint (:func:`nlptl.models.loading.reading`). None where each token has its
            own output.
        patience: Epochs without a better validation score before stopping; None never stops.
        seed: Seed of the head, the data order and dropout.
        cache: Place of the states of frozen blocks: ``auto``, ``off``, ``memory`` or ``disk``.
        compile: Whether the model is compiled.
        gradient_checkpointing: Whether activations are recomputed instead of kept.
        find_rate: Whether a range test on training batches chooses the peak rate
            (:func:`nlptl.train.rate_finder.find_rate`); ``learning_rate`` is what it falls back on.
        head: Start of a new head: ``fit`` (a convex fit, which is also all that a mode does that trains the
            head alone), ``start`` (a convex fit, and training goes on from there) or ``random``.
        schedule: Schedule of the rate (:data:`nlptl.train.optimizer.SCHEDULES`).
        layer_decay: Factor of the rate from block to block downwards; 1 for one rate.
        l2_sp: Weight of the penalty on the distance to the pretrained weights (:mod:`nlptl.train.keep_close`).
        mixout: Probability of a pretrained value in place of a trained one (there too).
        keep_layers: Blocks that are kept of the checkpoint, as :func:`nlptl.models.reuse.read_kept` reads
            them; None for all.
        reinit_top: Number of highest blocks that start at random.
        save_every: Steps between checkpoints, or minutes, such as ``10m``, besides the ends of epochs.
        augment: Way of changing copies of the training texts (:mod:`nlptl.train.augmenting`); None for none.
        augment_alpha: Share of a text's words that a copy changes.
        augment_copies: Copies of each text.
        augment_model: Checkpoint whose words they take; None for ``model``.
    """

    model: str = "bundled/bert"
    mode: Mode = field(default_factory=partial(parse_mode, "full"))
    # None until the number of examples is known; whatever trains has both.
    learning_rate: float = None  # type: ignore[assignment]
    epochs: float = None  # type: ignore[assignment]
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float | None = 1.0
    max_length: int | None = None
    pooling: Pooling | None = "auto"
    patience: int | None = None
    seed: int = 0
    cache: Kind = "auto"
    compile: bool = False
    gradient_checkpointing: bool = False
    find_rate: bool = False
    head: Literal["fit", "start", "random"] = "fit"
    schedule: str = "linear"
    layer_decay: float = 1.0
    l2_sp: float = 0.0
    mixout: float = 0.0
    keep_layers: str | None = None
    reinit_top: int = 0
    save_every: int | str | Interval = "10m"
    augment: Way | None = None
    augment_alpha: float = ALPHA
    augment_copies: int = COPIES
    augment_model: str | None = None

    def plan(self, batches: int) -> TrainArgs:
        """Return length and manner of the training for so many batches per epoch."""
        same = {f.name: getattr(self, f.name) for f in fields(TrainArgs) if hasattr(self, f.name)}
        steps = steps_for(self.epochs, batches, self.gradient_accumulation_steps)
        return TrainArgs(steps=steps, **same)


def _checkpoint_activations(loss: Loss) -> None:
    # Not re-entrant: that kind finds no gradient behind frozen blocks and trains nothing.
    for model in loss.models():
        found: Any = next(m for m in model.modules() if hasattr(m, "gradient_checkpointing_enable"))
        found.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def train(
    loss: Loss,
    batches: Batches,
    *,
    args: TrainArgs,
    accelerator: Any,
    hooks: Sequence[Hook] = (),
    checkpoint_dir: Path | None = None,
    checkpoint_every: int | str | Interval | None = None,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
) -> FitState:
    """Prepare a loss and its model for their devices, and fit, from the start or from a checkpoint.

    Args:
        loss: Loss around a model that is already frozen where it does not train; trained in place.
        batches: Source of batches.
        args: Length and manner of the training.
        accelerator: Accelerator with devices, processes and precision.
        hooks: Observers. Every hook with a ``memory`` is written into the checkpoints, under the name of its
            class.
        checkpoint_dir: Directory of the checkpoints; None for none.
        checkpoint_every: Steps between checkpoints, or minutes, such as ``10m``, besides the ends of epochs.
        resume: Whether to continue from the newest intact checkpoint, if there is one.
        about: Values that must be the same when the run is resumed, such as labels and a hash of the data.

    Returns:
        The final state.
    """
    clock = Clock()
    if loss.find_unused or (accelerator.num_processes > 1 and unmoved(loss.model)):
        _look_for_unused(accelerator)
    if args.gradient_checkpointing:
        _checkpoint_activations(loss)
    if args.compile:
        loss.compile_model()  # in place: names and wrappers stay
    optimizers = _optimizers(loss, args)
    wrapped, *prepared = accelerator.prepare(loss, *optimizers.values())
    optimizers = dict(zip(optimizers, prepared, strict=True))
    schedules = [
        make_schedule(
            optimizer,
            name=args.schedule,
            warmup=warmup_steps(args.warmup, args.steps),
            total=args.steps,
        )
        for optimizer in optimizers.values()
    ]
    per_epoch = math.ceil(len(batches) / args.gradient_accumulation_steps)
    state = FitState(
        wrapped, optimizers, args.steps, per_epoch, epoch=args.first_epoch, clock=clock
    )
    memories = checkpoints.named_memories(hooks)
    if checkpoint_dir and resume and (path := checkpoints.newest(checkpoint_dir)):
        checkpoints.restore(
            path,
            state=state,
            accelerator=accelerator,
            schedules=schedules,
            memories=memories,
            about=about,
        )
    if checkpoint_dir:
        saver = SaveCheckpoints(
            checkpoint_dir,
            accelerator,
            schedules,
            memories=memories,
            every=checkpoint_every,
            about=about,
        )
        hooks = [*hooks, saver, StopAtSignal(saver, accelerator)]
    # A compiled model has random numbers of its own.
    cheap = nullcontext() if args.compile else dropout_made_cheap(loss)
    stops = held() if checkpoint_dir else nullcontext()
    with stops, warnings.catch_warnings(), cheap, _unused_explained():
        # All schedules follow the run; an optimizer whose turn has not come yet has made no step.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        state = fit(
            wrapped,
            batches,
            optimizers=optimizers,
            schedules=schedules,
            accelerator=accelerator,
            steps=args.steps,
            gradient_accumulation_steps=args.gradient_accumulation_steps,
            max_grad_norm=args.max_grad_norm,
            hooks=hooks,
            state=state,
        )
    # Accelerate keeps what it prepared: another fit on the same accelerator must not find it.
    accelerator._models.clear()
    accelerator._optimizers.clear()
    return state


def _optimizers(loss: Loss, args: TrainArgs) -> dict[str, Any]:
    """Make one optimizer per turn; that of ``model`` steps all parameters that no other turn names."""
    turns = {name: list(parameters) for name, parameters in loss.turns().items()}
    named = {id(p) for parameters in turns.values() for p in parameters}
    turns = {"model": [p for p in loss.parameters() if id(p) not in named], **turns}
    return {
        turn: make_optimizer(
            loss,
            learning_rate=args.learning_rate,
            weight_decay=args.weight_decay,
            betas=args.betas,
            name=args.optimizer,
            only=parameters if len(turns) > 1 else None,
            groups=args.groups,
        )
        for turn, parameters in turns.items()
    }


def unmoved(model: Any) -> list[str]:
    """List the parameters that train and that no text moves, such as XLNet's embedding of masks.

    Args:
        model: Model with its head, wrapped by peft or not; of one without a layer map nothing is known.
    """
    base = unwrap_peft(model)
    if not hasattr(base, "config"):  # no model of transformers
        return []
    try:
        unread = layer_map(base).unread
    except ModelError:
        return []
    trained = (name for name, p in base.named_parameters() if p.requires_grad)
    return [name for name in trained if plain_name(name) in unread]


@contextmanager
def _unused_explained() -> Iterator[None]:
    """Say in words of nlptl what DistributedDataParallel says of parameters without a gradient."""
    try:
        yield
    except RuntimeError as error:
        if "finished reduction in the prior iteration" not in str(error):
            raise
        raise RunError(
            "Some parameters that train got no gradient in a step, which several processes must know of "
            "before. Set find_unused = True on the loss or the term that leaves them out."
        ) from error


def _look_for_unused(accelerator: Any) -> None:
    from accelerate import DistributedDataParallelKwargs

    given = accelerator.ddp_handler or DistributedDataParallelKwargs()
    accelerator.ddp_handler = replace(given, find_unused_parameters=True)
