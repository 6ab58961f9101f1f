"""Directories of sentence-transformers: what they declare about a checkpoint, and how one is written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from nlptl.data.files import write_json, write_whole
from nlptl.errors import ModelError

MODULES = "modules.json"
#: Names of the poolings in these directories, and nlptl's.
MODES = {"cls": "first", "mean": "mean", "lasttoken": "last"}
#: Entries of older directories, one for each pooling.
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
#: Where the classes are, under names that every release of sentence-transformers knows.
CLASSES = "sentence_transformers.models"
IDENTITY = "torch.nn.modules.linear.Identity"


@dataclass(frozen=True)
class Declared:
    """The declaration of a sentence-transformers directory.

    Attributes:
        pooling: Pooling of the tokens' states: ``first``, ``mean``, ``last``, or another one in words.
        normalize: Whether the pooled state is scaled to length 1.
        subfolder: Folder of the transformer; empty for the directory itself.
        max_length: Most tokens per text; None if it does not say.
        lower_case: Whether texts are made lower-case first.
        head: Folder of a dense layer without activation that gives the output; None if there is none.
        outputs: Number of outputs of that layer.
        left_out: Names of the other modules, which nlptl leaves out.
        options: Arguments of the transformer's class.
    """

    pooling: str
    normalize: bool = False
    subfolder: str = ""
    max_length: int | None = None
    lower_case: bool = False
    head: str | None = None
    outputs: int = 0
    left_out: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def supported(self) -> bool:
        """Whether nlptl can pool so."""
        return self.pooling in MODES.values()


def declared(path: str) -> Declared | None:
    """Read what a checkpoint declares in ``modules.json`` and the files that this names.

    Args:
        path: Directory or hub name.

    Returns:
        The declaration; None if the checkpoint is not a sentence-transformers directory.

    Raises:
        ModelError: If these files are damaged.
    """
    return _declared(path) if Path(path).exists() else _declared_on_hub(path)


@cache
def _declared_on_hub(name: str) -> Declared | None:
    return _declared(name)


def _declared(path: str) -> Declared | None:
    try:
        modules = _read(path, MODULES)
        return _understood(path, modules) if modules else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{path}: its {MODULES}, or a file that this names, is not as sentence-transformers writes it "
            f"({type(error).__name__}: {error})."
        ) from error


def _understood(path: str, modules: Sequence[Mapping[str, Any]]) -> Declared:
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    if kinds[0] != "Transformer":
        return Declared(f"what a module of the kind {kinds[0]} makes")
    body, rest = str(modules[0]["path"]), list(zip(kinds[1:], modules[1:], strict=True))
    about = _read(path, "sentence_bert_config.json", body) or {}
    pooling = "nothing: it has no module of the kind Pooling"
    if rest and rest[0][0] == "Pooling":
        pooling = _pooling(_read(path, "config.json", str(rest.pop(0)[1]["path"])) or {})
    normalize = bool(rest) and rest[0][0] == "Normalize"
    rest = rest[1:] if normalize else rest
    head, outputs = None, 0
    if rest and rest[-1][0] == "Dense":
        folder = str(rest[-1][1]["path"])
        dense = _read(path, "config.json", folder) or {}
        plain = str(dense.get("activation_function")).endswith(".Identity") and dense.get("bias")
        if plain and len(rest) == 1 and not dense.get("use_residual"):
            head, outputs = folder, int(dense["out_features"])
    return Declared(
        pooling=pooling,
        normalize=normalize,
        subfolder=body,
        max_length=about.get("max_seq_length"),
        lower_case=bool(about.get("do_lower_case")),
        head=head,
        outputs=outputs,
        left_out=tuple(kind for kind, _ in rest) if head is None else (),
    )


def _pooling(config: Mapping[str, Any]) -> str:
    """Return a pooling in nlptl's words, of the newer form or of the older one with a flag for each."""
    modes = config.get("pooling_mode") or [mode for key, mode in FLAGS.items() if config.get(key)]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) == 1 and modes[0] in MODES:
        return MODES[modes[0]]
    return f"{' and '.join(modes)} (in 1_Pooling/config.json)" if modes else "mean"


def _read(path: str, file: str, folder: str = "") -> Any:
    """Read a JSON file of a checkpoint; None if it is not there."""
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise ValueError(f"the folder {folder} is outside of the checkpoint")
    found = find_file(path, file, folder)
    return json.loads(Path(found).read_text("utf-8")) if found else None


def find_file(path: str, file: str, folder: str = "") -> str | None:
    """Return where a checkpoint's file is on this machine; None if there is none.

    Args:
        path: Directory or hub name.
        file: Name of the file.
        folder: Folder inside the checkpoint.
    """
    if Path(path).exists():
        local = Path(path) / folder / file
        return str(local) if local.is_file() else None
    from transformers.utils.hub import cached_file

    try:
        return cached_file(
            path,
            file,
            subfolder=folder,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError:  # no hub name; whoever reads the configuration says so
        return None


def write_modules(directory: Path, about: Declared, *, width: int) -> list[str]:
    """Write the files by which sentence-transformers opens a directory, except those with weights.

    Args:
        directory: Directory with the transformer and its tokenizer.
        about: What it declares; a head adds a dense layer, whose folder is returned last.
        width: Width of the states.

    Returns:
        The folders of the modules, in order.
    """
    kinds = [
        "Transformer",
        "Pooling",
        *["Normalize"] * about.normalize,
        *["Dense"] * bool(about.head),
    ]
    folders = ["" if not i else f"{i}_{kind}" for i, kind in enumerate(kinds)]
    modules = [
        {"idx": i, "name": str(i), "path": folder, "type": f"{CLASSES}.{kind}"}
        for i, (kind, folder) in enumerate(zip(kinds, folders, strict=True))
    ]
    for folder in folders[1:]:
        (directory / folder).mkdir(parents=True, exist_ok=True)
    write_whole(directory / MODULES, json.dumps(modules, indent=2) + "\n")
    limits = {"max_seq_length": about.max_length, "do_lower_case": False}
    options = {"model_args": about.options} if about.options else {}
    write_json(directory / "sentence_bert_config.json", {**limits, **options})
    flags = {flag: MODES.get(mode) == about.pooling for flag, mode in FLAGS.items()}
    write_json(directory / folders[1] / "config.json", {"word_embedding_dimension": width, **flags})
    if about.head:
        dense = {"in_features": width, "out_features": about.outputs, "bias": True}
        write_json(
            directory / folders[-1] / "config.json", {**dense, "activation_function": IDENTITY}
        )
    return folders


def declare_like(path: str, directory: Path, *, width: int) -> None:
    """Let a directory declare the pooling that a checkpoint declares; if it declares none, write nothing.

    Args:
        path: Directory of the checkpoint, or a hub name.
        directory: Directory of a model of the same architecture, without a head on pooled states.
        width: Width of the states.
    """
    about = declared(path)
    if about and about.supported:
        write_modules(directory, replace(about, head=None), width=width)


def write_dense(folder: Path, layer: Mapping[str, Tensor]) -> None:
    """Write ``weight`` and ``bias`` of a dense layer as sentence-transformers reads them."""
    from safetensors.torch import save_file

    weights = {f"linear.{name}": t.detach().cpu().contiguous() for name, t in layer.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def read_dense(path: str, folder: str) -> dict[str, Any] | None:
    """Read the weights of a dense layer; None if they are not in safetensors.

    Args:
        path: Directory or hub name.
        folder: The layer's folder in it.
    """
    from safetensors.torch import load_file

    found = find_file(path, "model.safetensors", folder)
    weights = load_file(found) if found else None
    return weights and {name.removeprefix("linear."): t.float() for name, t in weights.items()}


def make_lower_case(tokenizer: Any) -> None:
    """Let a fast tokenizer read texts in lower case, as sentence-transformers does where a directory asks."""
    from tokenizers.normalizers import Lowercase
    from tokenizers.normalizers import Sequence as Several

    backend = tokenizer.backend_tokenizer
    before = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = Several([Lowercase(), *before])
