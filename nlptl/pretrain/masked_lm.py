"""Masked language modelling: the upstream objective of BERT and RoBERTa."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.padding import pad, real_tokens
from nlptl.models.adapters import unwrap_peft
from nlptl.models.families import check_family
from nlptl.models.tokenizer import continuing
from nlptl.pretrain.corpus import special_frame
from nlptl.pretrain.objectives import IGNORED, LanguageLoss, draws_of, language_loss
from nlptl.records import Collate
from nlptl.train.losses import Loss


@dataclass(frozen=True)
class MaskedLM:
    """The objective of predicting hidden tokens from both sides.

    Attributes:
        share: Share of the tokens to predict.
        whole_words: Whether to choose whole words instead of tokens.
    """

    share: float = 0.15
    whole_words: bool = False

    name = "masked-lm"
    version = 1

    @property
    def auto_class(self) -> Any:
        """``AutoModelForMaskedLM``."""
        from transformers import AutoModelForMaskedLM

        return AutoModelForMaskedLM

    def room(self, max_length: int, tokenizer: Any) -> int:
        """Return the length without the special tokens around a text."""
        return max_length - tokenizer.num_special_tokens_to_add()

    def lengths(self, tokens: int, tokenizer: Any) -> tuple[int, int]:
        """Return the length with the special tokens around the input, and 0, because there is no decoder."""
        return tokens + tokenizer.num_special_tokens_to_add(), 0

    def collator(self, tokenizer: Any) -> Collate:
        """Return the function of :func:`collator`."""
        return collator(tokenizer, share=self.share, whole_words=self.whole_words)

    def loss(self, model: Any) -> Loss:
        """Return a :class:`MaskedPositions` around the model."""
        return MaskedPositions(model)

    def rows(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the row of each chosen token."""
        return inputs["positions"] // inputs["input_ids"].shape[1]


def mask_tokens(
    ids: np.ndarray,
    maskable: np.ndarray,
    *,
    draws: np.ndarray,
    mask_id: int,
    vocab_size: int,
    share: float = 0.15,
    words: np.ndarray | None = None,
    every_row: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose tokens to predict and hide them (Devlin et al., 2019, section 3.1).

    Of the maskable tokens, each is chosen with probability ``share``; of those chosen 80 % become
    ``mask_id``, 10 % a random id, 10 % stay as they are.

    Args:
        ids: Token ids, shape ``(batch, length)``.
        maskable: True where a token may be chosen (no special tokens, no padding), same shape.
        draws: Uniform numbers below 1, shape ``(3, batch, length)``, for what is chosen, what becomes of it,
            and which random id it gets.
        mask_id: Id of the mask token.
        vocab_size: Size of the vocabulary; random ids are drawn below it.
        share: Probability of being chosen.
        words: Number of the word that a token belongs to, within its row, same shape; words are then
            chosen as wholes. None chooses token by token.
        every_row: Whether at least the token that came nearest is chosen in each row, and not only in the
            batch: then the choice in a row does not depend on the others.

    Returns:
        The ids to show, and the labels: the true id where chosen, -100 elsewhere; same shape.
    """
    draw, fate, other = draws
    if words is not None:
        draw = np.take_along_axis(draw, words, axis=1)  # one draw per word
    chosen = (draw < share) & maskable
    nearest = np.where(maskable, draw, 1.0)
    if every_row:
        lacks = ~chosen.any(axis=1)
        chosen[lacks, nearest.argmin(axis=1)[lacks]] = True
    elif not chosen.any():  # a batch without a label has no loss
        chosen.flat[nearest.argmin()] = True
    shown = np.where(chosen & (fate < 0.8), mask_id, ids)
    randomly = chosen & (fate >= 0.9)
    shown = np.where(randomly, (other * vocab_size).astype(ids.dtype), shown)
    return shown, np.where(chosen, ids, IGNORED)


def collator(tokenizer: Any, *, share: float = 0.15, whole_words: bool = False) -> Collate:
    """Return a function that puts special tokens around pieces of token ids, pads and masks them.

    It gives ``input_ids`` and ``attention_mask`` of shape ``(batch, length)``, no mask where nothing is
    padded, and for the chosen tokens ``positions`` (index into the flattened batch) and ``targets``, both
    ``(chosen,)``.
    """
    special = np.asarray(sorted(tokenizer.all_special_ids))
    joined = continuing(tokenizer) if whole_words else None
    before, after = special_frame(tokenizer)

    def collate(
        features: Sequence[Mapping[str, Any]], rng: np.random.Generator
    ) -> Mapping[str, Tensor]:
        framed = [{"input_ids": [*before, *f["input_ids"], *after]} for f in features]
        ids, real = pad(framed, "input_ids", tokenizer.pad_token_id), real_tokens(framed)
        shown, labels = mask_tokens(
            ids,
            real & ~np.isin(ids, special),
            draws=_draws(features, real, rng),
            every_row="draw" in features[0],
            mask_id=tokenizer.mask_token_id,
            vocab_size=len(tokenizer),
            share=share,
            words=None if joined is None else np.cumsum(~joined[ids], axis=1) - 1,
        )
        positions = np.flatnonzero(labels != IGNORED)
        return {
            # Looked at here, because the module would have to wait for a GPU.
            **({} if real.all() else {"attention_mask": torch.from_numpy(real.astype(np.int64))}),
            "input_ids": torch.from_numpy(shown),
            "positions": torch.from_numpy(positions),
            "targets": torch.from_numpy(labels.reshape(-1)[positions]),
        }

    return collate


def _draws(
    features: Sequence[Mapping[str, Any]], real: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw numbers for :func:`mask_tokens`; masks are dynamic (Liu et al., 2019) except for fixed pieces."""
    if "draw" not in features[0]:
        return rng.random((3, *real.shape))
    draws = np.ones((3, *real.shape))  # padding, which differs from batch to batch, takes none
    for row, feature in enumerate(features):
        tokens = int(real[row].sum())
        draws[:, row, :tokens] = draws_of(feature, rng).random((3, tokens))
    return draws


class MaskedPositions(LanguageLoss):
    """A loss that runs a masked language model and sends only the chosen positions through its LM head.

    The vocabulary projection is the most expensive layer of a small model; 85 % of it would be thrown
    away. Everything runs inside ``forward``, as DDP requires of all that trains.

    Args:
        model: A masked language model.
    """

    def forward(
        self,
        input_ids: Tensor,
        positions: Tensor,
        targets: Tensor,
        attention_mask: Tensor | None = None,
    ) -> dict[str, Any]:
        """Return the mean loss, and among the outputs the nats of each chosen token, ``(chosen,)``."""
        body = unwrap_peft(self.model).base_model
        states = body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.project(states.flatten(0, 1)[positions])
        losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        self.keep(states, states[:, 0], attention_mask)
        return language_loss(losses)

    def project(self, states: Tensor) -> Tensor:
        """Send states through the LM head: ``(…, width)`` to ``(…, vocabulary)``."""
        return through_head(self.model, states)


def through_head(model: Any, states: Tensor) -> Tensor:
    """Send states through a masked language model's head: ``(…, width)`` to ``(…, vocabulary)``."""
    base = unwrap_peft(model)
    return getattr(base, check_family(base.config.model_type).lm_head)(states)
