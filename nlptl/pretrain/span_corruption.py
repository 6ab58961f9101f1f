"""Span corruption: the upstream objective of T5 (Raffel et al., 2020, section 3.1.4)."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.padding import pad, real_tokens
from nlptl.errors import ConfigError
from nlptl.models.adapters import unwrap_peft
from nlptl.pretrain.objectives import IGNORED, LanguageLoss, draws_of, language_loss
from nlptl.records import Collate
from nlptl.train.losses import Loss


@dataclass(frozen=True)
class SpanCorruption:
    """The objective of predicting spans that were replaced by sentinels.

    Attributes:
        density: Share of the tokens that is replaced.
        mean_length: Mean number of tokens per span.
    """

    density: float = 0.15
    mean_length: float = 3.0

    name = "span-corruption"
    version = 1

    @property
    def auto_class(self) -> Any:
        """``AutoModelForSeq2SeqLM``."""
        from transformers import AutoModelForSeq2SeqLM

        return AutoModelForSeq2SeqLM

    def room(self, max_length: int, tokenizer: Any) -> int:
        """Return the length of the longest piece whose corrupted input fits: 568 tokens for 512."""
        tokens = max(2, max_length // 2)
        while self.lengths(tokens + 1)[0] <= max_length:
            tokens += 1
        return tokens

    def lengths(self, tokens: int, tokenizer: Any = None) -> tuple[int, int]:
        """Return the lengths of input and target of a piece, ``</s>`` included.

        Example:
            >>> SpanCorruption().lengths(568)
            (512, 114)
        """
        noise, spans = self.counts(tokens)
        return tokens - noise + spans + 1, noise + spans + 1

    def counts(self, tokens: int) -> tuple[int, int]:
        """Return the number of tokens to replace, and the number of spans that they form."""
        noise = min(max(round(tokens * self.density), 1), tokens - 1)
        return noise, min(max(round(noise / self.mean_length), 1), tokens - noise + 1)

    def spans(self, max_length: int) -> int:
        """Count the spans of the longest piece whose corrupted input fits into ``max_length`` tokens."""
        return self.counts(self.room(max_length, None))[1]

    def collator(self, tokenizer: Any) -> Collate:
        """Return a function that corrupts: ids and mask ``(batch, length)``, ``labels`` ``(batch, target)``.

        ``positions``, ``(targets,)``, are the places of the real labels in the flattened ``labels``.
        """
        sentinels = sentinel_ids(tokenizer)
        end = tokenizer.eos_token_id

        def collate(
            features: Sequence[Mapping[str, Any]], rng: np.random.Generator
        ) -> Mapping[str, Tensor]:
            pairs = []
            for feature in features:
                ids = np.asarray(feature["input_ids"])
                own = draws_of(feature, rng)
                noise = noise_mask(len(ids), *self.counts(len(ids)), rng=own)
                pairs.append(
                    {
                        "input_ids": [*replace_spans(ids, noise, sentinels), end],
                        "labels": [*list_spans(ids, noise, sentinels), end],
                    }
                )
            labels = pad(pairs, "labels", IGNORED)
            return {
                "input_ids": torch.from_numpy(pad(pairs, "input_ids", tokenizer.pad_token_id)),
                "attention_mask": torch.from_numpy(real_tokens(pairs).astype(np.int64)),
                "labels": torch.from_numpy(labels),
                "positions": torch.from_numpy(np.flatnonzero(labels != IGNORED)),
            }

        return collate

    def loss(self, model: Any) -> Loss:
        """See :class:`Denoiser`."""
        return Denoiser(model)

    def rows(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the row of each target token, in the order of :class:`Denoiser`'s losses."""
        return inputs["positions"] // inputs["labels"].shape[1]


def check_sentinels(task: SpanCorruption, max_length: int, sentinels: int) -> None:
    """Make sure that each span of an input gets a sentinel of its own.

    Args:
        task: Objective, which knows the number of spans.
        max_length: Tokens per input.
        sentinels: Number of sentinels in the vocabulary.

    Raises:
        ConfigError: If there are too few; the message says for which length they suffice.
    """
    if (spans := task.spans(max_length)) <= sentinels:
        return
    longest = bisect_right(range(8, max_length), sentinels, key=task.spans) + 7
    advice = f"Choose --max-length {longest} or less, or a lower --mask-share."
    if not sentinels:
        advice = "Take a tokenizer of T5's kind, or --objective masked-lm with another family."
    raise ConfigError(
        f"--max-length {max_length} with --mask-share {task.density:g}: span corruption hides up to {spans} "
        f"spans of a text, each behind a token of its own (<extra_id_0>, <extra_id_1>, …), and the vocabulary "
        f"has {sentinels} such tokens. {advice}"
    )


def sentinel_ids(tokenizer: Any) -> np.ndarray:
    """Return the ids of ``<extra_id_0>``, ``<extra_id_1>``, … as far as the vocabulary has them."""
    vocabulary = tokenizer.get_vocab()
    found = []
    while (name := f"<extra_id_{len(found)}>") in vocabulary:
        found.append(vocabulary[name])
    return np.asarray(found)


def noise_mask(tokens: int, noise: int, spans: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draw which tokens to replace: ``noise`` of them in ``spans`` spans, none touching another.

    Spans and the gaps between them are cut at random places. Here a gap may, but need not, stand at
    either end, so that each place is hidden about equally often; in Raffel et al.'s code a gap always
    stands at the beginning and a span at the end, which in a short text is the same words every time.

    Returns:
        True where a token is replaced, shape ``(tokens,)``.
    """
    gaps, lengths = _cut(tokens - noise + 2, spans + 1, rng), _cut(noise, spans, rng)
    gaps[[0, -1]] -= 1
    runs = np.empty(2 * spans + 1, dtype=np.int64)
    runs[::2], runs[1::2] = gaps, lengths
    return np.repeat(np.arange(2 * spans + 1) % 2 == 1, runs)


def _cut(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Draw lengths, all above 0, of ``parts`` parts of ``total`` things, each way equally probable."""
    edges = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], edges, [total]]))


def replace_spans(ids: np.ndarray, noise: np.ndarray, sentinels: np.ndarray) -> np.ndarray:
    """Make the input: each span is replaced by the next sentinel.

    Raises:
        IndexError: If there are more spans than sentinels.
    """
    first = _firsts(noise)
    made = np.where(first, sentinels[np.maximum(np.cumsum(first) - 1, 0)], ids)
    return made[~noise | first]


def list_spans(ids: np.ndarray, noise: np.ndarray, sentinels: np.ndarray) -> np.ndarray:
    """Make the target: each span after its sentinel."""
    places = np.flatnonzero(_firsts(noise)[noise])
    return np.insert(ids[noise], places, sentinels[: len(places)])


def _firsts(noise: np.ndarray) -> np.ndarray:
    return noise & ~np.concatenate([[False], noise[:-1]])


def scales_output(config: Any) -> bool:
    """Whether a T5 shrinks the decoder's output before its LM head: v1.0, whose head is the embeddings.

    Newer versions of transformers say so in the configuration, older ones go by the tie.
    """
    return getattr(config, "scale_decoder_outputs", config.tie_word_embeddings)


class Denoiser(LanguageLoss):
    """A loss that runs a T5 on corrupted text and sends only the real target tokens through its LM head.

    The reason is that of :class:`~nlptl.pretrain.masked_lm.MaskedPositions`: padding would cost as much there.
    Transformers' own loss, which would be computed with ``labels``, is not used.

    Args:
        model: A T5 with an LM head.
    """

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, positions: Tensor
    ) -> dict[str, Any]:
        """Return the mean loss, and among the outputs the nats of each target token, ``(targets,)``.

        A term reads the encoder's states, and that of ``</s>``.
        """
        base = unwrap_peft(self.model)
        states = base.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        found = base.decoder(
            input_ids=base.prepare_decoder_input_ids_from_labels(labels),
            encoder_hidden_states=states,
            encoder_attention_mask=attention_mask,
            use_cache=False,
        ).last_hidden_state.flatten(0, 1)[positions]
        if scales_output(base.config):
            found = found * base.config.d_model**-0.5
        logits, targets = base.lm_head(found).float(), labels.flatten()[positions]
        losses = nn.functional.cross_entropy(logits, targets, reduction="none")
        rows = torch.arange(len(states), device=states.device)
        self.keep(states, states[rows, attention_mask.sum(1) - 1], attention_mask)
        return language_loss(losses)
