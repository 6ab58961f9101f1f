"""The matrix of architectures and modes: is what nlptl says of freezing true of every model that it maps?

Each cell is a tiny random model of one architecture with one head under one mode. It is trained for three
updates by the same code as a run, and then looked at from outside: bytes, gradients, states, what plain
transformers reopens.
"""

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nlptl.errors import NlptlError
from nlptl.models.adapters import merge_adapter, unwrap_peft
from nlptl.models.frozen_stem import FrozenStem, frozen_blocks
from nlptl.models.layer_map import LayerMap, depth, layer_map
from nlptl.models.loading import quiet_transformers
from nlptl.models.tracing import hidden, results
from nlptl.models.zoo import HEADS, LENGTH, architectures, tiny_inputs, tiny_model
from nlptl.modes.base import apply_mode, parse_mode
from nlptl.train.optimizer import make_optimizer

#: Modes of the matrix; ``freeze-all`` is ``freeze-lower-N`` with N the number of blocks.
MODES = ("head-only", "freeze-lower-1", "freeze-all", "full", "lora")
#: Number of updates, with a rate and a decay that move whatever is not frozen.
UPDATES, RATE, DECAY = 3, 1e-2, 0.1
#: Architectures that cut a text into pieces take texts of one length only.
ONE_LENGTH = {"big_bird", "bigbird_pegasus", "led", "longformer", "reformer"}
#: Most of the difference between logits that count as the same, absolute and relative.
CLOSE: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-4}
#: Characters of another library's error that are kept.
MOST = 160


@dataclass(frozen=True)
class Cell:
    """One architecture under one mode.

    Attributes:
        mode: Name of the mode.
        refused: Reason for which nlptl does not take it; empty if it does.
        faults: Whatever is not as nlptl says.
        cached: Whether the logits came from cached states, with the weights below set to NaN.
        uncached: Reason for which a run would compute the frozen blocks in each epoch.
    """

    mode: str
    refused: str = ""
    faults: tuple[str, ...] = ()
    cached: bool = False
    uncached: str = ""


@dataclass
class Family:
    """One architecture with one head, under all modes.

    Attributes:
        kind: Its ``model_type``.
        head: Name of the head.
        missing: Reason for which no model could be built here.
        refused: Reason for which nlptl has no map of it.
        partial: Reason for which no border between blocks can be frozen.
        stacks: Number of blocks of each stack.
        pre_norm: Whether norms stand before a block's parts.
        pooled: Position that the head reads.
        positions: Longest input by its table of positions.
        targets: Last parts of the names of the layers that adapters go into.
        cells: What was found under each mode.
        seconds: Time that it took.
    """

    kind: str
    head: str
    missing: str = ""
    refused: str = ""
    partial: str | None = None
    stacks: tuple[int, ...] = ()
    pre_norm: bool = False
    pooled: str = ""
    positions: int | None = None
    targets: tuple[str, ...] = ()
    cells: dict[str, Cell] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def mapped(self) -> bool:
        """Whether there is a map, with all borders or without."""
        return not (self.missing or self.refused)

    @property
    def verified(self) -> bool:
        """Whether there is a map in which every border can be frozen."""
        return self.mapped and self.partial is None

    @property
    def faults(self) -> dict[str, tuple[str, ...]]:
        """Whatever is not as nlptl says, by mode."""
        return {mode: cell.faults for mode, cell in self.cells.items() if cell.faults}


def check_family(kind: str, head: str, modes: Sequence[str] = MODES) -> Family:
    """Build an architecture, map it, and train it under each mode.

    Args:
        kind: Its ``model_type``.
        head: A key of :data:`nlptl.models.zoo.HEADS`.
        modes: Some of :data:`MODES`.
    """
    began, found = time.perf_counter(), Family(kind, head)
    try:
        model = tiny_model(kind, head)
    except ImportError as error:
        found.missing = brief(error)
        return found
    try:
        layers = layer_map(model)
    except NlptlError as error:
        found.refused = str(error)
    else:
        found.partial, found.stacks, found.pre_norm = layers.partial, layers.stacks, layers.pre_norm
        found.pooled, found.positions = layers.pooled, layers.positions
        found.targets = tuple(sorted({name.rpartition(".")[2] for name in layers.lora_targets}))
        for mode in modes:
            found.cells[mode] = check_cell(kind, head, mode, len(layers.blocks))
    found.seconds = time.perf_counter() - began
    return found


def check_all(
    kinds: Sequence[str] = (), modes: Sequence[str] = MODES, heads: Sequence[str] = tuple(HEADS)
) -> Iterator[Family]:
    """Check architectures with each of their heads; none named means all.

    Args:
        kinds: Some ``model_type`` s.
        modes: Some of :data:`MODES`.
        heads: Some of :data:`nlptl.models.zoo.HEADS`.
    """
    for head in heads:
        for kind in architectures(head):
            if not kinds or kind in kinds:
                yield check_family(kind, head, modes)


def check_cell(kind: str, head: str, mode: str, blocks: int) -> Cell:
    """Train one architecture under one mode, and look at it from outside.

    Args:
        kind: Its ``model_type``.
        head: Name of the head.
        mode: One of :data:`MODES`.
        blocks: Number of its blocks.
    """
    model = tiny_model(kind, head)
    try:
        parsed = parse_mode(f"freeze-lower-{blocks}" if mode == "freeze-all" else mode)
        parsed.check(sum(depth(model.config)), kind, model.config)  # before a run reads any weights
        model, _ = apply_mode(model, parsed)
    except NlptlError as error:
        return Cell(mode, refused=str(error))
    look = _Look(model, head, parsed.frozen_blocks(blocks), adapter=mode == "lora")
    try:
        return Cell(mode, faults=tuple(look.faults()), cached=look.cached, uncached=look.uncached)
    except Exception as error:  # of a model of somebody else's, under whatever mode
        return Cell(mode, faults=(brief(error),))


def brief(error: BaseException) -> str:
    """Return an error of another library in one short line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:MOST]}{'…' if len(text) > MOST else ''}"


class _Look:
    """A look from outside at a model under a mode: before, during and after three updates."""

    def __init__(self, model: Any, head: str, border: int, *, adapter: bool) -> None:
        self.model, self.head, self.border, self.adapter = model, head, border, adapter
        base = unwrap_peft(model)
        self.inputs, self.labels = tiny_inputs(base, head)
        kind = base.config.model_type
        # Another text, of another length where the architecture takes it, for what was cached.
        length = LENGTH if kind in ONE_LENGTH else LENGTH - 4
        self.other, _ = tiny_inputs(base, head, seed=7, length=length)
        self.layers = layer_map(base)
        # By the names of an unwrapped model: peft copies what it saves, and a copy is in no part.
        plain = tiny_model(kind, head) if adapter else base
        parts = layer_map(plain).part_of(plain)
        self.unmoved = self.layers.dead | {n for n, part in parts.items() if part == "unused"}
        self.cached, self.uncached = False, ""

    def faults(self) -> Iterator[str]:
        """Yield what is not as it should be."""
        model, below = self.model, self._below()
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        idle = self._idle()
        if odd := sorted((trained ^ (set(self._parts()) - below)) - idle):
            yield f"another set of parameters trains than the mode says ({odd[0]})"
        model.train()
        if self.border:
            if (count := frozen_blocks(model)) != self.border:
                yield f"{count} blocks count as frozen, not {self.border}"
                return
            before = self._states()
            if not _same_bits(before, self._states()):
                yield "the states at the border are not the same in two passes"
            if self._needs_gradient():
                yield "the states at the border ask for a gradient"
        bytes_before = {n: p.detach().clone() for n, p in model.named_parameters() if n in below}
        loss, reached = self._update()
        if not math.isfinite(loss):
            yield f"the loss is {loss}"
        if missed := sorted(trained - reached - idle):
            yield f"{len(missed)} parameters get no gradient ({missed[0]})"
        now = dict(model.named_parameters())
        if moved := [n for n, old in bytes_before.items() if not torch.equal(old, now[n])]:
            yield f"{len(moved)} frozen tensors have changed ({moved[0]})"
        if self.border and not _same_bits(before, self._states()):
            yield "the states at the border have changed by the training"
        model.eval()
        if self.border:
            yield from self._cache()
        yield from self._reopen()

    def _parts(self) -> dict[str, str]:
        return self.layers.part_of(self.model)

    def _below(self) -> set[str]:
        """Name the parameters that must not change: below the border, or all but adapters and head."""
        low = {"embeddings"} if self.border else set[str]()
        low |= {f"block {number}" for number in range(self.border)}
        parts = self._parts()
        if not self.adapter:
            return {name for name, part in parts.items() if part in low}
        ours = {n for n, part in parts.items() if part == "head" and ".original_module." not in n}
        return {name for name in parts if name not in ours and ".lora_" not in name}

    def _idle(self) -> set[str]:
        """Name the parameters that the map calls unused or dead: no text moves them."""
        return {name for name in self._parts() if _plain(name) in self.unmoved}

    def _update(self) -> tuple[float, set[str]]:
        """Make three updates; return the last loss and the names of what got a gradient."""
        optimizer = make_optimizer(
            self.model, learning_rate=RATE, weight_decay=DECAY, betas=(0.9, 0.999)
        )
        reached: set[str] = set()
        loss = torch.zeros(())
        for _ in range(UPDATES):
            loss = self.model(**self.inputs, **self.labels).loss
            loss.backward()
            reached |= {n for n, p in self.model.named_parameters() if p.grad is not None}
            optimizer.step()
            optimizer.zero_grad()
        return float(loss.detach()), reached

    def _states(self, inputs: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        stem = FrozenStem(self.model, self.border)
        return stem.run(lambda: self.model(**(self.inputs if inputs is None else inputs)))

    def _needs_gradient(self) -> bool:
        asked: list[bool] = []
        hook = self.layers.blocks[self.border - 1].register_forward_hook(
            lambda module, given, output: asked.append(hidden(output).requires_grad)
        )
        try:
            with torch.enable_grad():
                self.model(**self.inputs)
        finally:
            hook.remove()
        return any(asked)

    @torch.no_grad()
    def _logits(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        return torch.cat([each.flatten() for each in results(model(**inputs))])

    def _cache(self) -> Iterator[str]:
        """Start from cached states, also while every weight of the blocks below is not a number.

        A run makes sure of the former with a few of its texts, and else computes the blocks in each epoch.
        """
        stem = FrozenStem(self.model, self.border)
        if not stem.fits:
            self.uncached = "its blocks do not write one state for each token"
            return
        whole, states = self._logits(self.model, self.other), self._states(self.other)
        try:
            part = self._fed(stem, states)
        except RuntimeError as error:
            self.uncached = brief(error)
            return
        if not _close(whole, part):
            self.uncached = f"it gives other logits, by {float((whole - part).abs().max()):.1g}"
            return
        with _unusable(self.layers, self.border):
            self.cached = _close(whole, self._fed(stem, states))
        if not self.cached:
            yield "with cached states, weights of the blocks below are still read"

    def _fed(self, stem: FrozenStem, states: dict[str, Tensor]) -> Tensor:
        with stem.left_out():
            stem.feed(states)
            return self._logits(self.model, self.other)

    def _reopen(self) -> Iterator[str]:
        """Save, and read with plain transformers."""
        import transformers

        before = self._logits(self.model, self.inputs)
        plain = merge_adapter(self.model).eval()
        if not _close(before, self._logits(plain, self.inputs)):
            yield "merged adapters give other logits"
            before = self._logits(plain, self.inputs)
        with tempfile.TemporaryDirectory() as folder, quiet_transformers():
            plain.save_pretrained(folder)
            kind = getattr(transformers, HEADS[self.head])
            again = kind.from_pretrained(
                folder, dtype=torch.float32, trust_remote_code=False
            ).eval()
        if not _close(before, self._logits(again, self.inputs)):
            yield "reopened by plain transformers, it gives other logits"


def _plain(name: str) -> str:
    """Return the name that a parameter has without peft's wrappers."""
    name = name.removeprefix("base_model.model.").replace(".base_layer", "")
    return name.replace(".modules_to_save.default", "")


def _close(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and torch.allclose(one, two, **CLOSE)


def _same_bits(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@contextmanager
def _unusable(layers: LayerMap, border: int) -> Iterator[None]:
    """Make the weights of the lowest blocks NaN within, but for a block that hands on more than its states."""
    needed = {
        id(p)
        for name, block in zip(layers.names, layers.blocks, strict=True)
        if name in layers.extras
        for p in block.parameters()
    }
    chosen = [
        p
        for block in layers.blocks[:border]
        for p in block.parameters()
        if id(p) not in needed and p.is_floating_point()
    ]
    kept = [p.detach().clone() for p in chosen]
    try:
        for parameter in chosen:
            parameter.data.fill_(math.nan)
        yield
    finally:
        for parameter, old in zip(chosen, kept, strict=True):
            parameter.data.copy_(old)
