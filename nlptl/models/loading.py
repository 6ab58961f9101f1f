"""Checkpoints from disk or the hub, as Hugging Face's own classes or pooled for a linear head, in float32.

transformers 5 loads weights in the file's dtype; training in float16 weights fails silently,
so float32 is asked for everywhere, and autocast does the rest.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nlptl.errors import ModelError, listed
from nlptl.models.checkpoint_files import check_files, check_tokenizer_files
from nlptl.models.labels import label_order, label_parameters, reorder_labels
from nlptl.models.layer_map import layer_map
from nlptl.models.pooling import (
    PooledClassifier,
    body_class,
    check_pooling,
    head_reads,
    head_settings,
    is_encoder_alone,
    reads_encoder,
)
from nlptl.models.sentence_encoder import (
    Declared,
    declare_like,
    declared,
    find_file,
    make_lower_case,
    read_dense,
)
from nlptl.models.tokenizer import check_longest, compare, give_padding, load_fast, pad_alike
from nlptl.models.tracing import width_of
from nlptl.models.weights_check import (
    refuse_left_out,
    refuse_lost,
    refuse_not_finite,
    refuse_other_shape,
)

BUNDLED = Path(__file__).parent.parent / "bundled"


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence load reports and progress bars; nlptl itself prints what matters of them."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def resolve(name: str, flag: str = "--model") -> str:
    """Turn ``bundled/bert`` into its directory; a local directory or a hub name stays as it is.

    Raises:
        ModelError: If there is no such bundled checkpoint.
    """
    if not name.startswith("bundled/"):
        return name
    path = BUNDLED / name.removeprefix("bundled/")
    if not (path / "config.json").is_file():
        known = sorted(f"bundled/{p.parent.name}" for p in BUNDLED.glob("*/config.json"))
        raise ModelError(
            f"{flag} {name}: there is no such bundled checkpoint. There are: {listed(known)}."
        )
    return str(path)


def folder_of(about: Declared | None) -> str:
    """Return the folder of a checkpoint that holds the transformer; empty for the checkpoint's own."""
    return about.subfolder if about else ""


def load_config(name: str, *, flag: str = "--model", **changes: Any) -> Any:
    """Read a checkpoint's configuration, without its weights.

    Args:
        name: Bundled name, directory or hub name.
        flag: The flag that named it, for messages.
        changes: Entries to set.

    Raises:
        ModelError: If it is not a checkpoint, or cannot be loaded from the hub.
    """
    from transformers import AutoConfig

    path = resolve(name, flag)
    about, local = declared(path), Path(path)
    check_files(path, folder_of(about), name=name, flag=flag)
    if local.exists() and not (local / folder_of(about) / "config.json").is_file():
        holds = (
            sorted(p.name for p in local.iterdir()) if local.is_dir() else ["a file, not a folder"]
        )
        hint = (
            f" Did you mean {local / 'model'}?" if (local / "model/config.json").is_file() else ""
        )
        raise ModelError(
            f"{flag} {name}: is not a model directory: it has no config.json (it holds "
            f"{listed(holds, 8) or 'nothing'}).{hint}"
            if about is None or about.supported
            else f"{flag} {name}: is a sentence-transformers directory that pools {about.pooling}, and has no "
            "config.json of a transformer. Give a checkpoint with a transformer."
        )
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(
                path, subfolder=folder_of(about), trust_remote_code=False, **changes
            )
    except Exception as error:  # the hub client and the JSON reader raise a dozen kinds
        raise ModelError(_cannot_load(name, local, error, flag)) from error
    if is_encoder_alone(config):
        config.is_encoder_decoder = False  # sentence-t5's file says true
    return config


def _cannot_load(name: str, local: Path, error: Exception, flag: str = "--model") -> str:
    cause = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"
    if "trust_remote_code" in str(error):
        return (
            f"{flag} {name}: the checkpoint brings code of its own (auto_map in a json file), and nlptl "
            "never runs a checkpoint's code. Take a checkpoint of an architecture that transformers has."
        )
    if local.exists() and isinstance(error, KeyError):
        return (
            f"{flag} {name}: the checkpoint cannot be read: transformers does not know {error}, which a file "
            "of the checkpoint names, such as config.json (an activation, a kind of layer). Is it a slip, or "
            "for another version of transformers?"
        )
    if local.exists():
        return f"{flag} {name}: the checkpoint cannot be read ({cause})."
    bundled = sorted(f"bundled/{p.parent.name}" for p in BUNDLED.glob("*/config.json"))
    return (
        f"{flag} {name}: is not a local directory, and could not be loaded from the hub ({cause}). Check "
        f"the spelling and the network, or take a local directory or a bundled checkpoint: "
        f"{listed(bundled)}."
    )


def load_tokenizer(name: str, *, split_special_tokens: bool = True, flag: str = "--model") -> Any:
    """Load a checkpoint's tokenizer in its fast version, with a padding token.

    Args:
        name: Bundled name, directory or hub name.
        split_special_tokens: Whether to read literal special tokens in a text (``</s>``, ``[SEP]``) as plain
            text: T5's classifier fails on a batch in which one text holds more ``</s>`` than another. A
            language model's tokenizer must know its ``[MASK]``, so it takes False.
        flag: The flag that named it, for messages.

    Raises:
        ModelError: If there is none, no fast version of it, or one that does not fit the model.
    """
    return _read_tokenizer(name, split_special_tokens=split_special_tokens, flag=flag)[0]


def _read_tokenizer(
    name: str, *, split_special_tokens: bool = True, flag: str = "--model"
) -> tuple[Any, list[str]]:
    """Load a tokenizer as :func:`load_tokenizer` does; return notices of what was changed, too."""
    path = resolve(name, flag)
    about = declared(path)
    where = {"name": name, "flag": flag}
    check_files(path, folder_of(about), **where)
    try:
        with quiet_transformers():
            tokenizer = load_fast(
                path,
                **where,
                subfolder=folder_of(about),
                split_special_tokens=split_special_tokens,
            )
    except ModelError:
        raise
    except Exception as error:
        if Path(path).exists():
            check_tokenizer_files(path, folder_of(about), **where)
        raise ModelError(_cannot_load(name, Path(path), error, flag)) from error
    check_tokenizer_files(path, folder_of(about), **where)
    if about and about.max_length:
        tokenizer.model_max_length = about.max_length
    check_longest(tokenizer, **where)
    if about and about.lower_case:
        make_lower_case(tokenizer)
    new = flag == "--tokenizer" or find_file(path, "config.json", folder_of(about)) is None
    config = None if new else load_config(name, flag=flag)
    notice = give_padding(tokenizer, config)
    compare(tokenizer, config, **where)
    return tokenizer, [notice] if notice else []


@dataclass(frozen=True)
class Reading:
    """How a model with a head for whole texts comes to the vector that its head reads.

    Attributes:
        pooling: ``first``, ``mean`` or ``last``.
        normalize: Whether the vector is scaled to length 1.
        settings: Entries of the configuration with which Hugging Face's class reads so; None for a
            :class:`nlptl.models.pooling.PooledClassifier`.
        head: Folder of a trained dense head; None if there is none.
    """

    pooling: str
    normalize: bool
    settings: Mapping[str, Any] | None
    head: str | None


def reading(name: str, pooling: str = "auto", *, flag: str = "--model") -> Reading:
    """Find how a checkpoint's states are pooled for a head, without its weights.

    ``auto`` is what the checkpoint declares: the modules of a sentence-transformers directory, or its
    configuration's ``classifier_pooling``; without a declaration, what Hugging Face's class reads.

    Args:
        name: Bundled name, directory or hub name.
        pooling: ``auto``, ``first``, ``mean`` or ``last``.
        flag: The flag that named it, for messages.

    Raises:
        ModelError: If the states cannot be pooled so; the message says why, and what to do.
    """
    config, about = load_config(name, flag=flag), declared(resolve(name))
    if pooling == "auto" and about and not about.supported:
        raise ModelError(
            f"{flag} {name}: is a sentence-transformers directory that pools {about.pooling}; nlptl pools the "
            "first token, the last, or the mean. Use --pooling mean, or another checkpoint."
        )
    if pooling == "auto":
        pooling = about.pooling if about else head_reads(config)
    check_pooling(config, pooling, name)
    same = about is not None and about.pooling == pooling
    normalize = bool(about and same and about.normalize)
    trained = about.head if about and same and about.outputs == config.num_labels else None
    own = normalize or trained is not None
    return Reading(pooling, normalize, None if own else head_settings(config, pooling), trained)


def pooling_under(task: Any, name: str, pooling: str | None) -> Any:
    """Return the pooling under a task's head, with ``auto`` resolved (:func:`reading`).

    Args:
        task: Task of the head.
        name: Name of the checkpoint.
        pooling: What was asked for; None counts as ``auto``.

    Returns:
        ``first``, ``mean`` or ``last``; None if the head reads each token.
    """
    pools = task.pooled and reads_texts(task.auto_class)
    return reading(name, pooling or "auto").pooling if pools else None


def trained_config(name: str, pooling: str | None) -> Any:
    """Read the configuration of the model that is trained: of an encoder-decoder maybe its encoder's alone.

    Args:
        name: Bundled name, directory or hub name.
        pooling: As for :func:`reading`; None for a head that pools nothing.
    """
    config, about = load_config(name), declared(resolve(name))
    unknown = pooling == "auto" and about is not None and not about.supported
    if pooling is not None and not unknown:  # such a checkpoint is refused where its pooling counts
        found = reading(name, pooling)
        if found.settings is None and reads_encoder(config, found.pooling):
            config.is_encoder_decoder = False
    return config


@dataclass(frozen=True)
class Loaded:
    """A checkpoint with a task's head.

    Attributes:
        model: One of Hugging Face's own head classes, or a :class:`nlptl.models.pooling.PooledClassifier`;
            float32.
        tokenizer: Its fast tokenizer.
        new: Names of the parameters that the checkpoint did not have.
        notices: Messages about them for the user.
    """

    model: Any
    tokenizer: Any
    new: frozenset[str]
    notices: tuple[str, ...]


def load_with_head(
    name: str, *, auto_class: Any, head: Mapping[str, Any], pooling: str | None = "auto"
) -> Loaded:
    """Load a checkpoint into a head class; what the file lacks is new and must train.

    New parameters come from the checkpoint's missing keys, not from a list of names: such lists miss
    T5's and BART's heads, and BERT's pooler after continued masked-LM training (``BertForMaskedLM``
    drops it). A head for other labels is replaced, even where its size would fit; one for the same labels is
    kept, its outputs in the order that is asked for.

    Args:
        name: Bundled name, directory or hub name.
        auto_class: Class with the head, such as ``AutoModelForSequenceClassification``.
        head: Configuration of the head: ``num_labels``, ``id2label``, ``label2id``; may be empty.
        pooling: Pooling under a head for whole texts (:func:`reading`); other heads pool nothing. None takes
            Hugging Face's class as it is.

    Raises:
        ModelError: If the file lacks parameters of the backbone, or cannot be read.
    """
    before = load_config(name)
    given = dict(head)
    if pooling is not None and reads_texts(auto_class):
        found = reading(name, pooling)
        if found.settings is None:
            return _load_pooled(name, found, head, before)
        given |= found.settings
    config = load_config(name, **given)
    if auto_class.__name__ == "AutoModel" and is_encoder_alone(before):
        auto_class, _ = body_class(before, "mean")
    model, info = _read_weights(name, auto_class, config)
    own = dict(model.named_parameters())
    parts = layer_map(model).part_of(model)
    missing = {key for key in info["missing_keys"] if key in own and parts[key] != "unused"}
    refuse_lost(name, [key for key in missing if parts[key] != "head"])
    resized = {key[0] for key in info["mismatched_keys"]}
    refuse_other_shape(
        name, [key for key in info["mismatched_keys"] if parts.get(key[0], "head") != "head"]
    )
    refuse_left_out(name, model, parts, info["unexpected_keys"])
    refuse_not_finite(name, model)
    notices = []
    renamed: set[str] = set()
    if head and not resized and before.id2label != config.id2label:
        with quiet_transformers():
            renamed = label_parameters(auto_class, config) - missing
        order = label_order(before.id2label, config.id2label)
        if order is not None:  # the same names
            reorder_labels((own[key] for key in renamed), order)
            renamed = set()
        if renamed:
            fresh = dict(auto_class.from_config(config, trust_remote_code=False).named_parameters())
            with torch.no_grad():
                for key in renamed:
                    own[key].copy_(fresh[key])
    if resized or renamed:
        notices.append(_new_head(before, config))
    tokenizer, about = _read_tokenizer(name)
    notices += about
    notices += share_padding(model, tokenizer)
    return Loaded(model, tokenizer, frozenset(missing | resized | renamed), tuple(notices))


def share_padding(model: Any, tokenizer: Any) -> list[str]:
    """Let a model know the token that batches are padded with; see :func:`nlptl.models.tokenizer.pad_alike`.

    Heads of decoders read the last token that is no padding; those of encoder-decoders look for ``</s>``.

    Returns:
        Notices.
    """
    seq2seq = getattr(model.config, "is_encoder_decoder", False)
    reads_last = not seq2seq and layer_map(model).pooled.startswith("last")
    return pad_alike(model, tokenizer, reads_last=reads_last)


def reads_texts(auto_class: Any) -> bool:
    """Whether the heads of an auto class read one vector per text, so that its states are pooled."""
    return auto_class.__name__.endswith("ForSequenceClassification")


def _load_pooled(name: str, found: Reading, head: Mapping[str, Any], before: Any) -> Loaded:
    """Load a body without a head, and put a linear classifier on its pooled states."""
    config, about = load_config(name, **head), declared(resolve(name))
    auto_class, options = body_class(config, found.pooling)
    if reads_encoder(config, found.pooling):
        config.is_encoder_decoder = False
    body, info = _read_weights(name, auto_class, config, **options)
    refuse_lost(name, info["missing_keys"])
    refuse_other_shape(name, info["mismatched_keys"])
    tokenizer, notices = _read_tokenizer(name)
    model = PooledClassifier(
        body, pooling=found.pooling, normalize=found.normalize, options=options
    )
    parts = layer_map(model).part_of(body)  # refuses what cannot be mapped
    refuse_left_out(name, body, parts, info["unexpected_keys"])
    refuse_not_finite(name, body)
    notices += pad_alike(model, tokenizer, reads_last=False)
    trained = False
    if found.head is not None:
        weights = read_dense(resolve(name), found.head)
        order = label_order(before.id2label, config.id2label) if head else None
        trained = bool((order or not head) and weights and model.load_head(weights))
        if order:
            reorder_labels(model.classifier.parameters(), order)
        if not trained:
            notices.append(_new_head(before, config))
    if about and about.pooling == found.pooling and about.left_out:
        notices.append(
            f"The checkpoint's modules above its pooling ({listed(about.left_out)}) are left out: the head "
            "reads the pooled states themselves."
        )
    new = () if trained else (f"classifier.{n}" for n, _ in model.classifier.named_parameters())
    return Loaded(model, tokenizer, frozenset(new), tuple(notices))


def _read_weights(name: str, auto_class: Any, config: Any, **options: Any) -> tuple[Any, Any]:
    """Read a checkpoint into a class; return the model, and which tensors were missing or of another shape."""
    path = resolve(name)
    try:
        with quiet_transformers():
            return auto_class.from_pretrained(
                path,
                config=config,
                dtype=torch.float32,
                subfolder=folder_of(declared(path)),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                trust_remote_code=False,
                **options,
            )
    except Exception as error:
        raise ModelError(_cannot_load(name, Path(path), error)) from error


def _new_head(before: Any, config: Any) -> str:
    return (
        f"The checkpoint has a head for the labels {listed(list(before.id2label.values()), 6)}; it "
        f"gets a new one for {listed(list(config.id2label.values()), 6)}."
    )


def load_trained(name: str, auto_class: Any) -> Any:
    """Load a model that already has its head.

    Raises:
        ModelError: If a part of it is not in the file, so that its answers would be random.
    """
    loaded = load_with_head(name, auto_class=auto_class, head={})
    if loaded.new:
        raise ModelError(
            f"{name} has no trained head: {listed(sorted(loaded.new), 3)} are not in the file. Train it "
            "first, with nlptl run classify or nlptl run qa; a pretraining head with nlptl run pretrain."
        )
    return loaded.model


def open_saved(directory: Path, auto_class: Any) -> Any:
    """Open a model that nlptl wrote, float32, in eval mode.

    Args:
        directory: A run's ``model/``: plain transformers, or a sentence-transformers directory with a head.
        auto_class: The task's auto class.
    """
    return load_trained(str(directory), auto_class).eval()


def save_pretrained(
    model: Any, tokenizer: Any, directory: Path, *, like: str | Path | None = None
) -> None:
    """Write a model and its tokenizer so that plain transformers or sentence-transformers opens them.

    Args:
        model: Model to write.
        tokenizer: Its tokenizer.
        directory: Directory to write to.
        like: Checkpoint that the model, one without a head on pooled states, comes from: a pooling that this
            declares, as a sentence encoder does, the directory declares too. None declares nothing.
    """
    with quiet_transformers():
        model.save_pretrained(directory)
    if like is not None:
        declare_like(resolve(str(like)), directory, width=width_of(model.config))
    if isinstance(model, PooledClassifier):
        tokenizer.padding_side = "right"  # as the batches here are padded
    tokenizer.save_pretrained(directory)
