"""Answers without training: a word that is filled in, a sentence that follows, or how alike two states are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from nlptl.errors import ConfigError, ModelError, listed, shortened
from nlptl.models.loading import (
    load_config,
    load_tokenizer,
    load_trained,
    load_with_head,
    resolve,
)
from nlptl.models.sentence_encoder import declared
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


def check_template(template: str) -> None:
    """Make sure that a template has one place for the name of a class.

    Raises:
        ConfigError: If not.
    """
    try:
        good = template.count("{}") == 1 and template.format("a") != template.format("b")
    except (ValueError, IndexError, KeyError):
        good = False
    if not good:
        raise ConfigError(
            f"--templates '{template}': expected a sentence with exactly one {{}}, where the name of a class "
            "stands, such as 'It was {}.'."
        )


def prompt_words(
    labels: Sequence[str], tokenizer: Any, words: Mapping[str, str] | None = None
) -> list[int]:
    """Return the token id of each class' word.

    Args:
        labels: Names of the classes.
        tokenizer: A fast tokenizer.
        words: Words that stand for classes; by default :data:`WORDS`, or the class' own name.

    Raises:
        ModelError: If a class has no word of one token.
    """
    found = []
    for label in labels:
        word = (words or {}).get(label) or WORDS.get(label.lower(), label.lower())
        ids = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id or not word.isalpha():
            raise ModelError(
                f"the class '{label}' has no word of one token to fill in ('{shortened(word)}' is none)"
            )
        found.append(ids[0])
    if len(set(found)) < len(found):
        raise ModelError(f"several of the classes {listed(list(labels))} have the same word")
    return found


def zero_shot(
    name: str,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    accelerator: Any,
    batch_size: int = 32,
) -> list[str]:
    """Classify texts by :func:`prompt_scores`; its arguments and errors are the same."""
    scores = prompt_scores(name, texts, labels, accelerator=accelerator, batch_size=batch_size)
    return [labels[int(i)] for i in scores[0].argmax(1)]


@torch.no_grad()
def prompt_scores(
    name: str,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    accelerator: Any,
    batch_size: int = 32,
    templates: Sequence[str] = ("It was {}.",),
    words: Mapping[str, str] | None = None,
) -> np.ndarray:
    """Score classes by the prompt "TEXT It was [MASK]." (Schick & Schütze, 2021; Gao et al., 2021).

    Each class' log-probability is taken relative to the prompt without a text (Zhao et al., 2021), so that
    a word that is frequent anyway has no advantage.

    Args:
        name: A checkpoint with a masked-LM head.
        texts: The texts; long ones lose their end, not the prompt.
        labels: Names of the classes.
        accelerator: The device.
        batch_size: Texts a batch.
        templates: Sentences after the text, each with one {} for the mask.
        words: See :func:`prompt_words`.

    Returns:
        Log-probabilities of the classes, shape ``(templates, texts, labels)``.

    Raises:
        ModelError: If the checkpoint has no such head, or a class no word.
    """
    tokenizer = load_tokenizer(name, split_special_tokens=False)
    if tokenizer.mask_token_id is None:
        raise ModelError("only masked language models fill in words")
    chosen = prompt_words(labels, tokenizer, words)
    model = load_trained(name, MaskedLM().auto_class).eval().to(accelerator.device)
    before, after = special_frame(tokenizer)
    found = []
    for template in templates:
        # Joined as tokens: a text that is cut inside a letter of several bytes reads back as other tokens.
        sentence = " " + template.format(tokenizer.mask_token)
        prompt = tokenizer(sentence, add_special_tokens=False)["input_ids"]
        room = min(tokenizer.model_max_length, 256) - len([*before, *prompt, *after])
        # No mask but the prompt's: "[MASK]" in a text is a word like others.
        cut = load_tokenizer(name)(
            ["", *texts], add_special_tokens=False, truncation=True, max_length=room
        )
        shown = [{"input_ids": [*before, *ids, *prompt, *after]} for ids in cut["input_ids"]]
        rows = []
        for start in range(0, len(shown), batch_size):
            batch = tokenizer.pad(shown[start : start + batch_size], return_tensors="pt")
            batch = batch.to(accelerator.device)
            logits = model(**batch).logits[batch["input_ids"] == tokenizer.mask_token_id]
            rows.append(logits[:, chosen].float().log_softmax(-1).cpu().numpy())
        shares = np.concatenate(rows).astype(np.float64)
        found.append(_log_shares(shares[1:] - shares[0]))
    return np.stack(found)


def _log_shares(scores: np.ndarray) -> np.ndarray:
    top = scores.max(-1, keepdims=True)
    return scores - top - np.log(np.exp(scores - top).sum(-1, keepdims=True))


def check_room(tokenizer: Any, most: int, sentences: Sequence[str]) -> None:
    """Make sure that a model has room for each sentence, and for half as many tokens of a text beside it.

    Args:
        tokenizer: A fast tokenizer.
        most: Tokens that the model takes.
        sentences: The sentences that stand beside a text.

    Raises:
        ModelError: If one is too long.
    """
    room = most - tokenizer.num_special_tokens_to_add(pair=True)
    for sentence in sentences:
        count = len(tokenizer(sentence, add_special_tokens=False)["input_ids"])
        if 3 * count > 2 * room:
            raise ModelError(
                f"the sentence '{shortened(sentence)}' has {count} tokens, and the model takes {most} with a "
                "text beside it; shorter --templates or --label-words leave room"
            )


def entailment_index(config: Any) -> int:
    """Find the output that says that a sentence follows from a text, by the names of the outputs.

    Its place differs from checkpoint to checkpoint.

    Raises:
        ModelError: If no output has such a name.
    """
    names = {str(name).lower(): int(place) for name, place in (config.label2id or {}).items()}
    found = [place for name, place in names.items() if name.startswith("entail")]
    if len(found) != 1:
        raise ModelError(
            f"none of its labels ({listed(list(names))}) says that a sentence follows from a text; expected "
            "a checkpoint for entailment, with a label such as 'entailment'"
        )
    return found[0]


def entailment_scores(
    name: str,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    accelerator: Any,
    batch_size: int = 32,
    templates: Sequence[str],
    words: Mapping[str, str] | None = None,
) -> np.ndarray:
    """Score classes by whether a text entails "This text is about CLASS." (Yin et al., 2019).

    transformers' own pipeline computes it: a softmax over the classes' logits of entailment.

    Args:
        name: A checkpoint for entailment.
        texts: The texts; long ones lose their end.
        labels: Names of the classes.
        accelerator: The device.
        batch_size: Pairs of a text and a sentence a batch.
        templates: Sentences, each with one {} for the class.
        words: Words for classes; by default their names.

    Returns:
        Log-probabilities of the classes, shape ``(templates, texts, labels)``.

    Raises:
        ModelError: If the checkpoint has no label of entailment.
    """
    from transformers import AutoModelForSequenceClassification, pipeline

    entailment_index(load_config(name))
    model = load_trained(name, AutoModelForSequenceClassification).eval()
    judge: Any = pipeline(
        "zero-shot-classification",
        model=model,
        tokenizer=load_tokenizer(name),
        device=accelerator.device,
    )
    spoken = [(words or {}).get(label, label) for label in labels]
    found = []
    for template in templates:
        given = judge(
            list(texts),
            candidate_labels=spoken,
            hypothesis_template=template,
            batch_size=batch_size,
        )
        each = [dict(zip(one["labels"], one["scores"], strict=True)) for one in given]
        shares = np.asarray([[one[word] for word in spoken] for one in each])
        found.append(np.log(np.maximum(shares, np.finfo(float).tiny)))
    return np.stack(found)


def name_scores(
    name: str,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    accelerator: Any,
    max_length: int | None = None,
    templates: Sequence[str] = ("{}",),
    words: Mapping[str, str] | None = None,
) -> np.ndarray:
    """Score classes by how alike the states of a text and of a class' name are.

    Args:
        name: A checkpoint; of sentence encoders it says much, of others little.
        texts: The texts.
        labels: Names of the classes.
        accelerator: The device.
        max_length: Most tokens per text.
        templates: Sentences, each with one {} for the class.
        words: Words for classes; by default their names.

    Returns:
        Cosines, shape ``(templates, texts, labels)``.
    """
    from transformers import AutoModel

    about = declared(resolve(name))
    given: dict[str, Any] = {"accelerator": accelerator, "max_length": max_length}
    given["pool"] = "token" if about and about.pooling == "first" else "mean"
    body = load_with_head(name, auto_class=AutoModel, head={})
    own = unit_states(body.model, body.tokenizer, texts, **given)
    spoken = [(words or {}).get(label, label) for label in labels]
    each = [
        unit_states(body.model, body.tokenizer, [template.format(word) for word in spoken], **given)
        for template in templates
    ]
    return np.stack([own @ names.T for names in each])


def unit_states(model: Any, tokenizer: Any, texts: Sequence[str], **options: Any) -> np.ndarray:
    """Compute the last states of texts, of length 1, ``(texts, width)``, float64.

    Args:
        model: The body of a checkpoint.
        tokenizer: Its tokenizer.
        texts: The texts.
        options: As :func:`nlptl.train.features.body_states` takes them.
    """
    parts = [
        body_states(model, tokenizer, texts[start : start + TOGETHER], **options)[:, -1].copy()
        for start in range(0, len(texts), TOGETHER)
    ]
    states = np.concatenate(parts).astype(np.float64)
    return states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), np.finfo(float).tiny)


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
    given = {"accelerator": accelerator, "max_length": max_length}
    states = unit_states(model, tokenizer, texts, **given)
    places = {text: number for number, text in enumerate(texts)}
    left, right = (states[[places[text] for text in side]] for side in (first, second))
    return (left * right).sum(1).tolist()
