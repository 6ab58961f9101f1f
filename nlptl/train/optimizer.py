"""Optimizers over what is trainable, and learning-rate schedules counted in optimizer steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from nlptl.errors import ConfigError, RunError, many

#: Optimizers with their usual rate for pretraining a small model.
OPTIMIZERS = {"adamw": 1e-3, "adafactor": 2e-2}
SCHEDULES = ("linear", "cosine", "constant", "slanted")
#: How much smaller the lowest rate of a slanted triangle is than its highest (Howard & Ruder, 2018).
RATIO = 32


def decayed(model: nn.Module) -> set[str]:
    """Return the names of the trainable parameters that weight decay applies to.

    Biases and everything inside a normalisation layer are left out, T5's ``layer_norm`` included:
    the test is the module's class, not a list of parameter names (the list in the transformers
    ``no_trainer`` examples misses all of T5's).
    """
    names = set()
    for prefix, module in model.named_modules():
        if "norm" in type(module).__name__.lower():
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and name != "bias":
                names.add(f"{prefix}.{name}" if prefix else name)
    return names & {name for name, _ in model.named_parameters()}  # a shared tensor counts once


def make_optimizer(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    name: str = "adamw",
    only: Sequence[nn.Parameter] | None = None,
    groups: Sequence[Mapping[str, Any]] | None = None,
) -> torch.optim.Optimizer:
    """Build an optimizer over the trainable parameters.

    ``adamw`` is bias-corrected (Loshchilov & Hutter, 2019). ``adafactor`` (Shazeer & Stern, 2018) moves each
    tensor in proportion to its own size, which T5 needs from scratch: its embeddings start with a standard
    deviation of 1 and its queries with 0.01, and one rate for both leaves it at the unigram plateau.

    Args:
        model: Model whose frozen parameters are in no group.
        learning_rate: Peak rate; for Adafactor relative to a tensor's size, and at most 1 / sqrt(step).
        weight_decay: Weight decay of the parameters named by :func:`decayed`; the others get none.
        betas: Decay of AdamW's moment estimates.
        name: A key of :data:`OPTIMIZERS`.
        only: Parameters to take; None takes all that train.
        groups: Parameters with their own rate, each ``{"params": [...], "rate": factor of the peak}``
            (:meth:`nlptl.modes.base.Mode.parameter_groups`); those in no group have the factor 1, and frozen
            ones are left out. The optimizer's groups come by falling rate, so that the first one's, which is
            logged, is the highest. None for one rate.

    Raises:
        RunError: If nothing is trainable, or the groups are not of this model.
    """
    own = None if only is None else {id(p) for p in only}
    trainable = {
        name: p
        for name, p in model.named_parameters()
        if p.requires_grad and (own is None or id(p) in own)
    }
    if not trainable:
        raise RunError("The model has no trainable parameter, so there is nothing to optimize.")
    with_decay = decayed(model)
    factors = None if groups is None else _factors(model, groups)
    made = []
    for factor in [1.0] if factors is None else sorted({1.0, *factors.values()}, reverse=True):
        own = {n: p for n, p in trainable.items() if (factors or {}).get(id(p), 1.0) == factor}
        rate = {} if factors is None else {"lr": learning_rate * factor}
        for decay, inside in ((weight_decay, True), (0.0, False)):
            params = [p for n, p in own.items() if (n in with_decay) == inside]
            made += [{"params": params, "weight_decay": decay, **rate}] if params else []
    if name == "adafactor":
        return torch.optim.Adafactor(made, lr=learning_rate, foreach=True)
    return torch.optim.AdamW(made, lr=learning_rate, betas=betas, fused=True)


def _factors(model: nn.Module, groups: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Return each grouped parameter's factor of the peak rate, by the parameter's id."""
    known = {id(p) for p in model.parameters()}
    factors: dict[int, float] = {}
    for number, group in enumerate(groups):
        own = {id(p) for p in group["params"]}
        foreign, twice = len(own - known), len(own & set(factors))
        if foreign or twice or not group["rate"] > 0:
            raise RunError(
                f"Parameter group {number}: expected parameters of this model that stand in no other group, "
                f"and a rate above 0; {foreign} are of another model, {twice} stand in another group, and the "
                f"rate is {group['rate']}. Make the groups after the mode is set."
            )
        factors |= dict.fromkeys(own, float(group["rate"]))
    return factors


def warmup_steps(warmup: float, total: int) -> int:
    """Turn ``--warmup`` into steps: below 1 it is a share of ``total``, else a count.

    Example:
        >>> warmup_steps(0.1, 200), warmup_steps(30, 200)
        (20, 30)

    Raises:
        ConfigError: If a number of steps takes up the whole training.
    """
    if warmup < 1:
        return round(warmup * total)
    if int(warmup) >= total:
        raise ConfigError(
            f"--warmup {warmup:g}: the training has {many(total, 'step')}, so that the rate would never reach "
            "its peak. Give fewer, or a share of all steps, such as 0.1."
        )
    return int(warmup)


def make_schedule(
    optimizer: torch.optim.Optimizer, *, name: str, warmup: int, total: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Make a schedule with linear warm-up, then linear or cosine decay to zero, or no decay.

    ``slanted`` is ULMFiT's triangle (:func:`slanted_triangle`), from a 32nd of the peak up and down again.

    The caller steps it once per optimizer step. It is never passed to ``accelerator.prepare``,
    which would step it once per process and end the decay early.

    Raises:
        ConfigError: If there is no such schedule.
    """
    from transformers import get_scheduler

    if name not in SCHEDULES:
        raise ConfigError(f"--schedule is '{name}'; expected one of {', '.join(SCHEDULES)}.")
    if name == "slanted":
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: slanted_triangle(step, cut=warmup, total=total)
        )
    name = "constant_with_warmup" if name == "constant" else name
    return get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)


def slanted_triangle(step: int, *, cut: int, total: int, ratio: float = RATIO) -> float:
    """Return a step's rate as a share of the peak (STLR; Howard & Ruder, 2018, equation 3).

    (1 + p (ratio - 1)) / ratio, where p rises from 0 to 1 in ``cut`` steps and falls to 0 at ``total``. The
    paper has cut (1 / cut_frac - 1) in place of total - cut, which is the same if cut_frac * total is whole.

    Example:
        >>> [slanted_triangle(step, cut=2, total=6, ratio=4) for step in (0, 1, 2, 4, 6)]
        [0.25, 0.625, 1.0, 0.625, 0.25]

    Args:
        step: Number of steps made.
        cut: Number of steps of the rise.
        total: Number of all steps.
        ratio: Peak over the lowest rate.
    """
    share = step / cut if step < cut else 1 - (step - cut) / max(1, total - cut)
    return (1 + max(0.0, share) * (ratio - 1)) / ratio
