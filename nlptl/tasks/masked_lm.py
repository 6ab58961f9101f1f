"""Masked language modelling: the upstream objective of BERT and RoBERTa."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.padding import pad, real_tokens
from nlptl.metrics.ratio import ratio_with_error
from nlptl.models.layer_map import layer_map
from nlptl.records import Batch, StepOutput

IGNORED = -100


def mask_tokens(
    ids: np.ndarray,
    maskable: np.ndarray,
    *,
    rng: np.random.Generator,
    mask_id: int,
    vocab_size: int,
    share: float = 0.15,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose tokens to predict and hide them (Devlin et al., 2019, section 3.1).

    Of the maskable tokens, each is chosen with probability ``share``; of those chosen 80 % become
    ``mask_id``, 10 % a random id, 10 % stay as they are.

    Args:
        ids: Token ids, shape ``(batch, length)``.
        maskable: True where a token may be chosen (no special tokens, no padding), same shape.
        rng: Draws anew at each call: masks are dynamic (Liu et al., 2019).
        mask_id: Id of the mask token.
        vocab_size: Random ids are drawn below this.
        share: Probability of being chosen.

    Returns:
        The ids to show, and the labels: the true id where chosen, -100 elsewhere; same shape.
    """
    chosen = (rng.random(ids.shape) < share) & maskable
    if not chosen.any():  # a batch without a label has no loss
        chosen.flat[rng.choice(np.flatnonzero(maskable))] = True
    fate = rng.random(ids.shape)
    shown = np.where(chosen & (fate < 0.8), mask_id, ids)
    randomly = chosen & (fate >= 0.9)
    shown = np.where(randomly, rng.integers(0, vocab_size, ids.shape), shown)
    return shown, np.where(chosen, ids, IGNORED)


def collator(tokenizer: Any, *, share: float = 0.15, bags: bool = False) -> Any:
    """Return a function that pads pieces of token ids and masks them.

    It gives ``input_ids`` and ``attention_mask`` of shape ``(batch, length)``, and for the chosen
    tokens ``positions`` (index into the flattened batch) and ``targets``, both ``(chosen,)``; with
    ``bags`` also the distinct tokens of each piece, ``bags`` of shape ``(batch, most)``, filled with -100.
    """
    special = np.asarray(sorted(tokenizer.all_special_ids))

    def collate(
        features: Sequence[Mapping[str, Any]], rng: np.random.Generator
    ) -> Mapping[str, Tensor]:
        ids, real = pad(features, "input_ids", tokenizer.pad_token_id), real_tokens(features)
        shown, labels = mask_tokens(
            ids,
            real & ~np.isin(ids, special),
            rng=rng,
            mask_id=tokenizer.mask_token_id,
            vocab_size=len(tokenizer),
            share=share,
        )
        positions = np.flatnonzero(labels != IGNORED)
        distinct = [
            {"ids": np.setdiff1d(feature["input_ids"], special)} for feature in features if bags
        ]
        return {
            **({"bags": torch.from_numpy(pad(distinct, "ids", IGNORED))} if bags else {}),
            "input_ids": torch.from_numpy(shown),
            "attention_mask": torch.from_numpy(real.astype(np.int64)),
            "positions": torch.from_numpy(positions),
            "targets": torch.from_numpy(labels.reshape(-1)[positions]),
        }

    return collate


class MaskedPositions(nn.Module):
    """Runs a masked language model and sends only the chosen positions through its LM head.

    The vocabulary projection is the dearest layer of a small model; 85 % of it would be thrown
    away. A module of its own, because under DDP all that trains must run inside ``forward``.

    Args:
        model: A masked language model.
        bag_weight: Weight of :func:`bag_loss`, which teaches the first token what the text is about.
    """

    def __init__(self, model: Any, *, bag_weight: float = 0.0) -> None:
        super().__init__()
        self.model, self.bag_weight = model, bag_weight
        self.lm_head = [
            getattr(model, layer_map(model).family.lm_head)
        ]  # a list: not registered twice

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        positions: Tensor,
        targets: Tensor,
        bags: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss to train on, and the nats of each chosen token, shape ``(chosen,)``."""
        mask = None if bool(attention_mask.all()) else attention_mask
        states = self.model.base_model(input_ids=input_ids, attention_mask=mask).last_hidden_state
        logits = self.lm_head[0](states.flatten(0, 1)[positions])
        losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        loss = losses.mean()
        if bags is not None and self.bag_weight:
            loss = loss + self.bag_weight * bag_loss(self.lm_head[0](states[:, 0]), bags)
        return loss, losses


def bag_loss(logits: Tensor, bags: Tensor) -> Tensor:
    """Nats a distinct token of predicting a text's bag of words from its first token's state.

    Masked language modelling never asks anything of ``[CLS]``, which is what a classifier reads. Here
    its state, through the LM head, must give every distinct token of the text a high probability:
    mean over texts of the mean over tokens of -log p (Ma et al., 2024, "Drop your Decoder:
    Pre-training with Bag-of-Word Prediction").

    Args:
        logits: ``(batch, vocabulary)``.
        bags: Token ids, ``(batch, most)``, filled up with -100.
    """
    real = bags != IGNORED
    chances = logits.float().log_softmax(-1).gather(1, bags.clamp(min=0))
    return -((chances * real).sum(1) / real.sum(1).clamp(min=1)).mean()


def masked_lm_step(model: nn.Module, batch: Batch) -> StepOutput:
    """Loss of one batch; its size is the number of masked tokens."""
    loss, losses = model(**batch.inputs)
    return StepOutput(loss, len(losses), {"losses": losses})


@torch.no_grad()
def held_out_loss(model: nn.Module, batches: Any, accelerator: Any) -> dict[str, float]:
    """Loss in nats a masked token on text that was set aside, with the same masks every time.

    Args:
        model: A :class:`MaskedPositions`, wrapped or not.
        batches: Without a shuffle seed, so that masks depend on the position of a batch alone.
        accelerator: Device and processes.

    Returns:
        ``loss``, its standard error ``se`` over batches (masked tokens of one batch are not
        independent), and ``tokens``.
    """
    was_training = model.training
    model.eval()
    sums: list[tuple[float, int]] = []
    for batch in batches.epoch(0):
        result = masked_lm_step(model, batch.to(accelerator.device))
        if batch.indices:
            sums.append((float(result.outputs["losses"].sum()), int(result.size)))
    model.train(was_training)
    sums = _from_all(sums, accelerator)
    loss, error = ratio_with_error(sums)
    return {"loss": loss, "se": error, "tokens": sum(count for _, count in sums)}


def _from_all(sums: list[tuple[float, int]], accelerator: Any) -> list[tuple[float, int]]:
    if accelerator.num_processes == 1:
        return sums
    from accelerate.utils import gather_object

    return gather_object(sums)
