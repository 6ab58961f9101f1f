"""What the layer map cannot find out by itself: names that pretraining needs, and published rates.

A family that is not here is mapped, frozen, adapted and cached like any other
(:mod:`nlptl.models.layer_map`); it cannot be pretrained from scratch, grown or compared under its pretraining
head.
"""

from dataclasses import dataclass

from nlptl.errors import ModelError


@dataclass(frozen=True)
class Family:
    """What pretraining needs to know of one model family.

    Attributes:
        residual_writes: The projections of a block whose output is added to the residual stream.
        lm_head: Name of the pretraining head on the language model.
        ties: Parameters that share one tensor, in words.
    """

    residual_writes: tuple[str, ...]
    lm_head: str
    ties: str


FAMILIES: dict[str, Family] = {
    "bert": Family(
        residual_writes=("attention.output.dense", "output.dense"),
        lm_head="cls",
        ties="the masked-LM decoder shares the word embeddings' tensor",
    ),
    "roberta": Family(
        residual_writes=("attention.output.dense", "output.dense"),
        lm_head="lm_head",
        ties="the masked-LM decoder shares the word embeddings' tensor",
    ),
    "t5": Family(
        residual_writes=("o", "wo"),
        lm_head="lm_head",
        ties=(
            "encoder and decoder share the embeddings (and v1.0 checkpoints the LM head); the first "
            "block of each stack owns the relative position bias of all its blocks"
        ),
    ),
}

#: The width that learning rates are given for.
RATE_WIDTH = 768
#: AdamW's usual peak rates where all of a model of width :data:`RATE_WIDTH` trains: of the two kinds of norm,
#: and of families for which another one is published.
RATES = {
    "post-norm": 3e-5,  # {2, 3, 5}e-5 (Devlin et al., 2019)
    # The lowest of 1e-4 to 3e-4 that T5 takes with AdamW (transformers, pull request 13240): at twice that, an
    # earlier bundled/t5 learned less in each of two modes. Scaled to width 4,096 it is 1.9e-5, where Llama 7B
    # is usually tuned with 2e-5 (Taori et al., 2023, "Stanford Alpaca").
    "pre-norm": 1e-4,
    "roberta": 2e-5,  # {1, 2, 3}e-5 (Liu et al., 2019)
}


def check_family(kind: str, name: str = "This model") -> Family:
    """Return the row of a ``model_type`` for pretraining.

    Raises:
        ModelError: If there is none.
    """
    if kind not in FAMILIES:
        raise ModelError(
            f"{name} is of the family '{kind}', for which nlptl has no pretraining objective. Families that "
            f"can be pretrained: {', '.join(FAMILIES)}. CONTRIBUTING.md says how to add one."
        )
    return FAMILIES[kind]
