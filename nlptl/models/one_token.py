"""Computation of the last block for the one token that a classification head reads.

Nothing reads the output of BERT's last block for the other tokens; the block needs only their keys and values.
Queries, the attention's output and the feed-forward layer, ten of twelve parts of its matrix products, are
then computed for one token per text. The head gets the same numbers, and every weight the same gradient.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nlptl.models.adapters import has_prompt, unwrap_peft
from nlptl.models.frozen_stem import swapped_forward
from nlptl.models.layer_map import layer_map
from nlptl.models.tracing import hidden, made_up_texts, undisturbed

#: The attribute in which a model keeps whether its last block can be computed for one token.
CAN = "_can_read_one_token"
#: What a block must have, as BERT's has it.
PARTS = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output")
#: Largest difference between the block's own first row and ours.
TOLERANCE = 1e-5


def can_read_one_token(model: Any) -> bool:
    """Whether the last block of a mapped model can be computed for the first token alone.

    The block must be built like BERT's, its head must read the first token, the attention must be the one that
    transformers calls ``sdpa``, and the block's own first row must come out on two texts. The model keeps the
    answer.
    """
    base = unwrap_peft(model)
    layers, config = layer_map(base), base.config
    if has_prompt(model) or layers.pooled != "first" or config._attn_implementation != "sdpa":
        return False
    if CAN not in vars(base):
        vars(base)[CAN] = _is_like_bert(layers.blocks[-1]) and _is_the_same(base, layers.blocks[-1])
    return vars(base)[CAN]


def _is_like_bert(block: Any) -> bool:
    has = {name for name, _ in block.named_modules()}
    attention = getattr(getattr(block, "attention", None), "self", None)
    rest = all(hasattr(attention, name) for name in ("attention_head_size", "dropout", "scaling"))
    return has >= set(PARTS) and rest and hasattr(block, "feed_forward_chunk")


@torch.no_grad()
def _is_the_same(model: Any, block: Any) -> bool:
    """Compare the block's own first row with ours, on two texts in eval mode."""
    seen: list[tuple[Any, Any, Any]] = []

    def called(module: Any, args: Any, named: Any, output: Any) -> None:
        seen.append((args, named, hidden(output)))

    handle = block.register_forward_hook(called, with_kwargs=True)
    try:
        with undisturbed(model):
            model.eval()
            model(**made_up_texts(model))
            ((args, named, whole),) = seen
            ours = _first_token(block, *args, **named)
    except Exception:  # it takes, needs or returns something else
        return False
    finally:
        handle.remove()
    return bool(((ours - whole[:, :1]).abs() <= TOLERANCE).all())


@contextmanager
def last_block_for_one_token(model: nn.Module) -> Iterator[None]:
    """Let the last block return the first token's states only, ``(batch, 1, width)``, within.

    Models that cannot (:func:`can_read_one_token`) stay as they are.

    Args:
        model: A mapped model with a head that reads nothing else, wrapped by peft or not.
    """
    if not can_read_one_token(model):
        yield
        return
    block = layer_map(unwrap_peft(model)).blocks[-1]
    with swapped_forward(block, partial(_first_token, block)):
        yield


@contextmanager
def whole_last_block(model: nn.Module) -> Iterator[None]:
    """Let the last block return all tokens' states within, also inside :func:`last_block_for_one_token`.

    Args:
        model: A mapped model, wrapped by peft or not.
    """
    block = layer_map(unwrap_peft(model)).blocks[-1]
    with swapped_forward(block, partial(type(block).forward, block)):
        yield


def _first_token(
    block: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """Compute the first row of what transformers' BertLayer computes."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    attention, first = block.attention.self, hidden_states[:, :1]

    def heads(states: Tensor) -> Tensor:
        return states.unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)

    read, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](
        attention,
        heads(attention.query(first)),
        heads(attention.key(hidden_states)),
        heads(attention.value(hidden_states)),
        None if attention_mask is None else attention_mask[:, :, :1],
        dropout=attention.dropout.p if attention.training else 0.0,
        scaling=attention.scaling,
    )
    return block.feed_forward_chunk(block.attention.output(read.flatten(2), first))
