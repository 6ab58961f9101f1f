"""The frozen lower part of a model: run alone, and left out.

A block that is left out keeps its place, its name and its parameters; only its ``forward`` is swapped, on the
object, for one that passes on what it gets. So checkpoints, optimizers and wrappers see the same
model with and without its lower part.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from nlptl.errors import RunError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.layer_map import Family, layer_map


def frozen_blocks(model: Any) -> int:
    """Count the lowest blocks that never change: nothing in or below them trains or drops out.

    The count is 0 if the embeddings change, or if only they are frozen.

    Args:
        model: A mapped model after :func:`nlptl.modes.base.apply_mode`, wrapped by peft or not.
    """
    base = unwrap_peft(model)
    layers = layer_map(base)
    was = base.training
    base.train()  # frozen modules stay in eval mode (modes.freeze)
    try:
        if not all(map(_is_constant, layers.embeddings)):
            return 0
        count = 0
        for block in layers.blocks:
            if not all(map(_is_constant, block)):
                break
            count += 1
        return count
    finally:
        base.train(was)


def _is_constant(module: nn.Module) -> bool:
    return not any(p.requires_grad for p in module.parameters()) and not any(
        inner.training for inner in module.modules()
    )


@dataclass
class FrozenStem:
    """The lowest blocks of a model, embeddings included.

    Attributes:
        model: A mapped model, wrapped by peft or not.
        blocks: Number of blocks, at least one; for T5 the encoder's, then the decoder's.
    """

    model: Any
    blocks: int
    _fed: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _read: set[str] = field(default_factory=set, repr=False)
    _swaps: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of a text's states at the border: ``states``, and ``encoder`` where T5's decoder goes on."""
        encoder = len(self._stacks()[0])
        inside_decoder = encoder < self.blocks < len(self._layers().blocks)
        return ("states", "encoder") if inside_decoder else ("states",)

    @property
    def whole_model(self) -> bool:
        """Whether the stem has all blocks, so that only the head is left."""
        return self.blocks == len(self._layers().blocks)

    @property
    def width(self) -> int:
        """Hidden size."""
        return unwrap_peft(self.model).config.hidden_size

    @torch.no_grad()
    def run(self, forward: Callable[[], object]) -> dict[str, Tensor]:
        """Compute the states at the border, each ``(batch, length, width)``, float32.

        Args:
            forward: Function that runs the model on some inputs; meanwhile the blocks above the border pass
                on what they get, so that they cost almost nothing.
        """
        encoder, _ = self._stacks()
        caught: dict[str, Tensor] = {}

        def catch(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                caught[name] = (output[0] if isinstance(output, tuple) else output).float()

            return hook

        layers = self._layers()
        with ExitStack() as stack:
            for block in layers.blocks[self.blocks :]:
                stack.enter_context(_passing(layers.family, block[0]))
            last = layers.blocks[self.blocks - 1][-1]
            stack.callback(last.register_forward_hook(catch("states")).remove)
            if "encoder" in self.names:
                top = layers.blocks[len(encoder) - 1][-1]
                stack.callback(top.register_forward_hook(catch("encoder")).remove)
            forward()
        return caught

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
        base = unwrap_peft(self.model).base_model
        encoder, decoder = self._stacks()
        layers = self._layers()
        # Other states at each call: a compiler would start from the beginning each time.
        states: list[Any] = [
            torch.compiler.disable(partial(self._states, f"block {n}")) for n in (0, len(encoder))
        ]
        embedded: Any = torch.compiler.disable(lambda **given: self._states("embeddings"))
        encoded: Any = torch.compiler.disable(self._encoder_output)
        for number, block in enumerate(layers.blocks[: self.blocks]):
            first = states[number > 0] if number in (0, len(encoder)) else None
            self._swaps.enter_context(_passing(layers.family, block[0], first))
            for closing in block[1:]:  # the norm that ends T5's encoder
                self._swaps.enter_context(swapped_forward(closing, lambda states: states))
        if decoder and self.blocks > len(encoder):
            self._swaps.enter_context(swapped_forward(base.encoder, encoded))
        elif hasattr(base, "embeddings"):  # T5's are shared, and looking them up costs nothing
            self._swaps.enter_context(swapped_forward(base.embeddings, embedded))

    def _put_back(self) -> None:
        self._swaps.close()
        self.feed({})

    def feed(self, states: Mapping[str, Tensor]) -> None:
        """Give the states that the model starts from, as :meth:`run` made them, for one pass.

        A second pass without a second feed raises an error: it would get the first one's states.
        """
        self._fed = dict(states)
        self._read.clear()

    def fingerprint(self) -> str:
        """Hash everything that the states depend on besides the inputs: weights, architecture, precision."""
        base = unwrap_peft(self.model)
        found = sha256()
        config = base.config.to_dict()
        for name in ("id2label", "label2id", "problem_type", "architectures", "_name_or_path"):
            config.pop(name, None)
        kept = {key: str(value) for key, value in config.items()}
        kept |= {"blocks": str(self.blocks), "attention": str(base.config._attn_implementation)}
        found.update(json.dumps(kept, sort_keys=True).encode())
        for number, module in enumerate(self._layers().lower(self.blocks)):
            for name, tensor in module.state_dict().items():
                found.update(f"{number}.{name}.{tensor.dtype}".encode())
                found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def _layers(self) -> Any:
        return layer_map(unwrap_peft(self.model))

    def _stacks(self) -> tuple[list[Any], list[Any]]:
        base = unwrap_peft(self.model).base_model
        blocks = list(self._layers().blocks)
        seq2seq = getattr(base.config, "is_encoder_decoder", False)
        count = base.config.num_layers if seq2seq else len(blocks)
        return blocks[:count], blocks[count:]

    def _states(self, reader: str, name: str = "states") -> Tensor:
        """Give out what was fed, once to each part of the model that begins with it."""
        if reader in self._read or name not in self._fed:
            raise RunError(
                "The model was called more than once on the cached states of one batch, which are of one text "
                "each. A loss that calls the model again sets `cacheable = False`; or run with --cache off."
            )
        self._read.add(reader)
        return self._fed[name]

    def _encoder_output(self, input_ids: Any = None, **given: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        # Nothing reads the encoder where the whole decoder is left out.
        name = "encoder" if "encoder" in self._fed else "states"
        return BaseModelOutput(last_hidden_state=self._states("encoder", name))


@contextmanager
def _passing(
    family: Family, block: nn.Module, states: Callable[[], Tensor] | None = None
) -> Iterator[None]:
    """Let a block pass on its input, or ``states``, in the form of its own output."""

    # Two functions, because torch.compile treated one function with and without states as the same.
    def through(hidden: Tensor, mask: Any = None, bias: Any = None, *_: Any, **__: Any) -> Any:
        return family.pass_on(block, hidden, bias)

    def fed(hidden: Tensor, mask: Any = None, bias: Any = None, *_: Any, **__: Any) -> Any:
        assert states is not None
        return family.pass_on(block, states(), bias)

    with swapped_forward(block, through if states is None else fed):
        yield


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
