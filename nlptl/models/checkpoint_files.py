"""What a checkpoint's files are, before they are read: pointers of git-lfs, adapters, files of a tokenizer."""

import json
from pathlib import Path
from typing import Any

from nlptl.errors import ModelError, listed
from nlptl.models.sentence_encoder import find_file

#: How a file begins that git leaves where git-lfs has not fetched the content.
POINTER = b"version https://git-lfs"
ADAPTER = "adapter_config.json"
#: Files of which one is enough for a fast tokenizer, or for what it is built from.
VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "spm.model",
    "vocab.model",
    "bpe.codes",
    "tekken.json",
)


def check_files(path: str, folder: str, *, name: str, flag: str) -> None:
    """Refuse a checkpoint whose files are not what their names say.

    Args:
        path: Directory or hub name.
        folder: Folder of the transformer in it.
        name: Name of the checkpoint as the user gave it.
        flag: Flag that named it.

    Raises:
        ModelError: For a pointer of git-lfs in place of weights or tokenizer, and for an adapter without the
            model that it belongs to.
    """
    local = Path(path)
    if local.is_dir() and (pointers := _pointers(local / folder)):
        raise ModelError(
            f"{flag} {name}: {listed(pointers, 4)}: only a pointer of git-lfs, not the content. Run "
            "'git lfs pull' in the checkpoint's repository, or download the files again."
        )
    if found := find_file(path, ADAPTER, folder):
        raise ModelError(_is_adapter(name, local, Path(found), flag))


def _pointers(folder: Path) -> list[str]:
    """List the pointers among the files that would be read of a folder."""
    if not folder.is_dir():
        return []
    files = {file.name: _is_pointer(file) for file in sorted(folder.iterdir()) if file.is_file()}
    whole = {name for name, pointer in files.items() if not pointer}
    safe = any(name.endswith(".safetensors") for name in whole)

    def is_read(name: str) -> bool:
        if name.endswith((".json", ".safetensors")):
            return True
        if name.endswith(".bin"):
            return name.startswith("pytorch_model") and not safe
        return name in (*VOCABULARIES, "merges.txt") and "tokenizer.json" not in whole

    return [name for name, pointer in files.items() if pointer and is_read(name)]


def _is_pointer(file: Path) -> bool:
    if file.stat().st_size > 1024:
        return False
    with file.open("rb") as stream:
        return stream.read(len(POINTER)) == POINTER


def _is_adapter(name: str, local: Path, file: Path, flag: str) -> str:
    if local.resolve().name == "adapter" and (local.resolve().parent / "model").is_dir():
        model = (
            local.parent / "model" if local.name == "adapter" else local.resolve().parent / "model"
        )
        return f"{flag} {name}: is the adapter of a run, not a model. Did you mean {model}?"
    try:
        about: Any = json.loads(file.read_text("utf-8"))
        base = about.get("base_model_name_or_path") or "that it was trained on"
    except (ValueError, AttributeError):  # not utf-8, not JSON, or no object
        base = "that it was trained on"
    return (
        f"{flag} {name}: is a PEFT adapter (of the model {str(base)[:200]}), "
        "not a model. Merge it into its base (peft: PeftModel.from_pretrained(base, adapter)"
        ".merge_and_unload(), then save_pretrained with the tokenizer) and give that directory."
    )


def check_tokenizer_files(path: str, folder: str, *, name: str, flag: str) -> None:
    """Refuse a checkpoint without the files of a tokenizer, of which transformers makes an empty one.

    Args:
        path: Directory or hub name.
        folder: Folder of the transformer in it.
        name: Name of the checkpoint as the user gave it.
        flag: Flag that named it.

    Raises:
        ModelError: If it has no vocabulary, or byte pairs without their merges.
    """
    found = next((file for file in VOCABULARIES if find_file(path, file, folder)), None)
    if found is None:
        raise ModelError(
            f"{flag} {name}: the checkpoint has no tokenizer (none of {listed(VOCABULARIES[:6])}, …). Copy "
            "the tokenizer's files from the checkpoint that it was made from, or save it there with "
            "tokenizer.save_pretrained."
        )
    if found == "vocab.json" and not find_file(path, "merges.txt", folder):
        raise ModelError(
            f"{flag} {name}: the tokenizer has a vocab.json and no merges.txt, so every word would fall into "
            "single characters. Copy merges.txt or tokenizer.json from the checkpoint that it was made from."
        )
