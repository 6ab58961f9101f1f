"""Words put in by a masked language model: substitution in context (Kobayashi, 2018; Wu et al., 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nlptl.data.augment.words import Word, how_many, in_case_of, join_words, some_of
from nlptl.data.padding import pad, real_tokens
from nlptl.data.windows import Frame, Tokens, frame_of, tokenize
from nlptl.errors import ModelError
from nlptl.models.families import FAMILIES
from nlptl.models.loading import load_config, load_tokenizer, load_trained
from nlptl.models.tokenizer import longest_input, word_tokens

#: Most probable words that one is drawn from, by their probabilities.
CANDIDATES = 10
#: Checkpoint whose masked-LM head serves where the run's own has none.
BUNDLED = "bundled/bert"
#: Texts that go through the model at a time.
BATCH = 32


@dataclass(frozen=True)
class Place:
    """A word that is one token.

    Attributes:
        word: Number of the word in its text.
        token: Number of the token.
    """

    word: int
    token: int


class MaskedWords:
    """A masked language model that replaces words of texts.

    Words that are one token each are hidden together, and each gets one of the :data:`CANDIDATES` most
    probable other words of its place, drawn by their probabilities. Words of several tokens, numbers, and what
    lies beyond the model's longest input stay.

    Args:
        name: Checkpoint with a masked-LM head.
        device: Device to compute on; always in float32, so that the words do not depend on ``--precision``.

    Raises:
        ModelError: If the checkpoint has no such head.
    """

    def __init__(self, name: str, device: Any = "cpu") -> None:
        self.name, self.device = name, device
        self.model = _load(name).to(device).eval()
        self.tokenizer = load_tokenizer(name)
        self.frame: Frame = frame_of(self.tokenizer)
        self.mask = _mask_token(name, self.tokenizer)
        self.longest = longest_input(self.model.config, self.tokenizer, None)
        outputs = self.model.get_output_embeddings().weight.shape[0]
        known = word_tokens(self.tokenizer)
        self.words = {number: word for number, word in known.items() if number < outputs}
        if len(self.words) <= CANDIDATES:
            raise ModelError(f"The vocabulary of {name} has {len(self.words)} whole words.")
        self.barred = torch.ones(outputs, dtype=torch.bool, device=device)
        self.barred[list(self.words)] = False

    def __call__(
        self, texts: Sequence[Sequence[Word]], alpha: float, rngs: Sequence[np.random.Generator]
    ) -> list[list[Word]]:
        """Replace some words of each text.

        Args:
            texts: Words of each text.
            alpha: Share of a text's words, at least one; with 0 nothing changes.
            rngs: Generator of each text's draws, so that they do not depend on the other texts.

        Returns:
            The new words of each text, with the same tags.
        """
        made = [list(words) for words in texts]
        if alpha <= 0:
            return made
        plain = [join_words(words) for words in texts]
        jobs: list[tuple[int, list[Place], np.ndarray, np.ndarray]] = []
        each = zip(texts, tokenize(plain, self.tokenizer, self.frame), rngs, strict=True)
        for number, (words, tokens, rng) in enumerate(each):
            places = self.places(words, tokens)
            picked = some_of(range(len(places)), how_many(alpha, len(words)), rng)
            draws = rng.random(len(picked))
            if picked:
                jobs.append((number, [places[i] for i in picked], draws, tokens.ids))
        jobs.sort(key=lambda job: -len(job[3]))
        for start in range(0, len(jobs), BATCH):
            part = jobs[start : start + BATCH]
            found = iter(self._drawn([job[3] for job in part], [job[1:3] for job in part]))
            for number, places, _, _ in part:
                for place in places:
                    own = made[number][place.word]
                    word = in_case_of(self.words[next(found)], own.text)
                    made[number][place.word] = own._replace(text=word)
        return made

    def places(self, words: Sequence[Word], tokens: Tokens) -> list[Place]:
        """List the words that are one token of letters each, as far as the model reads."""
        room = self.longest - len(self.frame.before) - len(self.frame.after)
        ids, starts, ends = (part[:room] for part in (tokens.ids, tokens.starts, tokens.ends))
        at = {(int(a), int(b)): n for n, (a, b) in enumerate(zip(starts, ends, strict=True))}
        found, position = [], 0
        for number, word in enumerate(words):
            begin = position + len(word.before)
            position = begin + len(word.text) + len(word.after)
            token = at.get((begin, begin + len(word.text)))
            if token is not None and int(ids[token]) in self.words:
                found.append(Place(number, token))
        return found

    def _drawn(
        self, ids: Sequence[np.ndarray], places: Sequence[tuple[Sequence[Place], np.ndarray]]
    ) -> list[int]:
        """Draw a token for each place of some texts, in their order."""
        before, after = self.frame.before, self.frame.after
        room = self.longest - len(before) - len(after)
        rows = [{"input_ids": [*before, *row[:room].tolist(), *after]} for row in ids]
        shown, real = pad(rows, "input_ids", self.tokenizer.pad_token_id), real_tokens(rows)
        at = [
            (row, len(before) + place.token) for row, (own, _) in enumerate(places) for place in own
        ]
        row, column = np.asarray(at).T
        true = shown[row, column].copy()
        shown[row, column] = self.mask
        with torch.inference_mode(), torch.autocast(self.device_type, enabled=False):
            inputs = {
                "input_ids": torch.from_numpy(shown).to(self.device),
                "attention_mask": torch.from_numpy(real.astype(np.int64)).to(self.device),
            }
            logits = self._logits(inputs, row, column).float()
            logits[:, self.barred] = -torch.inf
            logits[torch.arange(len(true)), torch.from_numpy(true)] = -torch.inf
            best, words = logits.topk(CANDIDATES)
            sums = best.double().softmax(-1).cumsum(-1).cpu().numpy()
        draws = np.concatenate([draws for _, draws in places])
        choice = np.minimum((sums < draws[:, None]).sum(1), CANDIDATES - 1)
        return words.cpu().numpy()[np.arange(len(choice)), choice].tolist()

    @property
    def device_type(self) -> str:
        """Type of the device."""
        return torch.device(self.device).type

    def _logits(self, inputs: Any, row: np.ndarray, column: np.ndarray) -> torch.Tensor:
        """Compute the logits of the hidden tokens, and of these alone where the head is known."""
        family = FAMILIES.get(self.model.config.model_type)
        if family is None:
            return self.model(**inputs).logits[row, column]
        states = self.model.base_model(**inputs).last_hidden_state[row, column]
        return getattr(self.model, family.lm_head)(states)


def _load(name: str) -> Any:
    from transformers import AutoModelForMaskedLM

    if load_config(name).is_encoder_decoder:
        raise ModelError(f"{name} is an encoder-decoder, which has no masked-LM head.")
    return load_trained(name, AutoModelForMaskedLM)


def _mask_token(name: str, tokenizer: Any) -> int:
    if tokenizer.mask_token_id is None:
        raise ModelError(f"The tokenizer of {name} has no mask token.")
    return tokenizer.mask_token_id


def masked_words(name: str, device: Any = "cpu") -> MaskedWords:
    """Load a checkpoint's masked language model, or the bundled one if it has none.

    Args:
        name: The run's checkpoint.
        device: Device to compute on.
    """
    try:
        return MaskedWords(name, device)
    except ModelError:
        return MaskedWords(BUNDLED, device)
