"""Loss terms besides an objective's own loss: a teacher's states, hidden tokens, a text's bag of words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.batching import ALSO
from nlptl.data.padding import pad
from nlptl.pretrain.masked_lm import mask_tokens
from nlptl.pretrain.objectives import IGNORED
from nlptl.records import Collate


def teacher_loss(guesses: Sequence[Tensor], taught: Tensor) -> Tensor:
    """Compute how far a student's guesses at a teacher's states are from them: the mean of 1 - cosine.

    This is the cosine term of DistilBERT (Sanh et al., 2019), on pooled states instead of tokens, so that
    teacher and student may have different vocabularies; the token that a classifier reads and the mean both
    guess.

    Args:
        guesses: Guesses, ``(batch, values)`` each, already of the teacher's width.
        taught: States of the teacher, ``(batch, values)``.
    """
    each = [
        1 - nn.functional.cosine_similarity(guess.float(), taught, dim=-1).mean()
        for guess in guesses
    ]
    return torch.stack(each).mean()


class TeacherTerm(nn.Module):
    """Two linear maps to a teacher's states, trained with the student and discarded afterwards.

    The token that a classifier reads and the mean of all guess (:func:`teacher_loss`).

    Args:
        width: Width of the student.
        values: Number of values in the teacher's states of a piece.
    """

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, values) for _ in range(2))

    def forward(self, loss: Any, found: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return how far the guesses are; 0 for a batch without a teacher's states."""
        if f"{ALSO}taught" not in inputs:
            return torch.zeros(())
        states, read = (
            loss.seen["states"],
            loss.seen["read"],
        )  # (batch, length, width), (batch, width)
        real = loss.seen["mask"].unsqueeze(-1)
        pooled = read, (states * real).sum(1) / real.sum(1)
        guesses = [to(states) for to, states in zip(self.maps, pooled, strict=True)]
        return teacher_loss(guesses, inputs[f"{ALSO}taught"])

    def collator(self, collate: Collate, tokenizer: Any) -> Collate:
        """Add the states of pieces that have some (``teacher``): ``also_taught``, ``(batch, values)``."""

        def run(
            features: Sequence[Mapping[str, Any]], rng: np.random.Generator
        ) -> Mapping[str, Tensor]:
            states = [np.asarray(f["teacher"], np.float32) for f in features if "teacher" in f]
            taught = {f"{ALSO}taught": torch.from_numpy(np.stack(states))} if states else {}
            return {**collate(features, rng), **taught}

        return run


class MaskedTerm(nn.Module):
    """The term of masked language modelling beside another objective, on the same pass.

    A share of the tokens is hidden besides (:func:`~nlptl.pretrain.masked_lm.mask_tokens`), but none of the
    special ones and none of an answer.

    Args:
        share: Share of the tokens to predict.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, loss: Any, found: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the nats per hidden token."""
        states = loss.seen["states"].flatten(0, 1)[inputs[f"{ALSO}positions"]]
        logits = loss.first.project(states).float()
        return nn.functional.cross_entropy(logits, inputs[f"{ALSO}targets"])

    def collator(self, collate: Collate, tokenizer: Any) -> Collate:
        """Hide tokens: ``also_positions`` in the flattened batch and ``also_targets``, ``(chosen,)``."""
        special = np.asarray(sorted(tokenizer.all_special_ids))

        def run(
            features: Sequence[Mapping[str, Any]], rng: np.random.Generator
        ) -> Mapping[str, Tensor]:
            batch = dict(collate(features, rng))
            ids = batch["input_ids"].numpy()
            maskable = ~np.isin(ids, special)
            for row, (start, end) in zip(
                batch["rows"].tolist(), batch["targets"].tolist(), strict=True
            ):
                maskable[row, start : end + 1] = False
            shown, labels = mask_tokens(
                ids,
                maskable,
                draws=rng.random((3, *ids.shape)),
                mask_id=tokenizer.mask_token_id,
                vocab_size=len(tokenizer),
                share=self.share,
            )
            positions = np.flatnonzero(labels != IGNORED)
            batch["input_ids"] = torch.from_numpy(shown)
            batch[f"{ALSO}positions"] = torch.from_numpy(positions)
            batch[f"{ALSO}targets"] = torch.from_numpy(labels.reshape(-1)[positions])
            return batch

        return run


class BagOfWords(nn.Module):
    """The term under which the first token's state must predict the words of the text (:func:`bag_loss`)."""

    def forward(self, loss: Any, found: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the nats per distinct token."""
        return bag_loss(loss.first.project(loss.seen["read"]), inputs[f"{ALSO}bags"])

    def collator(self, collate: Collate, tokenizer: Any) -> Collate:
        """Add the distinct tokens of each piece: ``also_bags``, ``(batch, most)``, filled with -100."""
        special = np.asarray(sorted(tokenizer.all_special_ids))

        def run(
            features: Sequence[Mapping[str, Any]], rng: np.random.Generator
        ) -> Mapping[str, Tensor]:
            distinct = [{"ids": np.setdiff1d(f["input_ids"], special)} for f in features]
            bags = torch.from_numpy(pad(distinct, "ids", IGNORED))
            return {**collate(features, rng), f"{ALSO}bags": bags}

        return run


def bag_loss(logits: Tensor, bags: Tensor) -> Tensor:
    """Compute the nats per distinct token of predicting a text's words from its first token's state.

    Masked language modelling never asks anything of ``[CLS]``, which is what a classifier reads. Here
    its state, through the LM head, must give every distinct token of the text a high probability:
    mean over texts of the mean over tokens of -log p (Ma et al., 2024, "Drop your Decoder:
    Pre-training with Bag-of-Word Prediction").

    Args:
        logits: Logits, ``(batch, vocabulary)``.
        bags: Token ids, ``(batch, most)``, filled up with -100.
    """
    real = bags != IGNORED
    chances = logits.float().log_softmax(-1).gather(1, bags.clamp(min=0))
    return -((chances * real).sum(1) / real.sum(1).clamp(min=1)).mean()
