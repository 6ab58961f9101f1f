"""Parts of a model: embeddings, blocks in forward order, and the head above them.

There is no table of model types. The structure proposes, and one traced pass decides: the candidates are the
outermost ``nn.ModuleList`` s of the backbone whose members run on a text, and what lies below a border between
blocks is every parameter that the states there can be differentiated by, whatever it is called. T5's
``final_layer_norm`` stands twice, once inside the backbone and once at its top; BigBird-Pegasus calls its last
norm ``layernorm_embedding``. What does not verify is refused with the reason.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from nlptl.errors import ModelError
from nlptl.models import deriving
from nlptl.models.deriving import Refused
from nlptl.models.tracing import Trace, early_lookups, hidden, items, text_config, trace, walk

#: The attribute in which a model keeps its map.
MAP = "_layer_map"
#: Names of an encoder's or an only stack's depth, and of a decoder's, in configurations.
DEPTHS = (
    ("num_hidden_layers", "encoder_layers", "num_self_attends_per_block"),
    ("num_decoder_layers", "decoder_layers"),
)
#: End of the names of classes with the encoder of an encoder-decoder alone.
ENCODER = "EncoderModel"
#: Entries of a configuration that the body does not depend on.
OF_HEAD = {
    *("id2label", "label2id", "num_labels", "problem_type", "architectures"),
    *("dtype", "transformers_version", "_name_or_path"),
}


@dataclass(frozen=True)
class LayerMap:
    """The layers of one model, as objects.

    Attributes:
        blocks: Blocks in forward order; of an encoder-decoder the encoder's, then the decoder's.
        names: Their names on the model.
        runs: Number of times that each of them runs in a pass.
        stacks: Number of blocks of each stack, ``(12,)`` or ``(12, 12)``.
        outside: Parameters outside of the blocks that are not the head's: module's name, module, parameter's
            name, part.
        partial: Reason why no border between blocks can be frozen; None if every border can.
        extras: Names of the blocks that return more than the states (T5: the position bias).
        dead: Names of parameters of the blocks that the outputs do not depend on.
        unread: Names of all parameters that the outputs do not depend on, outside of the blocks too.
        crossing: Names of the linear layers of a decoder that read what the encoder wrote.
        tied: Names of parameters that are one tensor.
        pre_norm: Whether norms are placed before a block's parts, and not in the stream.
        pooled: Position of the token that the logits are made of: ``first``, ``last``, ``mean``, ``each``, or
            a description of anything else. It is measured by gradient, and empty on the meta device.
        positions: Longest input in tokens; None if there is no limit.
        lora_targets: Full names of the projections that adapters go into by default: query and value (Hu et
            al., 2022, section 4.2), or the fused one, or all linear layers.
    """

    blocks: tuple[nn.Module, ...]
    names: tuple[str, ...]
    runs: tuple[int, ...]
    stacks: tuple[int, ...]
    outside: tuple[tuple[str, nn.Module, str, str], ...]
    partial: str | None
    extras: frozenset[str]
    dead: frozenset[str]
    unread: frozenset[str]
    crossing: frozenset[str]
    tied: tuple[tuple[str, ...], ...]
    pre_norm: bool
    pooled: str
    positions: int | None
    lora_targets: tuple[str, ...]

    def part_of(self, model: nn.Module) -> dict[str, str]:
        """Map each parameter name of ``model`` to ``embeddings``, ``block N``, ``head`` or ``unused``.

        Args:
            model: The mapped model, its body, or what peft made of it; parameters are known by identity, and
                those of an adapter belong to its block.
        """
        parts: dict[int, str] = {}
        for _, module, name, part in self.outside:
            if (parameter := module._parameters.get(name)) is not None:
                parts[id(parameter)] = part
        numbered = list(enumerate(self.blocks))
        for number, block in reversed(numbered):  # a shared one counts where it runs first
            parts |= {id(p): f"block {number}" for p in block.parameters()}
        return {name: parts.get(id(p), "head") for name, p in model.named_parameters()}

    def ends(self, count: int) -> list[int]:
        """List where the stacks below a border end, and the border: 12 and 15 for border 15 of 12 + 12."""
        ends = {sum(self.stacks[: i + 1]) for i in range(len(self.stacks))}
        return sorted({count, *(end for end in ends if end <= count)})


def layer_map(model: Any, inputs: Mapping[str, Tensor] | None = None) -> LayerMap:
    """Map a Hugging Face model, with or without a head, by one traced pass; the model keeps its map.

    Args:
        model: A model below peft's wrapper, before DistributedDataParallel, FSDP or compilation.
        inputs: Two texts to trace, the second one padded; None makes them up. A map of given texts is not
        kept.

    Raises:
        ModelError: If the structure cannot be verified; the message says why.
    """
    if inputs is None and (kept := vars(model).get(MAP)) is not None and _is_of(kept, model):
        return kept
    try:
        with torch.inference_mode(False), torch.enable_grad():
            found = _derive(model, _traced(model, inputs))
    except Refused as refused:
        raise ModelError(
            f"{_called(model)} cannot be divided into embeddings, blocks and a head: {refused}."
        ) from refused
    if inputs is None:
        vars(model)[MAP] = found
    return found


def _traced(model: Any, inputs: Mapping[str, Tensor] | None) -> Trace:
    try:
        return trace(model, inputs)
    except Exception as error:  # whatever a model raises that needs an image, say
        said = (str(error).strip().splitlines() or [""])[0]
        raise Refused(
            f"it does not run on a text alone ({type(error).__name__}: {said})"
        ) from error


def _called(model: Any) -> str:
    name = getattr(model, "name_or_path", "")
    kind = f"a model of the architecture '{model.config.model_type}'"
    return f"{name} ({kind})" if name else kind[0].upper() + kind[1:]


def _is_of(kept: LayerMap, model: nn.Module) -> bool:
    """Whether a map's modules are still the model's, which somebody may have changed or wrapped."""
    named = [*zip(kept.names, kept.blocks, strict=True), *((n, m) for n, m, *_ in kept.outside)]
    try:
        if all(model.get_submodule(name) is module for name, module in named):
            return True
    except AttributeError:
        pass
    there = {id(module) for module in model.modules()}
    return all(id(module) in there for _, module in named)


def _derive(model: Any, seen: Trace) -> LayerMap:
    home = deriving.candidates(model)
    if not seen.results:
        raise Refused("it returns neither logits nor states")
    roots = [result.grad_fn for result in seen.results]
    top, _, read = walk(roots)
    last = {call.name: call for call in seen.calls}
    runs = Counter(call.name for call in seen.calls if call.name in home)
    names = deriving.running(runs, last, home, top)
    blocks = {name: model.get_submodule(name) for name in names}
    reach = deriving.chain(blocks, last)
    outside = deriving.outside(model, blocks, last, reach, read)
    owners = Counter(id(p) for block in blocks.values() for p in block.parameters())
    shared = [
        f"{name} runs {runs[name]} times in one pass, because blocks share their weights"
        for name in names
        if runs[name] > 1
    ]
    shared += [
        f"{name} shares parameters with another block"
        for name, block in blocks.items()
        if any(owners[id(p)] > 1 for p in block.parameters())
    ]
    params = dict(model.named_parameters())
    inside = {id(p) for block in blocks.values() for p in block.parameters()}
    unread = {name for name, p in params.items() if id(p) not in read}
    dead = {name for name in unread if id(params[name]) in inside}
    stacks = tuple(Counter(home[name] for name in names).values())
    final = last[names[-1]]
    return LayerMap(
        blocks=tuple(blocks.values()),
        names=tuple(names),
        runs=tuple(runs[name] for name in names),
        stacks=stacks,
        outside=outside,
        partial=shared[0] if shared else None,
        extras=frozenset(n for n in names if sum(map(torch.is_tensor, items(last[n].output))) > 1),
        dead=frozenset(dead),
        unread=frozenset(unread),
        crossing=deriving.crossing(blocks, last, names[stacks[0] :] if len(stacks) == 2 else []),
        tied=deriving.tied(model),
        pre_norm=not deriving.is_closed_by_norm(model, names[-1], final, seen.calls),
        pooled=deriving.pooled(seen.results[0], hidden(final.output), seen.inputs),
        positions=deriving.positions(seen.lookups, model.config),
        lora_targets=tuple(n for n in deriving.lora_targets(blocks) if f"{n}.weight" not in dead),
    )


def class_of_body(config: Any) -> Any:
    """Return the auto class of a body: of an encoder-decoder without its decoder that of the encoder alone."""
    from transformers import AutoModel, AutoModelForTextEncoding

    known: Any = AutoModelForTextEncoding._model_mapping
    both = getattr(config, "is_encoder_decoder", False)
    alone = not both and type(config) in known and known[type(config)].__name__.endswith(ENCODER)
    return AutoModelForTextEncoding if alone else AutoModel


@lru_cache(maxsize=8)
def _body(text: str, kind: type) -> tuple[Any, int | None]:
    """Return the body of a configuration without weights, or why there is none, and its longest text."""
    from accelerate import init_empty_weights

    config = kind.from_dict(json.loads(text))
    config.architectures = []  # where there are several bodies (Funnel), the first one: it has all blocks
    try:
        with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
            model = class_of_body(config).from_config(config, trust_remote_code=False)
    except Exception as error:  # a package that is not there, for example
        return str(error), deriving.positions((), config)
    positions = deriving.positions(early_lookups(model), config)
    return model, positions


@lru_cache(maxsize=32)
def _described(text: str, kind: type) -> LayerMap | str:
    """Return the map of a body without weights, or why there is none; empty if it cannot be said."""
    model, _ = _body(text, kind)
    if isinstance(model, str):
        return ""
    try:
        model = model.to("meta")
        model.tie_weights()
        seen = trace(model)
    except Exception:  # routing to experts, for example, takes numbers
        return ""
    try:
        with torch.enable_grad():
            return _derive(model, seen)
    except Refused as refused:
        return str(refused)


def _key(config: Any) -> tuple[str, type]:
    body = {name: value for name, value in config.to_dict().items() if name not in OF_HEAD}
    return json.dumps(body, sort_keys=True, default=str), type(config)


def map_of(config: Any) -> LayerMap | None:
    """Map the body of a configuration, before any weights are read.

    Its modules are on the meta device. The token that a head reads is not known (``pooled`` is empty).

    Returns:
        The map; None where shapes alone do not say which way the body runs (mixtures of experts).

    Raises:
        ModelError: If the structure cannot be verified; the message says why.
    """
    found = _described(*_key(config))
    if isinstance(found, LayerMap):
        return found
    if found:
        raise ModelError(
            f"A model of the architecture '{config.model_type}' cannot be divided into embeddings, blocks and "
            f"a head: {found}."
        )
    return None


def depth(config: Any) -> tuple[int, int]:
    """Count the blocks of a configuration's encoder, or of its only stack, and of its decoder.

    Raises:
        ModelError: If the architecture cannot be mapped.
    """
    found, pair = map_of(config), getattr(config, "is_encoder_decoder", False)
    if found is not None:
        stacks = found.stacks
        return (stacks[0], sum(stacks[1:])) if pair else (sum(stacks), 0)
    text = text_config(config)
    one, two = (
        next((n for name in names if (n := getattr(text, name, None)) is not None), 0)
        for names in DEPTHS
    )
    return one, two if pair else 0


def longest_text(config: Any) -> int | None:
    """Return the tokens that a model takes, by its table of positions; None if there is no limit."""
    return _body(*_key(config))[1]
