"""Modes as parsed and applied to a model, with their usual rates and epochs, and counts of what trains.

The head (everything above the blocks) trains in every mode, and so does every parameter that the
checkpoint did not have.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise
from math import ceil
from typing import Any

from nlptl.data.code_hash import code_hash
from nlptl.errors import ModeError
from nlptl.models.adapters import plain_name, unwrap_peft
from nlptl.models.families import RATE_WIDTH, RATES
from nlptl.models.layer_map import layer_map, map_of
from nlptl.models.tracing import width_of
from nlptl.modes.definition import (
    FLAGS,
    Definition,
    definitions,
    entry,
    find,
    is_builtin,
)
from nlptl.modes.rates import decayed_groups

#: A depth that no model has, to ask whether a mode freezes blocks at all, and one like many models'.
DEEP, SOME = 1000, 12
#: Most epochs by default of a model whose head starts from a convex fit.
FITTED_EPOCHS = 4.0


@dataclass(frozen=True)
class Mode:
    """A parsed mode.

    Attributes:
        name: Name as the user wrote it.
        key: Key of its definition in :data:`MODES`.
        values: Settings as pairs of name and value.
    """

    name: str
    key: str
    values: tuple[tuple[str, Any], ...] = ()

    @property
    def definition(self) -> Definition:
        """The registered definition."""
        return entry(self.key)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings by name, such as LoRA's rank, for the record."""
        return dict(self.values)

    @property
    def staged(self) -> bool:
        """Whether training goes through several modes, one after the other."""
        return self.definition.staged

    def stages(self, depth: int) -> tuple["Stage", ...]:
        """Return the modes that training goes through; empty for a plain mode.

        Args:
            depth: Number of the model's blocks.
        """
        about = self.definition
        if not about.staged:
            return ()
        takes = "depth" in signature(about.function).parameters
        return tuple(about.function(**self.settings, **({"depth": depth} if takes else {})))

    def frozen_blocks(self, depth: int) -> int:
        """Count the lowest blocks that neither train nor change, in a model of so many blocks.

        In a mode of stages, these are the blocks that do so in every stage.
        """
        frozen = self.definition.frozen
        if self.staged and frozen is None:
            return min(stage.mode.frozen_blocks(depth) for stage in self.stages(depth))
        return max(0, min(depth, frozen(depth, **self.settings))) if frozen else 0

    @property
    def has_frozen_stem(self) -> bool:
        """Whether the lowest blocks neither train nor change, so that their output can be kept.

        In a mode of stages, this says whether there are blocks that no stage trains. A single stage may have
        more.
        """
        return self.frozen_blocks(DEEP) > 0

    @property
    def is_adapter(self) -> bool:
        """Whether peft wraps the model; in a mode of stages, whether it does so in the last one."""
        last = self.stages(SOME)[-1:]
        return last[0].mode.is_adapter if last else self.definition.adapter

    @property
    def merges(self) -> bool:
        """Whether what trains can be folded into the checkpoint's weights: all but prompts."""
        last = self.stages(SOME)[-1:]
        return last[0].mode.merges if last else self.definition.merges

    @property
    def vectors(self) -> int:
        """Most vectors that stand before a text, in any stage: they take positions from its tokens."""
        own = 0 if self.definition.merges else self.settings.get("tokens", 0)
        return max([own, *(stage.mode.vectors for stage in self.stages(SOME))])

    @property
    def trains_all(self) -> bool:
        """Whether everything trains, in every stage."""
        if self.staged:
            return all(stage.mode.trains_all for stage in self.stages(SOME))
        return self.definition.trains_all

    @property
    def trains_blocks(self) -> bool:
        """Whether more than the head trains."""
        return self.frozen_blocks(DEEP) < DEEP

    @property
    def trains(self) -> str:
        """What trains, in a word: ``all``, ``adapters``, ``blocks`` (or parts), ``head`` or ``nothing``."""
        if self.trains_all:
            return "all"
        if self.definition.untrained:
            return "nothing"
        return "adapters" if self.is_adapter else "blocks" if self.trains_blocks else "head"

    def check(self, depth: int, name: str, config: Any) -> None:
        """Make sure that the mode fits a checkpoint, before its weights are read.

        Args:
            depth: Number of the checkpoint's blocks.
            name: Name of the checkpoint.
            config: Configuration of the checkpoint.

        Raises:
            ModeError: If the mode does not fit; the message says why.
        """
        if self.definition.check:
            self.definition.check(self, depth, name, config)
        for stage in self.stages(depth):
            stage.mode.check(depth, name, config)

    def parameter_groups(
        self, model: Any, *, layer_decay: float = 1.0
    ) -> list[dict[str, Any]] | None:
        """Group the parameters with their own rate, ``{"params": [...], "rate": factor of the peak}``.

        Parameters in no group have the factor 1.

        Args:
            model: The model in this mode.
            layer_decay: Factor from block to block (:func:`nlptl.modes.rates.decayed_groups`).

        Returns:
            The groups; None where all parameters have one rate.
        """
        groups = self.definition.groups
        own = groups(model, **self.settings) if groups else None
        return own if layer_decay == 1 else decayed_groups(model, layer_decay, own)

    def rate_factor(self, kinds: Sequence[str]) -> float | None:
        """Return the default peak rate as a multiple of the rate for ``full``; None if it is fixed.

        Args:
            kinds: What the model is, the most specific first (:func:`kinds_of`).
        """
        about, own = self.definition, self.definition.rates or {}
        return next((own[k] for k in kinds if k in own), about.rate) if about.peak is None else None

    def default_epochs(self, examples: int, batch_size: int, *, fitted: bool = False) -> float:
        """Return three epochs, or as many as 500 steps take, at most 20, or the mode's own default.

        From a random head, training on small sets fails for lack of steps, not of data (Mosbach et al., 2021;
        Zhang et al., 2021). A fitted head needs no steps to find its place, so that :data:`FITTED_EPOCHS` are
        the most.

        Args:
            examples: Number of training examples.
            batch_size: Examples per batch.
            fitted: Whether the head starts from a convex fit.
        """
        usual = self.definition.epochs
        needed = ceil(usual.steps * batch_size / max(1, examples))
        epochs = float(min(usual.most, max(usual.least, needed)))
        return min(epochs, FITTED_EPOCHS) if fitted and self.trains_blocks else epochs

    def identity(self) -> str:
        """Describe the mode as text for the keys of kept runs: its settings, and code from outside nlptl."""
        about = self.definition
        parts = [about.pattern, json.dumps(self.settings, sort_keys=True)]
        if not is_builtin(about):
            own = (about.function, about.groups, about.settings, about.frozen)
            parts.append(code_hash(*(each for each in own if each)))
        stages = (f"{s.share} {s.rate} {s.mode.identity()}" for s in self.stages(SOME))
        return " ".join([*parts, *stages])


@dataclass(frozen=True)
class Stage:
    """A part of a training that goes through several modes; each part has its own optimizer.

    Attributes:
        mode: Mode of this part.
        share: Share of the optimizer steps, relative to the other stages' shares.
        rate: Peak rate as a multiple of the run's; None for the mode's own default rate, by which the run's
            changes too if it is not the default.
    """

    mode: Mode
    share: float = 1.0
    rate: float | None = 1.0

    def __post_init__(self) -> None:
        if self.share <= 0 or (self.rate is not None and self.rate <= 0) or self.mode.staged:
            raise ModeError(
                f"The stage {self.mode.name}: expected a share and a rate above 0 and a mode without stages, "
                f"found {self.share}, {self.rate} and {'a' if self.mode.staged else 'no'} mode with stages."
            )

    def factor(self, whole: Mode, config: Any) -> float:
        """Return the peak rate as a multiple of the run's.

        Args:
            whole: The mode of stages.
            config: The model's configuration.
        """
        if self.rate is not None:
            return self.rate
        own, run = (default_learning_rate(each, config) for each in (self.mode, whole))
        return own / run


def stage_steps(total: int, stages: Sequence[Stage]) -> list[int]:
    """Divide optimizer steps among stages by their shares; they sum to ``total``, each exact to one step.

    Example:
        >>> head, whole = parse_mode("head-only"), parse_mode("full")
        >>> stage_steps(10, [Stage(head, 1), Stage(whole, 2)])
        [3, 7]
    """
    whole, done, bounds = sum(stage.share for stage in stages), 0.0, [0]
    for stage in stages:
        done += stage.share
        bounds.append(round(total * done / whole))
    return [last - first for first, last in pairwise(bounds)]


def parse_mode(
    text: str,
    *,
    rank: int | None = None,
    alpha: float | None = None,
    targets: Sequence[str] | None = None,
    dropout: float | None = None,
) -> Mode:
    """Read a mode's name, or ``path/to/file.py:name``.

    Example:
        >>> parse_mode("freeze-lower-8").settings, parse_mode("lora-r16-above-6").settings["rank"]
        ({'n': 8}, 16)

    Args:
        text: The value of ``--mode``.
        rank: ``--lora-rank``; must not contradict ``lora-rN``.
        alpha: ``--lora-alpha``.
        targets: ``--lora-targets``.
        dropout: ``--lora-dropout``.

    Raises:
        ModeError: If there is no such mode, or a flag comes with a mode that does not take it.
        UserError: If a setting is out of range.
    """
    key, definition, named = find(text)
    asked = tuple(targets) if targets else None
    flags = {"rank": rank, "alpha": alpha, "dropout": dropout, "targets": asked}
    given = {name: value for name, value in flags.items() if value is not None}
    if wrong := [FLAGS[name] for name in given if name not in definition.flags]:
        takers = [d.names()[0] for d in definitions(builtin=True) if d.flags and not d.staged]
        raise ModeError(
            f"{' and '.join(wrong)} only go with --mode {' or '.join(takers)}, not with {text}."
        )
    for name, value in given.items():
        if named.get(name, value) != value:
            raise ModeError(f"--mode {text} and {FLAGS[name]} {value} contradict each other.")
    values = {**named, **given}
    if definition.settings:
        values = definition.settings(**values)
    return Mode(text, key, tuple(values.items()))


def apply_mode(
    model: Any,
    mode: Mode,
    *,
    newly_initialized: Iterable[str] = (),
    task_type: str | None = None,
    notices: Sequence[str] = (),
) -> tuple[Any, "Manifest"]:
    """Set what trains, whatever trained before: any mode after any other equals that mode alone.

    For a mode of stages, the first stage is set.

    Args:
        model: A mapped Hugging Face model with its head, wrapped by peft or not; changed in place.
        mode: Mode to apply.
        newly_initialized: Parameters that the checkpoint did not have; each must train in every mode.
        task_type: peft's name of the task.
        notices: Messages about the checkpoint's head, which say why it does not fit.

    Returns:
        The model (wrapped by peft for LoRA) and the manifest.

    Raises:
        ModeError: If the mode does not fit the model, or would leave a new parameter untrained.
    """
    if untrained := mode.definition.untrained and sorted(newly_initialized):
        raise ModeError(
            f"--mode {mode.name}: the checkpoint has no trained head that fits this task: {len(untrained)} "
            f"parameters are new ({untrained[0]}, …), and nothing would train them. {' '.join([*notices, ''])}"
            "Take a mode that trains the head, such as head-only, or give the labels the checkpoint's names."
        )
    now = first_mode(model, mode)
    peft = {"task_type": task_type} if now.is_adapter else {}
    model = now.definition(model, **now.settings, **peft)
    base = unwrap_peft(model)
    trains = {plain_name(name) for name, p in base.named_parameters() if p.requires_grad}
    if untrained := sorted(set(newly_initialized) - trains):
        raise ModeError(
            f"--mode {mode.name} would leave {len(untrained)} new parameters at random and untrained "
            f"({untrained[0]}, …)."
        )
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.grad = None  # left by an earlier mode; clipping would count it
    return model, manifest(model, mode.name)


def first_mode(model: Any, mode: Mode) -> Mode:
    """Return the mode itself, or for a mode of stages the first one's."""
    stages = mode.staged and mode.stages(len(layer_map(unwrap_peft(model)).blocks))
    return stages[0].mode if stages else mode


@dataclass(frozen=True)
class Manifest:
    """Counts of the parameters that train.

    Attributes:
        mode: Name of the mode.
        total: Number of all parameters, LoRA's included.
        trainable: Number of parameters that train.
        parts: Mapping from ``prompt``, ``embeddings``, ``block N``, ``head`` and ``unused`` (by texts) to
            ``{"total": …, "trainable": …}``.
    """

    mode: str
    total: int
    trainable: int
    parts: dict[str, dict[str, int]]

    def __str__(self) -> str:
        share = 100 * self.trainable / self.total
        lines = [
            f"{self.mode}: {self.trainable:,} of {self.total:,} parameters train ({share:.2f} %)"
        ]
        for first, last, part in _alike(self.parts):
            name = first if first == last else f"{first} to {last.removeprefix('block ')}"
            state = "frozen" if not part["trainable"] else f"{part['trainable']:,} train"
            each = " each" if first != last else ""
            lines.append(f"  {name:<16} {part['total']:>12,}{each:<6} {state}")
        return "\n".join(lines)


def _alike(parts: dict[str, dict[str, int]]) -> list[tuple[str, str, dict[str, int]]]:
    """Find the runs of neighbouring blocks with equal counts."""
    runs: list[tuple[str, str, dict[str, int]]] = []
    for name, part in parts.items():
        if (
            runs
            and name.startswith("block")
            and runs[-1][2] == part
            and runs[-1][0] != "embeddings"
        ):
            runs[-1] = (runs[-1][0], name, part)
        else:
            runs.append((name, name, part))
    return runs


def manifest(model: Any, mode: str) -> Manifest:
    """Count a model's parameters by part.

    Args:
        model: A mapped model, wrapped by peft or not.
        mode: Name of its mode.
    """
    base = unwrap_peft(model)
    where = layer_map(base).part_of(base)
    # peft keeps an untrained copy of every saved module, which is not part of the model.
    counted = {n: p for n, p in base.named_parameters() if ".original_module." not in n}
    below = {id(p) for p in base.parameters()}
    prompt = {n: p for n, p in model.named_parameters() if id(p) not in below}
    where, counted = {**where, **dict.fromkeys(prompt, "prompt")}, {**counted, **prompt}
    parts: dict[str, dict[str, int]] = {}
    for name, parameter in counted.items():
        part = parts.setdefault(where[name], {"total": 0, "trainable": 0})
        part["total"] += parameter.numel()
        part["trainable"] += parameter.numel() * parameter.requires_grad
    order = sorted(parts, key=_part_order)
    return Manifest(
        mode,
        sum(part["total"] for part in parts.values()),
        sum(part["trainable"] for part in parts.values()),
        {name: parts[name] for name in order},
    )


def _part_order(part: str) -> tuple[int, int]:
    if part.startswith("block"):
        return (1, int(part.split()[1]))
    places = {"prompt": (0, 0), "embeddings": (0, 1), "head": (2, 0)}
    return places.get(part, (3, 0))


def default_learning_rate(mode: Mode, config: Any) -> float:
    """Return the peak rate of a mode for a model, by its kind of norm, its width and the mode.

    rate = base * 768 / width: Adam's best rate falls with the width (Yang et al., 2021, "Tensor
    Programs V", table 8), and the small BERTs of Turc et al. (2019) were indeed best at 1e-4 to
    3e-4. The base for training everything depends on whether norms stand in the residual stream (BERT) or
    before a block's parts (T5, decoders), or is what the family's authors used:
    :data:`nlptl.models.families.RATES` has the sources. Modes have multiples of it, or a rate of their own,
    with their sources. One rate for all modes would rig every comparison between them.

    Args:
        mode: Mode.
        config: Configuration of the model.
    """
    return peak_rate(mode, kinds_of(config), width_of(config))


def kinds_of(config: Any) -> tuple[str, str]:
    """Return what rates are given for: the architecture's name, and ``pre-norm`` or ``post-norm``."""
    layers = map_of(config)
    pre_norm = (
        layers is None or layers.pre_norm
    )  # a mixture of experts is a decoder with norms before its parts
    return config.model_type, "pre-norm" if pre_norm else "post-norm"


def peak_rate(mode: Mode, kinds: Sequence[str], width: int) -> float:
    """Return a mode's peak rate for a kind of model at a width; see :func:`default_learning_rate`."""
    last = mode.stages(SOME)[-1:]
    if last and last[0].rate is None:
        return peak_rate(last[0].mode, kinds, width)
    peak, factor = mode.definition.peak, mode.rate_factor(kinds)
    base = peak if factor is None else next(RATES[k] for k in kinds if k in RATES) * factor
    assert base is not None  # one of the two is there
    return float(f"{base * RATE_WIDTH / width:.2g}")
