"""The modes that the tests of this folder go through."""

from nlptl.modes.definition import definitions

#: Every mode of nlptl's own, with its shortest name, and the other forms of those that have several.
EACH = tuple(
    dict.fromkeys(
        [
            *(definition.names("2")[0] for definition in definitions(builtin=True)),
            *("freeze-lower-0", "freeze-lower-1", "blocks-0-1", "gradual-2", "lora-r2-above-1"),
            *("lora-top-1", "rslora-r2-above-2", "dora-top-2", "prefix-3", "prompt-3"),
        ]
    )
)
#: One of each way of freezing.
KINDS = ("head-only", "freeze-lower-1", "full", "bitfit", "lora-r2-above-1", "ia3", "prompt")


def fits(mode: str, family: str) -> bool:
    """Whether a family takes a mode: T5 has no biases, and its classifier takes no embeddings."""
    return family != "t5" or not mode.startswith(("bitfit", "prefix", "prompt"))
