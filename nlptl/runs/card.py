"""The model card of a run, made from its result."""

from collections.abc import Mapping
from typing import Any

from nlptl.data.text import code, escaped
from nlptl.metrics.by_class import lowest, weakness
from nlptl.runs.errors_page import learning_curves

#: Most classes whose scores stand in the card.
CLASSES = 10


def model_card(record: Mapping[str, Any], *, configured: bool = True) -> str:
    """Write a card in the hub's form: metadata in YAML, then what a reader needs.

    Args:
        record: The run's ``result.json``.
        configured: Whether there is a ``config.yaml`` beside it; a run by a library call has none.
    """
    import yaml

    scored = [k for k in record["metrics"] if not k.endswith("_se") and "loss" not in k]
    meta = yaml.safe_dump(
        {
            "library_name": record["opened_by"],
            "tags": ["nlptl", record["task"], record["mode"]],
            "metrics": scored,
        },
        sort_keys=False,
    )
    parameters, timing = record["parameters"], record["timing"]
    origin = f"from {code(record['model'])}" if record["model"] else "from scratch"
    body = _fine_tuned(record) if "selection" in record else _pretrained(record)
    lines = (
        "test example in `predictions.jsonl`"
        if "selection" in record
        else "held-out loss in `log.jsonl`"
    )
    config = ", the configuration in `config.yaml` (`--config` takes it back)" if configured else ""
    notes = "".join(f"- {escaped(note)}\n" for note in record["notes"])
    return f"""---
{meta}---

# {escaped(record["task"])}, {origin}, mode {code(record["mode"])}

{body}
- {parameters["trainable"]:,} of {parameters["total"]:,} parameters trained
- {timing["train_seconds"]:.1f} s, {timing["examples_per_second"]:.1f} examples a second
{notes}
The whole record is in `result.json`{config}; one line a {lines}.
"""


def _fine_tuned(record: Mapping[str, Any]) -> str:
    n = record["n"]
    held_out = n.get("validation", 0)
    labels = f"\nLabels: {', '.join(map(escaped, record['labels']))}.\n" if record["labels"] else ""
    opens = f"`model/` opens with {_opening(record)}"
    if not record.get("adapter", {}).get("merged", True):
        opens = (
            "`model/` is the checkpoint with the trained head, for plain transformers, and **not the whole "
            "trained "
            "model**: its trained vectors cannot be merged into weights. They are in `adapter/`: "
            "`peft.PeftModel.from_pretrained(model, 'adapter')`, or `nlptl predict`."
        )
    return f"""Fine-tuned with nlptl {record["versions"]["nlptl"]}. {opens}
{labels}
## Scores

On the test split ({n["test"]} examples), on which nothing was chosen; {_chosen(record)}

{_table(record["metrics"])}
{_worth(record)}{_by_class(record)}
## Training

- {n["train"] + held_out} labels: {n["train"]} to train on, {held_out} to choose
  by{_copies(record)}
- {_training(record)},
  seed {record["seed"]}"""


def _has_steps(record: Mapping[str, Any]) -> bool:
    """Whether the run made steps; a convex fit of the head makes none, and is scored as epoch 0."""
    scored = [line["epoch"] for line in record["history"]]
    return bool(record.get("learning_rates")) or any(scored)


def _training(record: Mapping[str, Any]) -> str:
    """Say how the model trained."""
    settings, head = record["settings"], record.get("head")
    if _has_steps(record):
        return (
            f"{settings['epochs']:g} epochs, batch {settings['batch_size']}\n"
            f"  x {settings['gradient_accumulation_steps']}, peak learning rate "
            f"{settings['learning_rate']:g}"
        )
    if not head:
        return "nothing was trained"
    return (
        f"a convex fit of the head without epochs: {head['start']} on the states of\n"
        f"  {head['examples']:,} examples (C = {head['inverse_penalty']:g})"
    )


def _chosen(record: Mapping[str, Any]) -> str:
    """Say which epoch was kept, and by what."""
    selection, n = record["selection"], record["n"]
    if not _has_steps(record):
        way = "the head is a convex fit without epochs" if record.get("head") else "nothing trained"
        return f"{way}, so\nno epoch was chosen."
    if "validation" not in n:
        return "there was no validation split, so\nno epoch was chosen and the last one was kept."
    return (
        f"the epoch ({selection['best_epoch']})\n"
        f"was chosen by {selection['metric']} on the validation split ({n['validation']} examples)."
    )


def _copies(record: Mapping[str, Any]) -> str:
    """Say how many changed copies of its texts the model trained on, too."""
    found = record.get("augmentation")
    if not found:
        return ""
    by = f", words by {code(found['by'])}" if found["by"] else ""
    return (
        f"\n- {found['copies']:,} changed copies of the training texts ({found['way']}, alpha "
        f"{found['alpha']:g}{by})"
    )


def _worth(record: Mapping[str, Any]) -> str:
    """Say in a few lines what the cheapest ways reach, how single classes fare, and where the mistakes are."""
    metric, floors = record["selection"]["metric"], record.get("floors", {})
    bag, weakest = floors.get("bag_of_words"), record.get("weakest")
    lines = []
    if bag:
        lines.append(
            f"A bag of words (TF-IDF and a linear model, {bag['seconds']:.1f} s) reaches {metric} "
            f"{bag[metric]:.4f} on the same examples."
        )
    if floors.get("majority"):
        lines.append(f"Always one answer reaches {metric} {floors['majority'][metric]:.4f}.")
    if weakest:
        taken = weakest["taken_for"]
        most = f", most often taken for {escaped(taken)}" if taken is not None else ""
        share, words = weakness(weakest)
        lines.append(
            f"The weakest class is {escaped(weakest['label'])}: {100 * share:.1f} % {words}{most}."
        )
    if found := record.get("calibration"):
        lines.append(
            f"It is {100 * found['confidence']:.1f} % sure and {100 * found['right']:.1f} % right on average "
            f"(expected calibration error {100 * found['ece']:.1f} points)."
        )
    lines.append(_where(record))
    return "".join(f"\n- {line}" for line in lines) + "\n"


def _where(record: Mapping[str, Any]) -> str:
    """Name what of this run is on its page."""
    parts = ["single mistakes"]
    parts += ["scores by class"] * bool(record.get("per_class"))
    parts += ["the learning curve"] * bool(learning_curves(record))
    named = " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)
    return f"{named.capitalize()} are in `errors.html`."


def _by_class(record: Mapping[str, Any]) -> str:
    """Write the scores of single classes, of many those with the lowest F1; empty where there are none."""
    each = record.get("per_class", ())
    if not each:
        return ""
    shown = lowest(each, CLASSES)
    hidden = len(each) - len(shown)
    more = f"\nThe lowest by F1; {hidden} more are in `result.json`.\n" * bool(hidden)
    rows = [
        f"| {escaped(one['label'])} | {one['precision']:.4f} | {one['recall']:.4f} | {one['f1']:.4f} "
        f"| {one['n']:,} |"
        for one in shown
    ]
    head = ["| class | precision | recall | F1 | n |", "|---|---|---|---|---|"]
    return "\n".join(["\n## Scores by class", more, *head, *rows, ""])


def _opening(record: Mapping[str, Any]) -> str:
    """Say what opens the model; where it is not plain transformers, with code."""
    if record["opened_by"] == "transformers":
        return "plain transformers."
    return f"""sentence-transformers, whose
`encode` gives the logits: the head reads the tokens' states pooled ({record["settings"]["pooling"]}), which no
head of transformers does here.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("model")
names = model[0].auto_model.config.id2label
for text, logits in zip(texts, model.encode(texts)):
    print(text, dict(zip(names.values(), logits)))
```"""


def _pretrained(record: Mapping[str, Any]) -> str:
    n, settings = record["n"], record["settings"]
    share = settings["start_share"]
    mixed = f"\n- {share:g} of its weights are the start's (`--start-share`)" if share else ""
    corpora = ", ".join(map(escaped, record["data"]["corpus"]))
    return f"""Pretrained with nlptl {record["versions"]["nlptl"]} on {corpora}.
`model/` opens with plain transformers.

## Held-out loss

Nats a predicted token, on {n["held_out"]} documents set aside ({n["held_out_tokens"]} predicted tokens),
corrupted in the same way every time; `start_loss` is that of the model before its first step.

{_table(record["metrics"])}

## Training

- {n["train"]} documents in {n["train_pieces"]} pieces of at most {settings["max_length"]} tokens,
  {settings["steps"]} steps, batch {settings["batch_size"]} x {settings["gradient_accumulation_steps"]},
  {settings["optimizer"]}, peak learning rate {settings["learning_rate"]:g}, seed {record["seed"]}{mixed}"""


def _table(metrics: Mapping[str, float]) -> str:
    rows = [
        f"| {name} | {value:.4f} | {_error(metrics, name)} |"
        for name, value in metrics.items()
        if not name.endswith("_se")
    ]
    return "\n".join(["| metric | value | standard error |", "|---|---|---|", *rows])


def _error(metrics: Mapping[str, float], name: str) -> str:
    error = metrics.get(f"{name}_se")
    return "" if error is None else f"{error:.4f}"
