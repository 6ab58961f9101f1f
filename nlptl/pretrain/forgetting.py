"""Forgetting: a checkpoint's own pretraining objective, before and after fine-tuning."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from nlptl.models.families import check_family
from nlptl.models.layer_map import layer_map
from nlptl.models.loading import load_tokenizer, load_trained
from nlptl.models.pooling import PooledClassifier
from nlptl.models.tokenizer import longest_input
from nlptl.pretrain.held_out import document_of, fixed_batches, objective_of, piece_losses
from nlptl.pretrain.refit import head_inputs, output_transform, refitted_loss
from nlptl.stats.bootstrap import CHUNK, DRAWS

#: Number of texts whose pairwise similarities are compared: the pairs grow with its square.
COMPARED = 400


@dataclass(frozen=True)
class Forgetting:
    """A measurement of how well the backbone still does what it was pretrained for.

    Attributes:
        objective: ``masked-lm``, ``span-corruption`` or ``sentence-similarity``.
        unit: Unit of the three figures.
        sequences: Number of pieces of text.
        tokens: Number of predicted tokens.
        before: Figure of the untouched checkpoint.
        after: Figure with the fine-tuned backbone.
        loss: Amount forgotten: after - before in nats, or before - after of a correlation.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        refit: Losses before and after with the head's transform refitted to each backbone
            (:func:`nlptl.pretrain.refit.refitted_loss`); None if the head has no transform.
    """

    objective: str
    unit: str
    sequences: int
    tokens: int
    before: float
    after: float
    loss: float
    low: float
    high: float
    refit: tuple[float, float] | None = None


def with_body_of(language_model: Any, adapted: Any) -> Any:
    """Put the embeddings and blocks of a fine-tuned model into the pretrained language model.

    Everything above the blocks stays the original's, including an output layer tied to the embeddings: the
    question is what the backbone forgot, not what a head could be refitted to.

    Args:
        language_model: The checkpoint with its pretraining head; not changed.
        adapted: The fine-tuned model, of the same architecture, below peft's wrapper; if it is only the
            encoder of an encoder-decoder, the decoder stays the original's.

    Returns:
        A new model.
    """
    made = deepcopy(language_model)
    own, given = below_the_head(made), dict(adapted.base_model.named_parameters())
    encoder_alone = isinstance(adapted, PooledClassifier) and not adapted.config.is_encoder_decoder
    below = {id(parameter) for parameter in own.values()}
    _untie(getattr(made, check_family(made.config.model_type).lm_head), below)
    with torch.no_grad():
        for name, parameter in own.items():
            if name in given or not encoder_alone:
                parameter.copy_(given[name])
    return made


def below_the_head(model: Any) -> dict[str, nn.Parameter]:
    """Return the parameters of the embeddings and blocks, by their names in the backbone."""
    parts = layer_map(model).part_of(model.base_model)
    own = model.base_model.named_parameters()
    return {n: p for n, p in own if parts[n] not in ("head", "unused")}


def _untie(head: nn.Module, below: set[int]) -> None:
    for module in head.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) in below:
                setattr(module, name, nn.Parameter(parameter.detach().clone()))


def forgetting(
    name: str,
    adapted: Any,
    texts: Sequence[str],
    *,
    accelerator: Any,
    most: int = 2000,
    max_length: int = 128,
    refit: bool = False,
) -> Forgetting:
    """Measure the held-out loss of the pretraining objective, before and after fine-tuning.

    The masks are the same for both, and dropout is off. The interval holds the middle 95 % of 10,000
    bootstrap draws of texts, the same for both.

    Args:
        name: The checkpoint before fine-tuning; its pretraining head must be in the file.
        adapted: The fine-tuned model, below peft's wrapper.
        texts: Held-out text of the kind that the checkpoint was pretrained on.
        accelerator: Accelerator with the device.
        most: Most pieces to score.
        max_length: Tokens per piece, or fewer if the model takes fewer.
        refit: Whether to measure what a refitted head wins back, too.

    Raises:
        DataError: If no text is long enough.
        ModelError: If the checkpoint has no pretraining head; see :func:`similarity_forgetting`.
    """
    objective = objective_of(name)
    tokenizer = load_tokenizer(name, split_special_tokens=False)
    model = load_trained(name, objective.auto_class)
    longest = longest_input(model.config, tokenizer, None, usual=max_length)
    batches = fixed_batches(texts, tokenizer, objective, max_length=longest, most=most)
    found, refitted = [], []
    for one in (model, with_body_of(model, adapted)):
        module = objective.loss(one).to(accelerator.device)
        found.append(piece_losses(module, batches, objective, accelerator.device))
        head = getattr(one, check_family(one.config.model_type).lm_head)
        halves = refit and len(batches.lengths) > 1  # one to fit on, one to score
        names = output_transform(head, model.config.vocab_size) if halves else []
        if names:
            inputs = head_inputs(module, head, batches, objective, accelerator.device)
            refitted.append(refitted_loss(head, names, inputs))
    (before, counts), (after, _) = found
    total = counts.sum()
    document = document_of(batches.features.pieces)  # whose pieces are not independent
    draws = _ratio_draws(np.bincount(document, after - before), np.bincount(document, counts))
    low, high = np.quantile(draws, [0.025, 0.975])
    spans = model.config.model_type == "t5"
    return Forgetting(
        objective="span-corruption" if spans else "masked-lm",
        unit="nats a target token" if spans else "nats a masked token",
        sequences=len(counts),
        tokens=int(total),
        before=float(before.sum() / total),
        after=float(after.sum() / total),
        loss=float((after - before).sum() / total),
        low=float(low),
        high=float(high),
        refit=(refitted[0], refitted[1]) if refitted else None,
    )


def _ratio_draws(sums: np.ndarray, counts: np.ndarray, *, seed: int = 0) -> np.ndarray:
    rng, found = np.random.default_rng(seed), []
    for _ in range(0, DRAWS, CHUNK):
        times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), CHUNK)
        found.append((times @ sums) / (times @ counts))
    return np.concatenate(found)


def similarity_forgetting(before: np.ndarray, after: np.ndarray, *, draws: int = 200) -> Forgetting:
    """Measure what a sentence encoder forgot by Spearman's correlation of all pairwise cosines.

    This is for checkpoints without a pretraining head. The interval is from a bootstrap over texts; a pair of
    a text with itself is left out.

    Args:
        before: Pooled states of the untouched checkpoint, shape ``(texts, width)``; the first 400 are used.
        after: Pooled states of the fine-tuned one, of the same shape.
        draws: Number of bootstrap draws.
    """
    one, two = _cosines(before[:COMPARED]), _cosines(after[:COMPARED])
    texts = len(one)
    rows, columns = np.triu_indices(texts, 1)
    pair = one[rows, columns], two[rows, columns]
    if np.array_equal(*pair):  # exactly 1, not 0.9999999
        now, found = 1.0, np.zeros(draws)
    else:
        first, second = (np.unique(values, return_inverse=True)[1] for values in pair)
        now = _spearman(first, second, np.ones(len(rows)))
        rng, found = np.random.default_rng(0), np.empty(draws)
        for draw in range(draws):
            times = np.bincount(rng.integers(0, texts, texts), minlength=texts)
            found[draw] = 1 - _spearman(first, second, times[rows] * times[columns])
    low, high = np.quantile(found, [0.025, 0.975])
    return Forgetting(
        objective="sentence-similarity",
        unit="Spearman's correlation",
        sequences=texts,
        tokens=0,
        before=1.0,
        after=now,
        loss=1 - now,
        low=float(low),
        high=float(high),
    )


def _cosines(states: np.ndarray) -> np.ndarray:
    states = states.astype(float)
    states = states / np.linalg.norm(states, axis=1, keepdims=True)
    return states @ states.T


def _spearman(one: np.ndarray, two: np.ndarray, times: np.ndarray) -> float:
    """Correlate the ranks of pairs of which each counts so many times; equal values share their middle rank.

    A bootstrap's draws have the same values, each more or less often: sorting them once is enough.

    Args:
        one: Place of each pair's first value among the different ones in ascending order, shape ``(pairs,)``.
        two: The same of the second value.
        times: How often each pair counts, shape ``(pairs,)``.
    """
    ranks = []
    for places in (one, two):
        count = np.bincount(places, times)
        middle = np.cumsum(count) - count / 2
        ranks.append(middle[places] - np.average(middle, weights=count))
    left, right = ranks
    spread = (times @ left**2) * (times @ right**2)
    return float(times @ (left * right) / np.sqrt(spread))
