"""What trains. A mode is one string; each kind of mode is one pure function on a model.

The head (everything above the blocks) trains in every mode, and so does every parameter that the
checkpoint did not have.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

from torch import nn

from nlptl.errors import ModeError, Problems, suggest
from nlptl.models.adapters import add_lora, remove_adapter, unwrap_peft
from nlptl.models.layer_map import layer_map

KNOWN = ("head-only", "freeze-lower-N", "full", "lora", "lora-rN", "lora-above-N")
LORA_RANK = 8


@dataclass(frozen=True)
class Mode:
    """A parsed mode.

    Attributes:
        name: As the user wrote it.
        kind: ``head-only``, ``freeze-lower``, ``full`` or ``lora``.
        blocks: For ``freeze-lower``, how many blocks are frozen; for ``lora``, how many of the lowest are
            frozen and have no adapters.
        rank: For ``lora``.
        alpha: For ``lora``; twice the rank unless set (Hu et al., 2022, used 16 with rank 8).
        targets: For ``lora``; None for query and value.
    """

    name: str
    kind: str
    blocks: int = 0
    rank: int = LORA_RANK
    alpha: float = 2.0 * LORA_RANK
    targets: tuple[str, ...] | None = None
    stages: tuple[Any, ...] = ()

    @property
    def has_frozen_stem(self) -> bool:
        """Whether blocks at the bottom neither train nor change, so that their output can be kept."""
        return self.kind == "head-only" or self.blocks > 0


def parse_mode(
    text: str,
    *,
    rank: int | None = None,
    alpha: float | None = None,
    targets: Sequence[str] | None = None,
) -> Mode:
    """Read a mode's name.

    Example:
        >>> parse_mode("freeze-lower-8").blocks, parse_mode("lora-r16-above-6").rank
        (8, 16)

    Args:
        text: The value of ``--mode``.
        rank: ``--lora-rank``; must not contradict ``lora-rN``.
        alpha: ``--lora-alpha``.
        targets: ``--lora-targets``.

    Raises:
        ModeError: If there is no such mode, or LoRA's settings come with another mode.
        UserError: If LoRA's rank or alpha is none that there can be.
    """
    given = {
        "--lora-rank": rank is not None,
        "--lora-alpha": alpha is not None,
        "--lora-targets": bool(targets),
    }
    lora_flags = [flag for flag, there in given.items() if there]
    if match := re.fullmatch(r"lora(?:-r(\d+))?(?:-above-(\d+))?", text):
        named = int(match[1]) if match[1] else None
        if named is not None and rank is not None and named != rank:
            raise ModeError(f"--mode {text} and --lora-rank {rank} contradict each other.")
        if named == 0:
            raise ModeError(f"--mode {text}: the rank must be 1 or more.")
        _check_lora(rank, alpha)
        rank = rank or named or LORA_RANK
        return Mode(
            text,
            "lora",
            blocks=int(match[2] or 0),
            rank=rank,
            alpha=2.0 * rank if alpha is None else alpha,
            targets=tuple(targets) if targets else None,
        )
    if lora_flags:
        raise ModeError(f"{' and '.join(lora_flags)} only go with --mode lora, not with {text}.")
    if text in ("head-only", "full"):
        return Mode(text, text)
    if match := re.fullmatch(r"freeze-lower-(\d+)", text):
        return Mode(text, "freeze-lower", blocks=int(match[1]))
    near = suggest(re.sub(r"\d+", "N", text), KNOWN)
    raise ModeError(f"--mode {text}: there is no such mode.{near} Modes: {', '.join(KNOWN)}.")


def _check_lora(rank: int | None, alpha: float | None) -> None:
    problems = Problems()
    if rank is not None and rank < 1:
        problems.add(
            f"--lora-rank is {rank}; expected 1 or more, or none for the usual {LORA_RANK}."
        )
    if alpha is not None and not 0 < alpha < math.inf:
        problems.add(
            f"--lora-alpha is {alpha}; expected a number above 0, or none for twice the rank."
        )
    problems.raise_if_any()


def freeze(module: nn.Module) -> None:
    """Freeze a module: no gradient, and eval mode whatever its parents are put in, until :func:`thaw`.

    A bare ``requires_grad = False`` leaves dropout running: the frozen features are then noisy and
    differ at each pass (25 dropout modules in the lower eight blocks of BERT-base).
    """
    for inner in module.modules():
        own = vars(inner)
        before = own.get(FROZEN) or Before(own.get("train"), inner.training)
        trained = {n: p for n, p in inner.named_parameters(recurse=False) if p.requires_grad}
        own[FROZEN] = replace(before, trained=before.trained | frozenset(trained))
        for parameter in trained.values():
            parameter.requires_grad_(False)
        inner.training = False
        inner.train = MethodType(_stay_in_eval, inner)  # type: ignore[method-assign]


def _stay_in_eval(self: nn.Module, mode: bool = True) -> nn.Module:
    return self


#: Where a frozen module keeps what it was before.
FROZEN = "_before_freezing"


@dataclass(frozen=True)
class Before:
    """What a module was before it was frozen.

    Attributes:
        train: A ``train`` method of its own, or None.
        training: Its mode.
        trained: Names of its own parameters that freezing stopped.
    """

    train: Any
    training: bool
    trained: frozenset[str] = frozenset()


def thaw(model: Any) -> Any:
    """Undo every :func:`freeze` in a model, and take its adapters out (:func:`remove_adapter`).

    Only what freezing stopped trains again: a parameter that does not train for reasons of its own, such as
    sinusoidal positions, stays as it is. A thawed module takes the train or eval mode of the model again.

    Returns:
        The model, without peft's wrapper.
    """
    model = remove_adapter(model)
    whole = vars(model).get(FROZEN)
    training = whole.training if whole else model.training
    for module in model.modules():
        own = vars(module)
        before = own.pop(FROZEN, None)
        if before is None:
            continue
        del own["train"]
        if before.train is not None:
            own["train"] = before.train
        module.training = training
        for name in before.trained:
            module.get_parameter(name).requires_grad_(True)
    return model


def freeze_lower(model: Any, blocks: int) -> Any:
    """Freeze the embeddings and the lowest ``blocks`` blocks; the rest and the head train.

    Training only the upper quarter of the layers keeps most of the quality (Lee, Tang & Lin, 2019,
    "What Would Elsa Do?"). 0 freezes the embeddings only; all blocks leave just the head. A
    tensor that a frozen module shares with an upper one (BERT's masked-LM decoder is its word
    embeddings) is frozen in both.

    Args:
        model: A mapped model; changed in place.
        blocks: Counted from the input; for T5 encoder blocks, then decoder blocks.

    Raises:
        ModeError: If the model has fewer blocks.
    """
    model = thaw(model)
    layers = layer_map(model)
    check_depth(blocks, len(layers.blocks), getattr(model, "name_or_path", "") or "the model")
    for module in layers.lower(blocks):
        freeze(module)
    return model


def check_depth(blocks: int, depth: int, name: str) -> None:
    """Make sure that a model has as many blocks as shall be frozen.

    Raises:
        ModeError: Naming the model and its depth.
    """
    if blocks > depth:
        raise ModeError(
            f"--mode freeze-lower-{blocks}: {name} has {depth} blocks. Choose 0 (freezes the embeddings "
            f"only) to {depth} (leaves the head only)."
        )


def head_only(model: Any) -> Any:
    """Freeze the embeddings and all blocks."""
    return freeze_lower(model, len(layer_map(model).blocks))


def full(model: Any) -> Any:
    """Train everything that was not frozen for reasons of its own."""
    return thaw(model)


def lora(model: Any, mode: Mode, *, task_type: str | None = None) -> Any:
    """Freeze the embeddings, put low-rank adapters into the blocks, train them and the head.

    The frozen modules stay in train mode here: gradients pass through them, and their dropout is
    the regulariser that LoRA was published with. Not so below the lowest adapter, where ``lora-above-N``
    leaves N blocks frozen for good, as :func:`freeze_lower` does: their output can be cached.

    Raises:
        ModeError: If no block is left to adapt.
    """
    model = thaw(model)
    layers = layer_map(model)
    check_above(mode, len(layers.blocks), getattr(model, "name_or_path", "") or "the model")
    if mode.blocks:  # before peft, which stops the rest
        for module in layers.lower(mode.blocks):
            freeze(module)
    return add_lora(
        model,
        rank=mode.rank,
        alpha=mode.alpha,
        targets=mode.targets,
        above=mode.blocks,
        task_type=task_type,
    )


def check_above(mode: Mode, depth: int, name: str) -> None:
    """Make sure that LoRA's adapters have a block to stand in.

    Raises:
        ModeError: Naming the model and its depth.
    """
    if mode.blocks >= depth:
        raise ModeError(
            f"--mode {mode.name}: {name} has {depth} blocks, so none is left for an adapter. Choose above-0 "
            f"to above-{depth - 1}, or head-only."
        )


def apply_mode(
    model: Any, mode: Mode, *, newly_initialized: Iterable[str] = (), task_type: str | None = None
) -> tuple[Any, "Manifest"]:
    """Set what trains, whatever trained before: any mode after any other equals that mode alone.

    Args:
        model: A mapped Hugging Face model with its head, wrapped by peft or not; changed in place.
        mode: What to train.
        newly_initialized: Parameters that the checkpoint did not have; each must train in every mode.
        task_type: peft's name of the task.

    Returns:
        The model (wrapped by peft for LoRA) and the manifest.

    Raises:
        ModeError: If the mode does not fit the model, or would leave a new parameter untrained.
    """
    model = thaw(model)
    if mode.kind == "lora":
        model = lora(model, mode, task_type=task_type)
    else:
        blocks = {"full": None, "head-only": -1, "freeze-lower": mode.blocks}[mode.kind]
        if blocks is not None:
            model = head_only(model) if blocks < 0 else freeze_lower(model, blocks)
    trains = {_plain_name(name) for name, p in model.named_parameters() if p.requires_grad}
    if untrained := sorted(set(newly_initialized) - trains):
        raise ModeError(
            f"--mode {mode.name} would leave {len(untrained)} new parameters at random and untrained "
            f"({untrained[0]}, …)."
        )
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.grad = None  # of an earlier mode; clipping would count it
    return model, manifest(model, mode)


def _plain_name(name: str) -> str:
    name = name.removeprefix("base_model.model.")
    return name.replace(".modules_to_save.default", "").replace(".base_layer", "")


@dataclass(frozen=True)
class Manifest:
    """What trains, counted in parameters.

    Attributes:
        mode: The mode's name.
        total: All parameters; LoRA's are counted in.
        trainable: Those that train.
        parts: ``embeddings``, ``block N`` and ``head`` to ``{"total": …, "trainable": …}``.
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
    """Runs of neighbouring blocks with equal counts."""
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


def manifest(model: Any, mode: Mode) -> Manifest:
    """Count parameters by part."""
    base = unwrap_peft(model)
    where = layer_map(base).part_of(base)
    # peft keeps an untrained copy of every saved module; it is not part of the model.
    counted = {n: p for n, p in base.named_parameters() if ".original_module." not in n}
    parts: dict[str, dict[str, int]] = {}
    for name, parameter in counted.items():
        part = parts.setdefault(where[name], {"total": 0, "trainable": 0})
        part["total"] += parameter.numel()
        part["trainable"] += parameter.numel() * parameter.requires_grad
    order = sorted(parts, key=_part_order)
    return Manifest(
        mode.name,
        sum(part["total"] for part in parts.values()),
        sum(part["trainable"] for part in parts.values()),
        {name: parts[name] for name in order},
    )


def _part_order(part: str) -> tuple[int, int]:
    if part.startswith("block"):
        return (1, int(part.split()[1]))
    return (0, 0) if part == "embeddings" else (2, 0)


#: Peak learning rates of AdamW for a width of 768, by family and kind of mode. Sources: full, BERT
#: {2, 3, 5}e-5 (Devlin et al., 2019), RoBERTa {1, 2, 3}e-5 (Liu et al., 2019), T5 1e-4 to 3e-4
#: with AdamW (transformers, pull request 13240), of which the lowest: at twice that, an earlier bundled/t5
#: learned less in each of two modes; LoRA 5e-4 (Hu et al., 2022, scripts); freezing wants more than full
#: (Saad-Falcon et al., 2023, hyper-parameter files: up to ten times with 75 % frozen); a head alone 1e-3 to
#: 1e-2.
BASE_RATES: dict[str, dict[str, float]] = {
    "bert": {"full": 3e-5, "freeze-lower": 6e-5, "lora": 5e-4, "head-only": 2e-3},
    "roberta": {"full": 2e-5, "freeze-lower": 5e-5, "lora": 5e-4, "head-only": 2e-3},
    "t5": {"full": 1e-4, "freeze-lower": 1.5e-4, "lora": 5e-4, "head-only": 2e-3},
}
REFERENCE_WIDTH = 768


def default_learning_rate(mode: Mode, family: str, width: int) -> float:
    """The rate of a mode for a family, scaled to the model's width.

    rate = base * 768 / width: Adam's best rate falls with the width (Yang et al., 2021, "Tensor
    Programs V", table 8), and the small BERTs of Turc et al. (2019) were indeed best at 1e-4 to
    3e-4. One rate for all modes would rig every comparison between them.
    """
    rate = BASE_RATES[family][mode.kind] * REFERENCE_WIDTH / width
    return float(f"{rate:.2g}")


def default_epochs(mode: Mode, examples: int, batch_size: int) -> float:
    """Three epochs, or as many as 500 steps take, at most 20; twice the steps for a head alone.

    Small sets fail for want of steps, not of data (Mosbach et al., 2021; Zhang et al., 2021).
    """
    least, steps, most = (5, 1000, 40) if mode.kind == "head-only" else (3, 500, 20)
    return float(min(most, max(least, math.ceil(steps * batch_size / max(1, examples)))))
