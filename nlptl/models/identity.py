"""Identity of a checkpoint: hashes of its weights, configuration and tokenizer."""

import json
from hashlib import sha256
from typing import Any

import torch

from nlptl.data.encoding import tokenizer_hash
from nlptl.models.loading import load_config, load_tokenizer, load_with_head, resolve
from nlptl.models.sentence_encoder import declared


def checkpoint_hash(name: str, *, task: Any = None, pooling: str | None = "auto") -> str:
    """Hash a checkpoint's weights, its configuration and its tokenizer.

    Args:
        name: The checkpoint.
        task: Task whose head in the file counts too; None takes the backbone alone.
        pooling: Pooling under that head; None for a head that pools nothing.
    """
    from transformers import AutoModel

    kind, head = (AutoModel, {}) if task is None else (task.auto_class, task.head)
    loaded = load_with_head(name, auto_class=kind, head=head, pooling=pooling)
    found = sha256(architecture_hash(name).encode())
    for key, tensor in sorted(loaded.model.state_dict().items()):
        if key in loaded.new:  # drawn at random just now, such as a pooler that the file lacks
            continue
        found.update(f"{key}.{tuple(tensor.shape)}".encode())
        found.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def architecture_hash(name: str) -> str:
    """Hash a checkpoint's configuration, tokenizer and declared pooling, whatever its weights."""
    about = declared(resolve(name))
    config = load_config(name).to_dict()
    for key in ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"):
        config.pop(key, None)
    text = json.dumps(config, sort_keys=True, default=str)
    if about:
        text += f"|{about.pooling} {about.normalize} {about.max_length}"
    return sha256(f"{text}|{tokenizer_hash(load_tokenizer(name))}".encode()).hexdigest()
