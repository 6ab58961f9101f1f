"""Computation of the last block for the one token that a classification head reads.

Nothing reads the output of BERT's last block for the other tokens; the block needs only their keys and values.
Queries, the attention's output and the feed-forward layer, ten of twelve parts of its matrix products, are
then computed for one token per text. The head gets the same numbers, and every weight the same gradient.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from nlptl.models.adapters import unwrap_peft
from nlptl.models.frozen_stem import swapped_forward
from nlptl.models.layer_map import layer_map
from nlptl.models.pooling import pooling_of


def can_read_one_token(model: Any) -> bool:
    """Whether the last block of a mapped model can be computed for the first token alone.

    This holds for encoders whose heads read the first token, with the attention that transformers calls
    ``sdpa``. T5's head reads the last token of a decoder.
    """
    config = unwrap_peft(model).config
    encoder = not getattr(config, "is_encoder_decoder", False) and not config.is_decoder
    return encoder and pooling_of(model) == "first" and config._attn_implementation == "sdpa"


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
    (block,) = layer_map(unwrap_peft(model)).blocks[-1]
    with swapped_forward(block, partial(_first_token, block)):
        yield


def _first_token(
    block: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """Compute the first row of what transformers' BertLayer and RobertaLayer compute."""
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
