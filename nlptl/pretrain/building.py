"""New models and tokenizers, for pretraining from scratch."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from nlptl.errors import ModelError, many
from nlptl.models.families import check_family
from nlptl.models.layer_map import layer_map
from nlptl.pretrain.architecture import check_architecture, longest_position, new_config, new_model

#: Lists of documents, not an iterator: the trainers read them more than once, and hold none of them.
Texts = Iterable[list[str]]

#: Most characters of a new WordPiece vocabulary, the most frequent ones: as many as the trainer would take.
ALPHABET = 1000
#: Number of tokens ``<extra_id_0>``, … of a new T5 vocabulary, as many as T5's own has.
SENTINELS = 100


def train_wordpiece(texts: Texts, *, vocab_size: int, max_length: int) -> Any:
    """Train an uncased WordPiece vocabulary in BERT's manner (Devlin et al., 2019).

    The same texts give the same vocabulary.

    Args:
        texts: Lists of documents; read more than once.
        vocab_size: Entries in all, the five special tokens included.
        max_length: Written into the tokenizer as the model's length.

    Returns:
        A :class:`transformers.BertTokenizer`.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    for text in (text for batch in texts for text in batch):
        counts.update(normalizer.normalize_str(text))
    alphabet = most_frequent(counts, ALPHABET)

    def trained(size: int, first: list[str]) -> dict[str, int]:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106  no password
        tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            special_tokens=first,
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer.get_vocab()

    # The trainer numbers "##x" in the order of a hash table, different each time, and breaks ties between
    # pairs by these numbers. Those that a first pass without merges finds are given to it in their order.
    inner = sorted(
        token for token in trained(0, special) if token.startswith("##") and len(token) > 2
    )
    vocab = trained(vocab_size, special + inner)
    return BertTokenizer(vocab=vocab, do_lower_case=True, model_max_length=max_length)


def most_frequent(counts: Counter[str], most: int) -> list[str]:
    """List the ``most`` most frequent characters but white space; of equal ones the first in Unicode."""
    found = (character for character in counts if not character.isspace())
    return sorted(found, key=lambda character: (-counts[character], character))[:most]


def train_byte_level_bpe(texts: Texts, *, vocab_size: int, max_length: int) -> Any:
    """Train a byte-level BPE vocabulary in RoBERTa's manner (Liu et al., 2019, section 4.4).

    Returns:
        A :class:`transformers.RobertaTokenizer`; arguments as for :func:`train_wordpiece`.
    """
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import RobertaTokenizer

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return RobertaTokenizer(
        vocab=model["vocab"],
        merges=merges,  # type: ignore[arg-type]  # pairs, whatever its annotation says
        model_max_length=max_length,
    )


def train_unigram(
    texts: Texts, *, vocab_size: int, max_length: int, sentinels: int = SENTINELS
) -> Any:
    """Train a Unigram vocabulary in T5's manner (Raffel et al., 2020, section 2.2.1).

    The same texts give the same vocabulary, except for pieces of equal score at the cut. If there are more
    characters than entries, the most frequent are taken; words are cut at the others, which become ``<unk>``.

    Args:
        texts: Lists of documents; read twice.
        vocab_size: Entries in all, ``sentinels`` included.
        max_length: Length that is written into the tokenizer as the model's.
        sentinels: Number of tokens ``<extra_id_0>``, … for span corruption.

    Returns:
        A :class:`transformers.T5Tokenizer`.
    """
    import json

    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    from transformers import T5Tokenizer

    # As it will be used: transformers gives a new T5 tokenizer no normalizer, and keeps none that is set.
    special = ["<pad>", "</s>", "<unk>"]
    used = T5Tokenizer(vocab=[(name, 0.0) for name in special], extra_ids=0).backend_tokenizer
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = used.pre_tokenizer
    if used.normalizer is not None:
        tokenizer.normalizer = used.normalizer
    counts: Counter[str] = Counter()
    for text in (text for batch in texts for text in batch):
        counts.update(text)
    counts["▁"] = counts.total()  # a space, which every word begins with
    # The trainer takes every character that it sees: with too many it fails, and with as many as there are
    # entries it gives a tenth more entries than it was asked for.
    most = vocab_size - sentinels - len(special) - 1
    alphabet = most_frequent(counts, most)
    if len(alphabet) == most:
        taken = "".join(f"\\x{{{ord(character):x}}}" for character in alphabet)
        cut = pre_tokenizers.Split(Regex(f"[^{taken}]+"), "removed")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([used.pre_tokenizer, cut])
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size - sentinels,
        special_tokens=special,
        unk_token="<unk>",  # noqa: S106  no password
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocab = [tuple(entry) for entry in json.loads(tokenizer.to_str())["model"]["vocab"]]
    vocab = vocab[: len(special)] + settled(vocab[len(special) :])
    return T5Tokenizer(vocab=vocab, extra_ids=sentinels, model_max_length=max_length)


def settled(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Sort Unigram pieces so that a second training on the same texts gives the same order.

    The trainer adds up in the order of a hash table, which is different each time. So log-probabilities differ
    in their last digits: they are rounded to six, and equal ones are put in the order of their pieces. Single
    characters that are kept only so that everything can be spelt get 0, 0.0001, 0.0002, … above the lowest, in
    the order of that table too: here they get them in the characters' own order.
    """
    lowest = min((score for _, score in pieces), default=0.0)

    def kept_to_spell(piece: str, score: float) -> bool:
        steps = (score - lowest) / 1e-4
        return len(piece) == 1 and abs(steps - round(steps)) < 1e-5

    spare = [(piece, score) for piece, score in pieces if kept_to_spell(piece, score)]
    places = sorted((score for _, score in spare), reverse=True)
    given = dict(zip(sorted(piece for piece, _ in spare), places, strict=True))
    rounded = [(piece, round(given.get(piece, score), 6)) for piece, score in pieces]
    return sorted(rounded, key=lambda entry: (-entry[1], entry[0]))


#: Trainer of each family's vocabulary.
TRAINERS = {"bert": train_wordpiece, "roberta": train_byte_level_bpe, "t5": train_unigram}


def set_dropout(model: Any, rate: float) -> None:
    """Set the rate of every dropout module; the saved configuration keeps its own."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        for name in (
            "dropout_prob",
            "dropout",
        ):  # of the attention, where they are numbers, not modules
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, rate)


def check_growth(config: Any, depth: int) -> None:
    """Make sure that a model can grow to ``depth`` blocks, or already has as many.

    Raises:
        ModelError: If ``depth`` is not a multiple of the model's depth (of T5: of its encoder's).
    """
    count = config.num_hidden_layers
    if depth < 1 or depth % count:
        raise ModelError(
            f"--depth {depth} is not a multiple of the checkpoint's {many(count, 'block')}: it "
            "cannot grow to that. "
            f"For a new model of {many(depth, 'block')}, give --architecture and leave out --model."
        )


@torch.no_grad()
def grow_depth(shallow: Any, depth: int) -> Any:
    """Make a deeper model that computes nearly what the shallow one does.

    Where norms stand in the residual stream (BERT, RoBERTa), each block is followed by copies of itself
    whose projections into the stream are zero and whose norms are plain, so that they pass on what they
    get; training then gives them something to add. Function-preserving growth is Net2Net's (Chen et al.,
    2016) and bert2BERT's (Chen et al., 2022); the zero start is Goyal et al.'s (2017). Copies that are not
    silenced (Gong et al., 2019, "Progressively Stacking") undid the training of a post-norm model of three
    blocks: held-out loss 4.23 before, 8.43 stacked, 4.23 grown in this way. The growth is exact only as far
    as the norm's gains are equal.

    Where norms stand before a block's parts (T5), a block and its copies each write their share of what the
    block wrote before: as many smaller steps of one residual flow (Chang et al., 2018, "Multi-level residual
    networks from dynamical systems view"). Three blocks grown to twelve: held-out loss 3.83 before, 3.89
    after. Silenced copies were exact there, and stayed silent, because Adafactor moves a tensor in
    proportion to its size: after 2,000 steps their projections into the stream had a root mean square of
    0.0004, those of the original blocks 0.03 to 0.1.

    Raises:
        ModelError: If ``depth`` is not a multiple of the model's depth (of T5: of its encoder's).
    """
    old, count = layer_map(shallow), shallow.config.num_hidden_layers
    check_growth(shallow.config, depth)
    copies = depth // count
    config = type(shallow.config).from_dict(
        {**shallow.config.to_dict(), "num_hidden_layers": depth}
    )
    deep = type(shallow)(config)
    # T5's decoder, and the norm that closes its encoder, stay as they are.
    blocks = old.blocks[:count]
    inside = {id(p) for block in blocks for p in block.parameters()}
    same = {name for name, p in shallow.named_parameters() if id(p) not in inside}
    deep.load_state_dict({n: t for n, t in shallow.state_dict().items() if n in same}, strict=False)
    writes = check_family(shallow.config.model_type).residual_writes
    for number, block in enumerate(layer_map(deep).blocks[:depth]):
        # Not strict: only T5's first block has a relative position bias.
        block.load_state_dict(blocks[number // copies].state_dict(), strict=False)
        if old.pre_norm:
            _scale_writes(block, writes, 1 / copies)
        elif number % copies:
            _silence(block, writes)
    deep.tie_weights()
    return deep


def _scale_writes(block: nn.Module, writes: tuple[str, ...], factor: float) -> None:
    for name, module in block.named_modules():
        if any(f".{name}".endswith(f".{write}") for write in writes):
            for parameter in module.parameters():
                parameter.mul_(factor)


def _silence(block: nn.Module, writes: tuple[str, ...]) -> None:
    _scale_writes(block, writes, 0.0)
    for module in block.modules():
        if "norm" in type(module).__name__.lower():
            for inner, parameter in module.named_parameters():
                parameter.fill_(float(inner == "weight"))


def model_to_train(config: Any, objective: Any, documents: Any) -> tuple[Any, Any, frozenset[str]]:
    """Build or load what ``nlptl run pretrain`` trains.

    Args:
        config: A :class:`nlptl.cli.config.PretrainConfig`.
        objective: Objective, which knows the class of the model.
        documents: Training texts; a tokenizer from scratch is trained on up to 100,000 of them.

    Returns:
        The model with its pretraining head, its tokenizer, and the parameters that no checkpoint had: all
        parameters of a model from scratch, but not a block that a model grows by, which begins as a copy.

    Raises:
        DataError: If there is no piece for the warm start.
    """
    from nlptl.models.loading import load_tokenizer, load_with_head
    from nlptl.pretrain.corpus import TRAINING, Sample, check_any_piece, tokenize
    from nlptl.pretrain.warm_start import COUNTED, warm_start

    if config.model is not None:
        loaded = load_with_head(config.model, auto_class=objective.auto_class, head={})
        model = loaded.model
        if config.depth is not None and config.depth > model.config.num_hidden_layers:
            model = grow_depth(model, config.depth)
        return model, load_tokenizer(config.model, split_special_tokens=False), loaded.new
    sizes = {"depth": config.depth, "width": config.width, "positions": config.positions}
    family = check_architecture(config.architecture, **sizes)
    if config.tokenizer is not None:
        tokenizer = load_tokenizer(config.tokenizer, split_special_tokens=False, flag="--tokenizer")
        asked = max(tokenizer.model_max_length, config.max_length or 0)
        tokenizer.model_max_length = longest_position(config.architecture, config.positions, asked)
    else:
        texts = Sample(documents.shuffle(seed=config.seed), 100_000)
        longest = longest_position(config.architecture, config.positions, config.max_length)
        tokenizer = TRAINERS[family](texts, vocab_size=config.vocab_size, max_length=longest)
    model = new_model(new_config(config.architecture, tokenizer=tokenizer, **sizes))
    if config.warm_start:
        # Drawn from all sources alike: a corpus begins with its first one.
        sample = documents.shuffle(seed=config.seed)
        pieces: Any = tokenize(sample.select(range(min(COUNTED, len(sample)))), tokenizer, room=126)
        check_any_piece({TRAINING: len(pieces)})
        ids = (row for batch in pieces.iter(batch_size=1000) for row in batch["input_ids"])
        warm_start(model, ids, seed=config.seed, most=COUNTED)
    return model, tokenizer, frozenset(name for name, _ in model.named_parameters())
