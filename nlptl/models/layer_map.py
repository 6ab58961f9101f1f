"""Parts of a model: embeddings, blocks in forward order, and the head above them.

There is one row of :data:`FAMILIES` for each model family. Modules are addressed as objects, never by a piece
of their name: T5's parameters are called ``encoder.block.N.layer.M``, and a rule that looks for
``layer.0.`` finds all 24 blocks of a 12 + 12 T5.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from nlptl.errors import ModelError

Modules = tuple[nn.Module, ...]
#: The width that learning rates are given for.
RATE_WIDTH = 768


@dataclass(frozen=True)
class Family:
    """The layout of one model family.

    Attributes:
        embeddings: Function from the backbone to the modules below the first block.
        blocks: Function from the backbone to its blocks in forward order; an entry may hold several modules.
        lora_targets: The query and value projections inside a block (Hu et al., 2022, section 4.2).
        residual_writes: The projections of a block whose output is added to the residual stream.
        pre_norm: Whether norms are placed before a block's parts, and not in the stream.
        lm_head: Name of the pretraining head on the language model.
        positions: Function from the configuration to the longest input in tokens; None if there is no limit.
        pass_on: Function from a block, a hidden state and a position bias to what the block would return if
            it changed nothing.
        pooled: Position of the token that a classification head reads, ``first`` or ``last``.
        ties: Parameters that share one tensor, in words.
        full_rate: AdamW's usual peak rate if all of a model of width :data:`RATE_WIDTH` trains.
    """

    embeddings: Callable[[Any], Modules]
    blocks: Callable[[Any], list[Modules]]
    lora_targets: tuple[str, ...]
    residual_writes: tuple[str, ...]
    pre_norm: bool
    lm_head: str
    positions: Callable[[Any], int | None]
    pass_on: Callable[[Any, Any, Any], Any]
    pooled: str
    ties: str
    full_rate: float


def _encoder_blocks(backbone: Any) -> list[Modules]:
    return [(block,) for block in backbone.encoder.layer]


def _pass_on(block: Any, hidden: Any, bias: Any) -> Any:
    return hidden


def _t5_pass_on(block: Any, hidden: Any, bias: Any) -> Any:
    attention = block.layer[0].SelfAttention
    if bias is None and attention.has_relative_attention_bias:
        # Only the first block of a stack owns it, and the blocks above need it.
        bias = attention.compute_bias(hidden.shape[1], hidden.shape[1], device=hidden.device)
    return hidden, bias, None


def _t5_blocks(backbone: Any) -> list[Modules]:
    # The norm that closes the encoder lies below the decoder: it freezes with the last encoder
    # block. The norm that closes the decoder lies above all blocks, so it belongs to the head.
    encoder: list[Modules] = [(block,) for block in backbone.encoder.block]
    if not hasattr(backbone, "decoder"):  # an encoder alone, below a head that reads its tokens
        return encoder
    encoder[-1] = (*encoder[-1], backbone.encoder.final_layer_norm)
    return encoder + [(block,) for block in backbone.decoder.block]


FAMILIES: dict[str, Family] = {
    "bert": Family(
        embeddings=lambda backbone: (backbone.embeddings,),
        blocks=_encoder_blocks,
        lora_targets=("attention.self.query", "attention.self.value"),
        residual_writes=("attention.output.dense", "output.dense"),
        pre_norm=False,
        lm_head="cls",
        positions=lambda config: config.max_position_embeddings,
        pass_on=_pass_on,
        pooled="first",
        ties="the masked-LM decoder shares the word embeddings' tensor",
        full_rate=3e-5,  # {2, 3, 5}e-5 (Devlin et al., 2019)
    ),
    "roberta": Family(
        embeddings=lambda backbone: (backbone.embeddings,),
        blocks=_encoder_blocks,
        lora_targets=("attention.self.query", "attention.self.value"),
        residual_writes=("attention.output.dense", "output.dense"),
        pre_norm=False,
        lm_head="lm_head",
        # Position ids start behind the padding index, so two of the 514 rows are never used.
        positions=lambda config: config.max_position_embeddings - config.pad_token_id - 1,
        pass_on=_pass_on,
        pooled="first",
        ties="the masked-LM decoder shares the word embeddings' tensor",
        full_rate=2e-5,  # {1, 2, 3}e-5 (Liu et al., 2019)
    ),
    "t5": Family(
        # One dropout serves a stack's embeddings and its output.
        embeddings=lambda backbone: (
            backbone.shared,
            backbone.encoder.dropout,
            *((backbone.decoder.dropout,) if hasattr(backbone, "decoder") else ()),
        ),
        blocks=_t5_blocks,
        lora_targets=("q", "v"),
        residual_writes=("o", "wo"),
        pre_norm=True,
        lm_head="lm_head",
        positions=lambda config: None,
        pass_on=_t5_pass_on,
        pooled="last",
        ties=(
            "encoder and decoder share the embeddings (and v1.0 checkpoints the LM head); the first "
            "block of each stack owns the relative position bias of all its blocks"
        ),
        # The lowest of 1e-4 to 3e-4 with AdamW (transformers, pull request 13240): at twice that, an earlier
        # bundled/t5 learned less in each of two modes.
        full_rate=1e-4,
    ),
}


@dataclass(frozen=True)
class LayerMap:
    """The layers of one model, as objects.

    Attributes:
        family: The model's row in :data:`FAMILIES`.
        embeddings: Modules below the first block.
        blocks: Blocks from the input up; for T5 the encoder's, then the decoder's.
    """

    family: Family
    embeddings: Modules
    blocks: tuple[Modules, ...]

    def lower(self, count: int) -> Iterator[nn.Module]:
        """Yield the embeddings and the modules of the lowest ``count`` blocks."""
        yield from self.embeddings
        for block in self.blocks[:count]:
            yield from block

    def part_of(self, model: nn.Module) -> dict[str, str]:
        """Map each parameter name of ``model`` to ``embeddings``, ``block N`` or ``head``."""
        parts = {id(p): "embeddings" for m in self.embeddings for p in m.parameters()}
        for number, block in enumerate(self.blocks):
            parts |= {id(p): f"block {number}" for m in block for p in m.parameters()}
        return {name: parts.get(id(p), "head") for name, p in model.named_parameters()}


def layer_map(model: Any) -> LayerMap:
    """Map a Hugging Face model of a known family, with or without a head.

    Raises:
        ModelError: If the family is not mapped; the message lists those that are.
    """
    kind = model.config.model_type
    family = check_family(kind)
    backbone = model.base_model
    return LayerMap(family, family.embeddings(backbone), tuple(family.blocks(backbone)))


def depth(config: Any) -> tuple[int, int]:
    """Count the blocks of a configuration's encoder, and of its decoder."""
    seq2seq = getattr(config, "is_encoder_decoder", False)
    return config.num_hidden_layers, config.num_decoder_layers if seq2seq else 0


def check_family(kind: str, name: str = "This model") -> Family:
    """Return the row of a ``model_type``.

    Raises:
        ModelError: If there is none.
    """
    if kind not in FAMILIES:
        raise ModelError(
            f"{name} is of the family '{kind}', which nlptl has no layer map for, so it does not know "
            f"what to freeze. Mapped families: {', '.join(FAMILIES)}. CONTRIBUTING.md says how to "
            "add one."
        )
    return FAMILIES[kind]
