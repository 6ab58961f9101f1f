"""Tokenizers: a fast version of each, a padding token, and the comparison with the model's configuration."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.padding import multiple
from nlptl.errors import ModelError, listed
from nlptl.models.layer_map import longest_text

#: Texts on which a converted tokenizer must give the ids of the slow one.
SAMPLES = (
    "A good film, isn't it?",
    "  two  spaces and a\ttab",
    "Ünïcödé, 東京 and 🙂",
    "UPPER lower 1234.5 (e-mail@example.org)",
)
#: Names under which vocabularies have a token for padding that their tokenizers do not declare.
PADDING = ("<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>", "<|pad_token|>")


def load_fast(path: str, *, name: str, flag: str, **options: Any) -> Any:
    """Load a checkpoint's tokenizer in its fast version.

    transformers builds most of them from slow files (a vocabulary, merges, a SentencePiece model). Where it
    does not, a ``tokenizer.json`` beside them is read, or its converter for the class is tried; what comes of
    it is compared with the slow version.

    Args:
        path: Directory or hub name.
        name: Name of the checkpoint as the user gave it.
        flag: Flag that named it.
        options: Further arguments of ``from_pretrained``.

    Raises:
        ModelError: If there is no fast version and none can be made; the message says why.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, **options)
    if tokenizer.is_fast:
        return tokenizer
    kind, reason = type(tokenizer).__name__, "transformers has no converter for it"
    if (Path(path) / "tokenizer.json").is_file():
        made = PreTrainedTokenizerFast.from_pretrained(path, trust_remote_code=False, **options)
        reason = "its tokenizer.json gives other tokens"
    else:
        made = _converted(tokenizer, options)
        reason = "what transformers converts it to gives other tokens" if made else reason
    if made is not None and _agree(tokenizer, made):
        return made
    raise ModelError(
        f"{flag} {name}: its tokenizer, a {kind}, has no fast version, which nlptl needs for the places of "
        f"words and for windows, and {reason}. Save a tokenizer.json with the checkpoint "
        "(PreTrainedTokenizerFast.save_pretrained), or take another checkpoint."
    )


def _converted(slow: Any, options: dict[str, Any]) -> Any:
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS, convert_slow_tokenizer

    if type(slow).__name__ not in SLOW_TO_FAST_CONVERTERS:
        return None  # convert_slow_tokenizer would read its vocabulary as one of tiktoken
    own = {
        key: value
        for key, value in slow.special_tokens_map.items()
        if key != "additional_special_tokens"
    }
    more = {
        "model_max_length": slow.model_max_length,
        "model_input_names": slow.model_input_names,
        "split_special_tokens": options.get("split_special_tokens", False),
    }
    return PreTrainedTokenizerFast(tokenizer_object=convert_slow_tokenizer(slow), **own, **more)


def _agree(slow: Any, fast: Any) -> bool:
    return all(slow(text)["input_ids"] == fast(text)["input_ids"] for text in SAMPLES)


def check_longest(tokenizer: Any, *, name: str, flag: str) -> None:
    """Refuse a tokenizer that says no number of tokens to cut texts at, or one with no room for a word.

    Raises:
        ModelError: If ``model_max_length`` is not a number above the special tokens of a text.
    """
    longest = tokenizer.model_max_length
    special = tokenizer.num_special_tokens_to_add()
    if isinstance(longest, int | float) and not isinstance(longest, bool) and longest > special:
        return
    raise ModelError(
        f"{flag} {name}: tokenizer_config.json has model_max_length {longest!r}; expected a number above "
        f"{special}, the special tokens of a text. Mend the file: texts are cut at so many tokens."
    )


def longest_input(
    config: Any, tokenizer: Any, asked: int | None, *, usual: int = 512, taken: int = 0
) -> int:
    """Return the tokens that a text is truncated to: as asked, else the usual number or what the model takes.

    On a GPU a model of 510 positions, for example, takes 504: batches are padded to multiples of eight. The
    vectors of ``prompt`` and ``prefix`` stand on positions too, ``taken`` of them.

    Raises:
        ModelError: If ``asked`` is more than the model has positions for.
    """
    positions = longest_text(config)
    positions = positions and positions - taken
    if asked is not None and positions is not None and asked > positions:
        beside = f" beside the mode's {taken} vectors" if taken else ""
        raise ModelError(
            f"--max-length {asked}: the model takes at most {positions} tokens{beside}."
        )
    room = positions and positions - positions % multiple()
    return min(asked or min(tokenizer.model_max_length, usual), room or asked or usual)


def compare(tokenizer: Any, config: Any, *, name: str, flag: str) -> None:
    """Compare a tokenizer with the configuration of its model; leave out token types that the model has not.

    Args:
        tokenizer: A fast tokenizer with a padding token; its inputs are changed in place.
        config: Configuration of the model; None if the tokenizer is to serve a new model.
        name: Name of the checkpoint as the user gave it.
        flag: Flag that named it.

    Raises:
        ModelError: If it has no tokens but special ones, or tokens for which the model has no embedding.
    """
    known = tokenizer.get_vocab()
    if not known.keys() - set(tokenizer.all_special_tokens):
        raise ModelError(
            f"{flag} {name}: the tokenizer has no tokens besides {listed(list(known), 6)}, so every word "
            "would be unknown. Copy the tokenizer's files from the checkpoint that it was made from."
        )
    if config is None:
        return
    text = config.get_text_config()
    rows, needed = getattr(text, "vocab_size", None), max(known.values()) + 1
    if isinstance(rows, int) and needed > rows:
        over = sorted((number, token) for token, number in known.items() if number >= rows)
        raise ModelError(
            f"{flag} {name}: the tokenizer has {needed:,} entries, the embeddings {rows:,} rows (no row for "
            f"{listed([token for _, token in over], 4)}). Call model.resize_token_embeddings(len(tokenizer)) "
            "and save the model again, or take the tokenizer that the model was trained with."
        )
    if "token_type_ids" in tokenizer.model_input_names and not _has_types(text):
        tokenizer.model_input_names = [
            each for each in tokenizer.model_input_names if each != "token_type_ids"
        ]


def _has_types(config: Any) -> bool:
    """Whether a model tells two texts apart by token types; some decoders would read them as words."""
    types = getattr(config, "type_vocab_size", None)
    return config.model_type == "xlnet" if types is None else types > 1


def give_padding(tokenizer: Any, config: Any = None) -> str:
    """Give a tokenizer a padding token where it has none, or one that hides the end of a text.

    Heads of decoders find a text's last token as the rightmost one that is no padding. ``</s>`` serves as
    padding only if no text ends in it; else the beginning of text does, which stands at the left.

    Args:
        tokenizer: A fast tokenizer, changed in place.
        config: Configuration of its model, whose ``pad_token_id`` may name such a token, or None.

    Returns:
        A notice; empty if nothing was changed.

    Raises:
        ModelError: If no token can serve.
    """
    before, end = tokenizer.pad_token, tokenizer.eos_token
    closed = _is_closed(tokenizer)
    if before is not None and not (closed and before == end):
        return ""
    known = tokenizer.get_vocab()
    free = [token for token in (*PADDING, _padding_of(config, tokenizer)) if token in known]
    ends = [] if closed or end is None else [end]
    begins = [tokenizer.bos_token] if tokenizer.bos_token not in (None, end) else []
    if not (choice := [*free, *ends, *begins]):
        if before is not None:  # the token before </s> is read, in each text alike
            return ""
        raise ModelError(
            "The tokenizer has no padding token, which batches need, and none of its special tokens can serve "
            "as one. Set tokenizer.pad_token, and save it with the checkpoint."
        )
    tokenizer.pad_token = choice[0]
    why = (
        "no padding token" if before is None else f"{before} as padding, in which texts end as well"
    )
    return f"The tokenizer has {why}; {choice[0]} is taken as padding."


def _padding_of(config: Any, tokenizer: Any) -> str | None:
    """Return the token of a configuration's ``pad_token_id`` if it looks like one that no text has."""
    number = getattr(config, "pad_token_id", None)
    if not isinstance(number, int) or not 0 <= number < len(tokenizer):
        return None
    token = tokenizer.convert_ids_to_tokens(number)
    marked = token is not None and re.fullmatch(r"<.+>|\[.+\]", token)
    return token if marked and token not in tokenizer.all_special_tokens else None


def _is_closed(tokenizer: Any) -> bool:
    """Whether an encoded text ends in the tokenizer's ``</s>``."""
    ids = tokenizer("a")["input_ids"]
    return bool(ids) and ids[-1] == tokenizer.eos_token_id


def pad_alike(model: Any, tokenizer: Any, *, reads_last: bool) -> list[str]:
    """Let a model know the token that batches are padded with; what is saved later says so too.

    Args:
        model: A model with its head; its configuration is changed in place.
        tokenizer: Its tokenizer, with a padding token.
        reads_last: Whether the head reads the last token that is no padding, so that both must agree.

    Returns:
        Notices.
    """
    config = model.config
    inner = getattr(config, "text_config", None)
    notices = []
    for each in (config, *([inner] if inner is not None else [])):
        before, now = getattr(each, "pad_token_id", None), tokenizer.pad_token_id
        if before == now or (before is not None and not reads_last):
            continue
        each.pad_token_id = now
        if each is config and before is not None:
            notices.append(
                f"The model's pad_token_id was {before}, its tokenizer pads with {now}: the tokenizer's is "
                "taken, because the head looks for the last token that is no padding."
            )
    return notices


def continuing(tokenizer: Any) -> np.ndarray:
    """Mark each token id that continues a word: WordPiece's ``##…``, byte-level BPE's without a space."""
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    # Not by its tokens: a byte-level vocabulary may hold "##" too, of Markdown's headings.
    if type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece":
        return np.asarray([token.startswith("##") for token in tokens])
    special = set(tokenizer.all_special_tokens)
    return np.asarray([not t.startswith(("Ġ", "▁", "Ċ")) and t not in special for t in tokens])


def word_tokens(tokenizer: Any) -> dict[int, str]:
    """List the tokens that are whole words of letters, by their numbers.

    Example: of BERT's vocabulary ``film``, but neither ``##ly`` nor ``[CLS]`` nor ``1990``.
    """
    begins = np.flatnonzero(~continuing(tokenizer)).tolist()
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.batch_decode([[number] for number in begins])
    each = zip(begins, (text.strip() for text in texts), strict=True)
    return {number: text for number, text in each if text.isalpha() and number not in special}
