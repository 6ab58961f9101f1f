"""The frozen lower part of a model: run alone, and left out.

A block that is left out keeps its place, its name and its parameters; only its ``forward`` is swapped, on the
object, for one that returns what was kept, in the form of the block's own output. So checkpoints, optimizers
and wrappers see the same model with and without its lower part. Embeddings are looked up all the same: it
costs little, some blocks read them again (Zamba), and masks and pooling come from the token ids.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from nlptl.errors import RunError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.layer_map import LayerMap, layer_map
from nlptl.models.tracing import hidden, items, made_up_texts, run, undisturbed

#: The attribute in which a model keeps the borders below which nothing changes.
CONSTANT = "_constant_borders"


def above(model: Any) -> list[nn.Module]:
    """List the modules whose parameters are all above the blocks, and all that is inside them."""
    alone = dict[str, bool]()
    for parameter, part in layer_map(model).part_of(model).items():
        scope = parameter
        while "." in scope:
            scope = scope.rpartition(".")[0]
            alone[scope] = alone.get(scope, True) and part == "head"
    inside, found = set[str](), []
    for name, module in model.named_modules():
        if name and (alone.get(name, False) or name.rpartition(".")[0] in inside):
            inside.add(name)
            found.append(module)
    return found


def between(model: Any) -> list[nn.Module]:
    """List the backbone's modules that are neither inside a block nor of the head: embeddings, containers."""
    inside = {id(module) for block in layer_map(model).blocks for module in block.modules()}
    inside |= {id(module) for module in above(model)} | {id(model)}
    return [module for module in model.base_model.modules() if id(module) not in inside]


def frozen_blocks(model: Any) -> int:
    """Count the lowest blocks that never change: nothing in or below them trains or drops out.

    The count is 0 if the embeddings change, or if only they are frozen.

    Args:
        model: A mapped model after :func:`nlptl.modes.base.apply_mode`, wrapped by peft or not.
    """
    base = unwrap_peft(model)
    layers = layer_map(base)
    parts = layers.part_of(base)
    trains = {parts[name] for name, p in base.named_parameters() if p.requires_grad}
    was = base.training
    base.train()  # frozen modules stay in eval mode (modes.definition.freeze)
    try:
        if "embeddings" in trains or any(module.training for module in between(base)):
            return 0
        count = 0
        for number, block in enumerate(layers.blocks):
            if f"block {number}" in trains or any(module.training for module in block.modules()):
                break
            count += 1
        return count
    finally:
        base.train(was)


class _Reached(Exception):
    """The border was reached; nothing above it is computed."""


@contextmanager
def _caught(layers: LayerMap, count: int) -> Iterator[dict[int, Any]]:
    """Keep what the blocks return where stacks end below a border, and leave the pass at the border."""
    kept: dict[int, Any] = {}

    def hook(end: int) -> Callable[..., None]:
        calls = 0

        def run(module: nn.Module, inputs: Any, output: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == layers.runs[end - 1]:
                kept[end] = output
                if end == count:
                    raise _Reached

        watched: Any = torch.compiler.disable(run)  # a compiler cannot leave a pass by an error
        return watched

    with ExitStack() as stack:
        for end in layers.ends(count):
            block = layers.blocks[end - 1]
            stack.callback(block.register_forward_hook(hook(end)).remove)
        with suppress(_Reached):
            yield kept


def border_problem(model: Any, count: int) -> str | None:
    """Say what is wrong with the states above the frozen blocks; None if nothing is.

    They must be the same in two passes in train mode, and need no gradient: dropout outside of the blocks
    would make them noise, and MRA without its kernel asks for a gradient of zeros. The model keeps what was
    found.

    Args:
        model: A mapped model below peft's wrapper.
        count: Number of frozen blocks, at least one.
    """
    known: set[int] = vars(model).setdefault(CONSTANT, set())
    if count in known or next(model.parameters()).is_meta:
        return None
    layers, texts, passes = layer_map(model), made_up_texts(model), []
    with undisturbed(model), torch.enable_grad():
        model.train()
        for _ in range(2):
            with _caught(layers, count) as kept:
                run(model, texts)
            passes.append([t for end in sorted(kept) for t in states_of(kept[end])])
    if any(tensor.requires_grad for tensor in passes[0]):
        return "need a gradient, although everything below is frozen"
    if not all(map(torch.equal, *passes)):
        return "differ from pass to pass, although everything below is in eval mode"
    known.add(count)
    return None


def states_of(output: Any) -> list[Tensor]:
    """List the states of texts among what a block returns: all of the shape ``(batch, length, …)``."""
    shape = hidden(output).shape[:2]
    return [
        o for o in items(output) if torch.is_tensor(o) and o.dim() == 3 and o.shape[:2] == shape
    ]


@dataclass(frozen=True)
class Form:
    """The form of what a block returns.

    Attributes:
        kind: Its type.
        keys: Names of its items, if they have names.
        kept: Name under which each item is kept; None for what is not states.
        widths: Size of the states under each name.
        length_first: Whether the length comes before the batch (XLNet).
        fits: Whether each text has as many states as tokens, or only one.
    """

    kind: type
    keys: tuple[str, ...] | None
    kept: tuple[str | None, ...]
    widths: Mapping[str, int]
    length_first: bool
    fits: bool

    @staticmethod
    def of(output: Any, name: str, length: int) -> "Form":
        """Describe what a block returned for two texts of ``length`` tokens, padding included."""
        batch, states = tuple(hidden(output).shape[:2]), states_of(output)
        names = (name, *(f"{name}_{i}" for i in range(1, len(states))))
        found = {id(tensor): own for tensor, own in zip(states, names, strict=True)}
        return Form(
            kind=type(output),
            keys=tuple(output) if isinstance(output, dict) else None,
            kept=tuple(found.get(id(each)) for each in items(output)),
            widths={own: tensor.shape[-1] for tensor, own in zip(states, names, strict=True)},
            length_first=batch == (length, 2) and length != 2,
            fits=batch in ((2, length), (length, 2), (2, 1)),
        )

    def read(self, output: Any) -> dict[str, Tensor]:
        """Take the states out of what a block returned, each ``(batch, length, width)``, float32."""
        found = {n: o for n, o in zip(self.kept, items(output), strict=True) if n is not None}
        return {
            n: (o.transpose(0, 1) if self.length_first else o).float() for n, o in found.items()
        }

    def write(self, states: Mapping[str, Tensor], others: list[Any]) -> Any:
        """Make what a block would have returned, from states by name and its other items."""
        turned = {n: o.transpose(0, 1) if self.length_first else o for n, o in states.items()}
        made = [
            other if name is None else turned[name]
            for name, other in zip(self.kept, others, strict=True)
        ]
        if issubclass(self.kind, Tensor):
            return made[0]
        return self.kind(zip(self.keys, made, strict=True)) if self.keys else self.kind(made)


@dataclass
class FrozenStem:
    """The lowest blocks of a model, embeddings included.

    Attributes:
        model: A mapped model, wrapped by peft or not.
        blocks: Number of blocks, at least one; of an encoder-decoder the encoder's, then the decoder's.
    """

    model: Any
    blocks: int
    _forms: dict[int, Form] = field(default_factory=dict, repr=False)
    _fed: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _read: Counter[int] = field(default_factory=Counter, repr=False)
    _handed: dict[int, list[Any]] = field(default_factory=dict, repr=False)
    _swaps: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of a text's states at the border: ``states``, and ``encoder`` where a decoder goes on."""
        return tuple(self.widths)

    @property
    def widths(self) -> dict[str, int]:
        """Size of the states under each name."""
        forms = self._described()
        return {n: width for end in self._ends() for n, width in forms[end].widths.items()}

    @property
    def whole_model(self) -> bool:
        """Whether the stem has all blocks, so that only the head is left."""
        return self.blocks == len(self._layers().blocks)

    @property
    def fits(self) -> bool:
        """Whether each text has as many states as tokens, so that they can be kept text by text."""
        return all(self._described()[end].fits for end in self._ends())

    @torch.no_grad()
    def run(self, forward: Callable[[], object]) -> dict[str, Tensor]:
        """Compute the states at the border, each ``(batch, length, width)``, float32.

        Args:
            forward: Function that runs the model on some inputs; the pass is left at the border.
        """
        forms, layers = self._described(), self._layers()
        with _caught(layers, self.blocks) as kept:
            forward()
        states = [forms[end].read(kept[end]) for end in self._ends()]
        return {name: tensor for each in states for name, tensor in each.items()}

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Let the model start at the border within, with what :meth:`feed` was given for this pass."""
        self._leave_out()
        try:
            yield
        finally:
            self._put_back()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Make the model whole again, within :meth:`left_out`."""
        self._put_back()
        try:
            yield
        finally:
            self._leave_out()

    def _leave_out(self) -> None:
        self._described()
        for number, block in enumerate(self._layers().blocks[: self.blocks]):
            # Other states at each call: a compiler would start from the beginning each time.
            given: Any = torch.compiler.disable(partial(self._returned, number, block.forward))
            self._swaps.enter_context(swapped_forward(block, given))

    def _put_back(self) -> None:
        self._swaps.close()
        self.feed({})

    def feed(self, states: Mapping[str, Tensor]) -> None:
        """Give the states that the model starts from, as :meth:`run` made them, for one pass.

        A second pass without a second feed raises an error: it would get the first one's states.
        """
        self._fed = dict(states)
        self._read.clear()
        self._handed.clear()

    def fingerprint(self) -> str:
        """Hash everything that the states depend on besides the inputs: weights, architecture, precision."""
        base, layers = unwrap_peft(self.model), self._layers()
        found = sha256()
        config = base.config.to_dict()
        for name in ("id2label", "label2id", "problem_type", "architectures", "_name_or_path"):
            config.pop(name, None)
        kept = {key: str(value) for key, value in config.items()}
        kept |= {"blocks": str(self.blocks), "attention": str(base.config._attn_implementation)}
        found.update(json.dumps(kept, sort_keys=True).encode())
        below = {"embeddings", *(f"block {number}" for number in range(self.blocks))}
        parts = layers.part_of(base)
        tensors = {n: p for n, p in base.named_parameters() if parts[n] in below}
        quiet = [*between(base), *(m for b in layers.blocks[: self.blocks] for m in b.modules())]
        names = {id(module): name for name, module in base.named_modules()}
        for module in quiet:
            for name, tensor in module.named_buffers(recurse=False):
                tensors[f"{names[id(module)]}.{name}"] = tensor
        for name, tensor in tensors.items():
            found.update(f"{name}.{tensor.dtype}".encode())
            found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def _layers(self) -> LayerMap:
        return layer_map(unwrap_peft(self.model))

    def _ends(self) -> list[int]:
        """Return where states are kept; what is above all blocks reads the last ones only."""
        return [self.blocks] if self.whole_model else self._layers().ends(self.blocks)

    def _described(self) -> dict[int, Form]:
        """Describe what the blocks return at the ends of the stacks, once, by a pass over two texts."""
        if self._forms:
            return self._forms
        base, layers = unwrap_peft(self.model), self._layers()
        texts = made_up_texts(base)
        with undisturbed(base), torch.no_grad(), _caught(layers, self.blocks) as kept:
            base.eval()
            run(base, texts)
        *lower, border = layers.ends(self.blocks)
        names = {border: "states"} | {
            end: "states" if self.whole_model else f"encoder_{i}" if i else "encoder"
            for i, end in enumerate(lower)
        }
        length = texts["input_ids"].shape[1]
        self._forms = {end: Form.of(kept[end], name, length) for end, name in names.items()}
        return self._forms

    def _returned(self, number: int, real: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Return what was fed in place of a block, as often as it runs in a pass."""
        layers = self._layers()
        end = next(end for end in layers.ends(self.blocks) if end > number)
        form, name = self._forms[end], layers.names[number]
        if self._read[number] >= layers.runs[number] or not set(form.widths) <= set(self._fed):
            raise RunError(
                "The model was called more than once on the cached states of one batch, which are of one text "
                "each. A loss that calls the model again sets `cacheable = False`; or run with --cache off."
            )
        self._read[number] += 1
        starts = [sum(layers.stacks[:i]) for i in range(len(layers.stacks))]
        inside = end not in (*starts, len(layers.blocks))
        if inside and number in starts and name in layers.extras:
            # It owns what the blocks of its stack are handed (T5's position bias), so it runs.
            self._handed[end] = items(real(*args, **named))
        others = self._handed.get(end) or [None] * len(form.kept)
        return form.write(self._fed, others)


@contextmanager
def swapped_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let ``module`` compute ``forward`` within; afterwards it computes what it did before, swapped or not."""
    before = vars(module).get("forward")
    module.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before  # type: ignore[method-assign]
