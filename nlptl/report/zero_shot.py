"""Answers without training: a word that stands for a class, filled in; or how alike two texts' states are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nlptl.errors import ModelError, listed
from nlptl.models.loading import load_tokenizer, load_trained
from nlptl.pretrain.corpus import special_frame
from nlptl.pretrain.masked_lm import MaskedLM
from nlptl.train.features import body_states

#: Texts whose states are in memory at a time.
TOGETHER = 2000
#: Words that stand for classes of sentiment (Gao et al., 2021, table 1); other classes stand for themselves.
WORDS = {
    "positive": "great",
    "pos": "great",
    "negative": "terrible",
    "neg": "terrible",
    "neutral": "okay",
}


def prompt_words(labels: Sequence[str], tokenizer: Any) -> list[int]:
    """Return the token id of each class' word.

    Raises:
        ModelError: If a class has no word of one token.
    """
    found = []
    for label in labels:
        word = WORDS.get(label.lower(), label.lower())
        ids = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id or not word.isalpha():
            raise ModelError(f"the class '{label}' has no word of one token to fill in")
        found.append(ids[0])
    if len(set(found)) < len(found):
        raise ModelError(f"several of the classes {listed(list(labels))} have the same word")
    return found


@torch.no_grad()
def zero_shot(
    name: str,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    accelerator: Any,
    batch_size: int = 32,
) -> list[str]:
    """Classify texts by the prompt "TEXT It was [MASK]." (Schick & Schütze, 2021; Gao et al., 2021).

    Each class' log-probability is taken relative to the prompt without a text (Zhao et al., 2021), so that
    a word that is frequent anyway has no advantage.

    Args:
        name: A checkpoint with a masked-LM head.
        texts: The texts; long ones lose their end, not the prompt.
        labels: Names of the classes.
        accelerator: The device.
        batch_size: Texts a batch.

    Raises:
        ModelError: If the checkpoint has no such head, or a class no word.
    """
    tokenizer = load_tokenizer(name, split_special_tokens=False)
    if tokenizer.mask_token_id is None:
        raise ModelError("only masked language models fill in words")
    words = prompt_words(labels, tokenizer)
    model = load_trained(name, MaskedLM().auto_class).eval().to(accelerator.device)
    # Joined as tokens: a text that is cut inside a letter of several bytes reads back as other tokens.
    prompt = tokenizer(f" It was {tokenizer.mask_token}.", add_special_tokens=False)["input_ids"]
    before, after = special_frame(tokenizer)
    room = min(tokenizer.model_max_length, 256) - len([*before, *prompt, *after])
    cut = tokenizer(["", *texts], add_special_tokens=False, truncation=True, max_length=room)
    shown = [{"input_ids": [*before, *ids, *prompt, *after]} for ids in cut["input_ids"]]
    rows = []
    for start in range(0, len(shown), batch_size):
        batch = tokenizer.pad(shown[start : start + batch_size], return_tensors="pt")
        batch = batch.to(accelerator.device)
        logits = model(**batch).logits[batch["input_ids"] == tokenizer.mask_token_id]
        rows.append(logits[:, words].float().log_softmax(-1).cpu().numpy())
    shares = np.concatenate(rows)
    return [labels[int(i)] for i in (shares[1:] - shares[0]).argmax(1)]


def pair_similarities(
    model: Any,
    tokenizer: Any,
    first: Sequence[str],
    second: Sequence[str],
    *,
    accelerator: Any,
    max_length: int | None = None,
) -> list[float]:
    """Compute the cosine of the mean states of two texts, as sentence encoders compare them.

    Sentence-BERT (Reimers & Gurevych, 2019) is trained for it; of other checkpoints it says little.

    Args:
        model: The body of a checkpoint.
        tokenizer: Its tokenizer.
        first: First text of each pair.
        second: Second text of each pair.
        accelerator: The device.
        max_length: Most tokens per text.

    Returns:
        A number from -1 to 1 for each pair.
    """
    texts = list(dict.fromkeys([*first, *second]))
    parts = []
    for start in range(0, len(texts), TOGETHER):
        some = texts[start : start + TOGETHER]
        given = {"accelerator": accelerator, "max_length": max_length}
        parts.append(body_states(model, tokenizer, some, **given)[:, -1].copy())
    states = np.concatenate(parts).astype(np.float64)
    states /= np.maximum(np.linalg.norm(states, axis=1, keepdims=True), np.finfo(float).tiny)
    places = {text: number for number, text in enumerate(texts)}
    left, right = (states[[places[text] for text in side]] for side in (first, second))
    return (left * right).sum(1).tolist()
