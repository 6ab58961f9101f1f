"""New models and tokenizers, for pretraining from scratch."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from nlptl.errors import ModelError, Problems
from nlptl.models.layer_map import layer_map

SPECIAL = {"bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]}


def train_wordpiece(texts: Iterable[list[str]], *, vocab_size: int, max_length: int) -> Any:
    """Train an uncased WordPiece vocabulary in BERT's manner (Devlin et al., 2019).

    Args:
        texts: Lists of documents.
        vocab_size: Entries in all, the five special tokens included.
        max_length: Written into the tokenizer as the model's length.

    Returns:
        A :class:`transformers.BertTokenizer`.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizer

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL["bert"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return BertTokenizer(
        vocab=tokenizer.get_vocab(), do_lower_case=True, model_max_length=max_length
    )


def new_masked_lm(family: str, *, tokenizer: Any, depth: int, width: int, max_length: int) -> Any:
    """Build a masked language model with random weights.

    Heads of 32 dimensions, a feed-forward layer four times as wide, dropout 0.1 in the saved
    configuration (pretraining switches it off, see :func:`set_dropout`).

    Raises:
        ConfigError: If ``width`` is not a multiple of 32 or the family has no masked LM here.
    """
    from transformers import AutoConfig, AutoModelForMaskedLM

    check_architecture(family, width)
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
        max_position_embeddings=max_length,
        pad_token_id=tokenizer.pad_token_id,
        # BERT's 0.02 belongs to a width of 768: a narrow model needs larger weights for the same
        # activations, and left the unigram plateau sooner with them.
        initializer_range=round(0.02 * math.sqrt(768 / width), 4),
    )
    return AutoModelForMaskedLM.from_config(config)


def check_architecture(family: str, width: int) -> None:
    """Make sure that a model from scratch can be built.

    Raises:
        ConfigError: If ``width`` is not a multiple of 32 or the family has no masked LM here.
    """
    problems = Problems()
    if width < 1 or width % 32:
        problems.add(f"--width is {width}; expected a multiple of 32 (heads have 32 dimensions).")
    if family != "bert":
        problems.add(f"--architecture '{family}' cannot be pretrained from scratch yet; use bert.")
    problems.raise_if_any()


def set_dropout(model: Any, rate: float) -> None:
    """Set the rate of every dropout module; the saved configuration keeps its own."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif isinstance(getattr(module, "dropout_prob", None), float):
            module.dropout_prob = rate


@torch.no_grad()
def grow_depth(shallow: Any, depth: int) -> Any:
    """Make a deeper model that computes nearly what the shallow one does.

    Each block is followed by copies of itself whose projections into the residual stream are zero and
    whose norms are plain, so that they pass on what they get; training then gives them something to
    add. Function-preserving growth is Net2Net's (Chen et al., 2016) and bert2BERT's (Chen et al.,
    2022); the zero start is Goyal et al.'s (2017). Copies that are not silenced (Gong et al., 2019,
    "Progressively Stacking") threw a post-norm model of three blocks back to its first day: held-out
    loss 4.23 before, 8.43 stacked, 4.23 grown in this way. After a post-norm it is exact only as far
    as the norm's gains are equal; before one (T5) it is exact.

    Raises:
        ModelError: If ``depth`` is not a multiple of the model's depth.
    """
    old = layer_map(shallow)
    copies, rest = divmod(depth, len(old.blocks))
    if rest:
        raise ModelError(
            f"--depth {depth} is not a multiple of the checkpoint's {len(old.blocks)} blocks, so it "
            "cannot grow to that."
        )
    config = type(shallow.config).from_dict(
        {**shallow.config.to_dict(), "num_hidden_layers": depth}
    )
    deep = type(shallow)(config)
    inside = {n for n, part in old.part_of(shallow).items() if part.startswith("block")}
    deep.load_state_dict(
        {n: t for n, t in shallow.state_dict().items() if n not in inside}, strict=False
    )
    for number, block in enumerate(layer_map(deep).blocks):
        for new, given in zip(block, old.blocks[number // copies], strict=True):
            new.load_state_dict(given.state_dict())
            if number % copies:
                _silence(new, old.family.residual_writes)
    deep.tie_weights()
    return deep


def _silence(block: nn.Module, writes: tuple[str, ...]) -> None:
    for name, module in block.named_modules():
        if any(f".{name}".endswith(f".{write}") for write in writes):
            for parameter in module.parameters():
                parameter.zero_()
        elif "norm" in type(module).__name__.lower():
            for inner, parameter in module.named_parameters():
                parameter.fill_(float(inner == "weight"))


def masked_lm_to_train(config: Any, documents: Any) -> tuple[Any, Any]:
    """Build or load what ``recipes/pretrain.py`` trains.

    Args:
        config: A :class:`nlptl.config.PretrainConfig`.
        documents: Training texts; a tokenizer from scratch is trained on up to 100,000 of them.

    Returns:
        The masked language model and its tokenizer.
    """
    from nlptl.data.corpus import iterate_texts, tokenize
    from nlptl.models.loading import load_masked_lm
    from nlptl.models.warm_start import warm_start

    if config.model is None:
        texts = iterate_texts(documents.shuffle(seed=config.seed), 100_000)
        tokenizer = train_wordpiece(
            texts, vocab_size=config.vocab_size, max_length=config.positions
        )
        model = new_masked_lm(
            config.architecture,
            tokenizer=tokenizer,
            depth=config.depth,
            width=config.width,
            max_length=config.positions,
        )
        if config.warm_start:
            pieces: Any = tokenize(documents, tokenizer, max_length=128)
            ids = (row for batch in pieces.iter(batch_size=1000) for row in batch["input_ids"])
            warm_start(model, ids, seed=config.seed)
    else:
        model, tokenizer = load_masked_lm(config.model)
        if config.depth > model.config.num_hidden_layers:
            model = grow_depth(model, config.depth)
    return model, tokenizer
