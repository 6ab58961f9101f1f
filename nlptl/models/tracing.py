"""One pass of a model over two made-up texts, with its calls, its look-ups and its autograd graph."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

#: Tokens of the longer of the two texts, and of the padding after the shorter one.
LENGTH, PADDING = 24, 6
#: Outputs that a model is judged by: of a head, else of a body.
OF_HEADS, OF_BODIES = (
    ("logits", "start_logits", "end_logits"),
    ("last_hidden_state", "pooler_output"),
)


def text_config(config: Any) -> Any:
    """Return the part of a configuration that describes the text model."""
    try:
        return config.get_text_config()
    except ValueError:  # an encoder and a decoder with a configuration each
        return getattr(config, "encoder", config)


def width_of(config: Any) -> int:
    """Return the size of a model's states."""
    text = text_config(config)
    return getattr(text, "hidden_size", None) or text.d_model


def made_up_texts(model: Any, device: Any = None) -> dict[str, Tensor]:
    """Make two texts of unequal length from a model's configuration, the second one padded.

    Where a model asks for it, they have what a tokenizer would write: as many ``</s>`` in each text for an
    encoder-decoder, three separators, and a place on a page.

    Args:
        model: A Hugging Face model.
        device: Place of the texts; None for the model's.

    Returns:
        ``input_ids`` and ``attention_mask``, ``(2, length)``.
    """
    config, text = model.config, text_config(model.config)
    marks: dict[str, Any] = {}
    for each in (text, config):
        marks |= {n: v for n, v in vars(each).items() if n.endswith("token_id") and v is not None}
    size = getattr(text, "vocab_size", None) or 100
    marks = {n: v for n, v in marks.items() if 0 <= first(v, 0) < size}
    special = {one for v in marks.values() for one in (v if isinstance(v, list | tuple) else [v])}
    plain = [one for one in range(min(size, 100)) if one not in special] or [0]
    room = getattr(text, "max_position_embeddings", None) or 0
    room = room if room > 0 else LENGTH + 2  # XLNet says -1
    length = max(2, min(LENGTH, room - 2))
    padding = min(PADDING, length // 2)
    # Squares: neither a row of consecutive numbers, which only positions are, nor two equal texts.
    rows = [[plain[(j * j * 3 + j + row) % len(plain)] for j in range(length)] for row in range(2)]
    for row, end in zip(rows, (length, length - padding), strict=True):
        row[end:] = [first(marks.get("pad_token_id"), 0)] * (length - end)
        if getattr(config, "is_encoder_decoder", False):
            row[end - 1] = first(marks.get("eos_token_id"), row[end - 1])
        elif length == LENGTH and "sep_token_id" in marks:
            for place in (4, 9, 15):
                row[place] = marks["sep_token_id"]
    device = device or next(model.parameters()).device
    ids = torch.tensor(rows, device=device)
    mask = (torch.arange(length) < torch.tensor([[length], [length - padding]])).long()
    made = {"input_ids": ids, "attention_mask": mask.to(device)}
    if "bbox" in inspect.signature(model.forward).parameters:
        made["bbox"] = ids.new_tensor([1, 2, 10, 12]).expand(2, length, 4)
    return made


def first(value: Any, otherwise: int) -> int:
    """Return a number, the first of a list of numbers, or another one where there is none."""
    value = next(iter(value), None) if isinstance(value, list | tuple) else value
    return otherwise if value is None else value


def items(output: Any) -> list[Any]:
    """List what a module returns."""
    if isinstance(output, dict):
        return list(output.values())
    return list(output) if isinstance(output, tuple | list) else [output]


def hidden(output: Any) -> Any:
    """Return the states among what a block returns, or whatever tensor another module returns; else None."""
    if torch.is_tensor(output):
        return output
    states = (o for o in items(output) if torch.is_tensor(o) and o.is_floating_point())
    return next((o for o in states if o.dim() == 3), None)


def results(output: Any) -> list[Tensor]:
    """List the tensors of a model's output that it is judged by."""
    for names in (OF_HEADS, OF_BODIES):
        if found := [o for name in names if torch.is_tensor(o := output.get(name))]:
            return found
    return []


def walk(nodes: Iterable[Any], stop: Iterable[Any] = ()) -> tuple[set[Any], set[Any], set[int]]:
    """Walk down the autograd graph.

    Args:
        nodes: Nodes to start from.
        stop: Nodes that are not entered.

    Returns:
        The nodes that were seen, those of ``stop`` that were met, and the identities of the parameters below.
    """
    barred, todo = set(stop), list(nodes)
    seen, met = set[Any](), set[Any]()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if node in barred:
            met.add(node)
            continue
        seen.add(node)
        todo += [below for below, _ in node.next_functions]
    return seen, met, {id(node.variable) for node in seen if hasattr(node, "variable")}


@dataclass(frozen=True)
class Call:
    """A call of a module.

    Attributes:
        name: Name of the module.
        given: Node of the states that it got.
        output: Whatever it returned.
        node: Node of the states that it returned, before any later step changed them in place (XLM does).
    """

    name: str
    given: Any
    output: Any
    node: Any


@dataclass(frozen=True)
class Trace:
    """What happened in one pass.

    Attributes:
        inputs: The texts.
        calls: Calls of modules, in the order in which they returned.
        lookups: Index and table of each look-up of an embedding.
        results: Tensors that the model is judged by.
    """

    inputs: Mapping[str, Tensor]
    calls: list[Call]
    lookups: list[tuple[Tensor, Tensor]]
    results: list[Tensor]


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Put back a model's flags, its configuration and the random numbers afterwards.

    Within, texts can be padded: generic heads refuse two texts where the configuration has no padding token.
    """
    flags = [(module, module.training) for module in model.modules()]
    needs = [(p, p.requires_grad) for p in model.parameters()]
    unpadded = [
        c
        for c in {id(c): c for c in (model.config, text_config(model.config))}.values()
        if getattr(c, "pad_token_id", None) is None
    ]
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        try:
            for config in unpadded:
                config.pad_token_id = 0
            yield
        finally:
            for config in unpadded:
                config.pad_token_id = None
            for module, training in flags:
                module.training = training
            for parameter, need in needs:
                parameter.requires_grad_(need)


def run(model: Any, inputs: Mapping[str, Tensor], *, again: Callable[[], object] = bool) -> Any:
    """Run a model on texts; a body or a language model whose decoder reads a text of its own reads them twice.

    Args:
        model: A Hugging Face model.
        inputs: The texts.
        again: Function that is called before a second try.
    """
    try:
        return model(**inputs)
    except (ValueError, TypeError):
        if "decoder_input_ids" not in inspect.signature(model.forward).parameters:
            raise
        again()
        return model(**inputs, decoder_input_ids=inputs["input_ids"])


def trace(model: Any, inputs: Mapping[str, Tensor] | None = None) -> Trace:
    """Run a model once in eval mode with gradients, and write down what happens.

    Args:
        model: A Hugging Face model, with or without a head; on the meta device only shapes are computed.
        inputs: Texts; None makes two up (:func:`made_up_texts`).
    """
    inputs = made_up_texts(model) if inputs is None else inputs
    names = {id(module): name for name, module in model.named_modules()}
    calls: list[Call] = []
    lookups: list[tuple[Tensor, Tensor]] = []
    look_up = nn.functional.embedding

    def called(module: Any, args: Any, named: Any, output: Any) -> None:
        got = args[0] if args else named.get("hidden_states")
        node = getattr(hidden(output), "grad_fn", None)
        calls.append(Call(names[id(module)], getattr(got, "grad_fn", None), output, node))

    def looked_up(index: Tensor, weight: Tensor, *args: Any, **named: Any) -> Tensor:
        lookups.append((index, weight))
        return look_up(index, weight, *args, **named)

    with ExitStack() as stack:
        stack.enter_context(undisturbed(model))
        for module in model.modules():
            module.training = False
            handle = module.register_forward_hook(called, with_kwargs=True)
            stack.callback(handle.remove)
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(True)
        stack.enter_context(_replaced(looked_up))
        stack.enter_context(torch.enable_grad())
        if inputs["input_ids"].is_meta:
            stack.enter_context(_NoNumbers())
        output = run(model, inputs, again=lambda: (calls.clear(), lookups.clear()))
    return Trace(inputs, calls, lookups, results(output))


class _NoNumbers(TorchDispatchMode):
    """Answer 0 or False where a model wants a number on the meta device, such as whether a text is padded."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation."""
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return args[0].new_zeros((), device="cpu").item()
        return func(*args, **(kwargs or {}))


def early_lookups(model: Any) -> list[tuple[Tensor, Tensor]]:
    """List what a model without weights looks up before its first block.

    Args:
        model: Model whose parameters are on the meta device, and whose buffers are not.

    Returns:
        Index, with its numbers, and table of each look-up.
    """
    found: list[tuple[Tensor, Tensor]] = []

    def looked_up(index: Tensor, weight: Tensor, *args: Any, **named: Any) -> Tensor:
        found.append((index, weight))
        return torch.zeros(*index.shape, weight.shape[1])

    inputs = {n: t for n, t in made_up_texts(model, "cpu").items() if n != "bbox"}
    # Numbers and weights that are not there do not go together for long.
    with undisturbed(model), torch.no_grad(), _replaced(looked_up), suppress(Exception):
        model(**inputs)
    return found


@contextmanager
def _replaced(look_up: Callable[..., Tensor]) -> Iterator[None]:
    before = nn.functional.embedding
    nn.functional.embedding = look_up
    try:
        yield
    finally:
        nn.functional.embedding = before
