"""The model card that every run ends with, filled from its result."""

from collections.abc import Mapping
from typing import Any


def model_card(record: Mapping[str, Any], *, configured: bool = True) -> str:
    """Write a card in the hub's form: metadata in YAML, then what a reader needs.

    Args:
        record: The run's ``result.json``.
        configured: Whether a ``config.yaml`` lies beside it; a run by a library call has none.
    """
    import yaml

    metrics = {k: v for k, v in record["metrics"].items() if not k.endswith("_se")}
    scored = [k for k in metrics if k != "loss"]
    meta = yaml.safe_dump(
        {
            "library_name": "transformers",
            "tags": ["nlptl", record["task"], record["mode"]],
            "metrics": scored,
        },
        sort_keys=False,
    )
    rows = "\n".join(
        f"| {name} | {value:.4f} | {_error(record['metrics'], name)} |"
        for name, value in metrics.items()
    )
    parameters, n, timing = record["parameters"], record["n"], record["timing"]
    selection = record["selection"]
    labels = f"\nLabels: {', '.join(record['labels'])}.\n" if record["labels"] else ""
    config = ", the configuration in `config.yaml` (`--config` takes it back)" if configured else ""
    notices = "".join(f"- {notice}\n" for notice in record["notices"])
    return f"""---
{meta}---

# {record["task"]}, from `{record["model"]}`, mode `{record["mode"]}`

Fine-tuned with nlptl {record["versions"]["nlptl"]}. `model/` opens with plain transformers.
{labels}
## Scores

On the test split ({n["test"]} examples), which chose nothing; the epoch ({selection["best_epoch"]})
was chosen by {selection["metric"]} on the validation split ({n["validation"]} examples).

| metric | value | standard error |
|---|---|---|
{rows}

## Training

- {n["train"]} examples, {record["settings"]["epochs"]:g} epochs, batch {record["settings"]["batch_size"]}
  x {record["settings"]["accumulation"]}, peak learning rate {record["settings"]["learning_rate"]:g},
  seed {record["seed"]}
- {parameters["trainable"]:,} of {parameters["total"]:,} parameters trained
- {timing["train_seconds"]:.1f} s, {timing["examples_per_second"]:.1f} examples a second
{notices}
The whole record is in `result.json`{config}; one line a test example in `predictions.jsonl`.
"""


def _error(metrics: Mapping[str, float], name: str) -> str:
    error = metrics.get(f"{name}_se")
    return "" if error is None else f"{error:.4f}"
