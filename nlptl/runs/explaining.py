"""How much each word speaks for an answer: integrated gradients by captum, with their completeness error.

Sundararajan et al. (2017): the gradient with regard to the word embeddings, integrated on the straight line
from padding tokens to the text's tokens. The marks of all tokens add up to the change of the explained number
between the two (completeness); what is missing, because the integral is a sum of some steps, is reported.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.encoding import quiet_datasets
from nlptl.data.files import read_lines, read_result, write_whole
from nlptl.data.progress import counted
from nlptl.errors import ConfigError, ModelError
from nlptl.runs.errors import worst
from nlptl.runs.errors_page import MISTAKES, errors_page
from nlptl.runs.predictor import Predictor, load_predictor
from nlptl.tasks.base import Task

#: Steps of the integral; more are taken while the completeness error is above TOLERANCE times the change.
STEPS, TOLERANCE = (32, 128, 512), 0.05
#: Points of the line that are computed together.
TOGETHER = 32


def check_installed() -> None:
    """Make sure that captum is there.

    Raises:
        ConfigError: If not; the message names the extra.
    """
    try:
        import captum  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--explain needs captum, which is not installed. Install it with: pip install 'nlptl[explain]'."
        ) from error


def check_explained(task: Task | type[Task]) -> None:
    """Make sure that a task gives one answer a text, which its words can speak for.

    Raises:
        ModelError: If not.
    """
    if task.split_into_words or not task.pooled:
        raise ModelError(
            f"--explain: the task {task.name} gives no single answer for a whole text. Leave the "
            "flag out; it is for classes, several labels and numbers."
        )


@dataclass(frozen=True)
class Explanation:
    """How much each word speaks for an answer.

    Attributes:
        answer: What is explained: a class, the likeliest label, or the number.
        words: Each word with its field, its place in the text (``start``, ``end``) and its ``weight``: by how
            much it changes the answer's log-probability (of several labels the log-odds, of a number the
            number).
        change: Change from padding to the text, which the weights add up to.
        completeness_error: Absolute difference of the two.
        steps: Steps of the integral.
    """

    answer: str
    words: list[dict[str, Any]]
    change: float
    completeness_error: float
    steps: int

    def record(self) -> dict[str, Any]:
        """Return the explanation as JSON."""
        return {
            "explained": self.answer,
            "words": self.words,
            "change": self.change,
            "completeness_error": self.completeness_error,
        }


def explained(
    predictor: Predictor, examples: Iterable[Any], found: Iterator[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Add an explanation to each prediction.

    Args:
        predictor: Model and task.
        examples: The examples, as :meth:`nlptl.runs.predictor.Predictor.stream` takes them.
        found: Their predictions.
    """
    for example, record in zip(examples, found, strict=True):
        yield {**record, **explain(predictor, example).record()}


def explain_mistakes(directory: Path) -> str:
    """Explain the most confident mistakes of a finished run, and mark their words in its ``errors.html``.

    ``explained.jsonl`` gets the same, one mistake a line, with its row.

    Args:
        directory: Directory of the run.

    Returns:
        A sentence on what was done, for the terminal.

    Raises:
        ModelError: See :func:`explain`.
    """
    record = read_result(directory / "result.json")
    predictions = read_lines(directory / "predictions.jsonl")
    wrong = worst(predictions, MISTAKES)
    predictor, found = load_predictor(directory), []
    for one in counted(wrong, "explaining", len(wrong), "mistakes"):
        example = {name: one[name] for name in predictor.task.fields}
        about = {name: one.get(name) for name in ("row", "id", "gold", "prediction")}
        found.append({**about, **explain(predictor, example).record()})
    text = "".join(json.dumps(each, ensure_ascii=False, default=str) + "\n" for each in found)
    write_whole(directory / "explained.jsonl", text.encode("utf-8", errors="backslashreplace"))
    marked = {each["row"]: each["words"] for each in found}
    write_whole(directory / "errors.html", errors_page(record, predictions, marked=marked))
    missed = max((each["completeness_error"] for each in found), default=0.0)
    return (
        f"explained {len(found)} mistakes in errors.html and explained.jsonl (largest completeness error "
        f"{missed:.2g})"
    )


def explain(predictor: Predictor, example: Any) -> Explanation:
    """Explain the prediction of one example.

    Raises:
        ModelError: If the model looks its word embeddings up in a way that cannot be followed.
    """
    from captum.attr import IntegratedGradients

    check_explained(predictor.task)
    row, inputs = _encoded(predictor, example)
    model, task = predictor.model, predictor.task
    ids = inputs["input_ids"]
    special = _special(ids, predictor.tokenizer)
    padding = torch.where(special, ids, torch.full_like(ids, predictor.tokenizer.pad_token_id or 0))
    words = _Words(model)
    with torch.no_grad():
        logits = task.outputs(model, inputs)["logits"][0]
        own, baseline = words.look_up(ids), words.look_up(padding)
    place = int(logits.argmax()) if task.labels else 0
    answer = task.labels[place] if task.labels else task.label

    def answer_of(embedded: Tensor) -> Tensor:
        many = {
            name: value.expand(len(embedded), *value.shape[1:]) if value.ndim else value
            for name, value in inputs.items()
        }
        with words.replaced(embedded):
            out = task.outputs(model, many)["logits"]
        one_class = task.labels and not task.label_dtype.is_floating_point
        return (out.log_softmax(-1) if one_class else out)[:, place]

    with torch.no_grad():
        change = float(answer_of(own)[0] - answer_of(baseline)[0])
    weights, error, steps = np.zeros(ids.shape[1]), abs(change), 0
    for steps in STEPS:
        marks: Any = IntegratedGradients(answer_of).attribute(
            own, baselines=baseline, n_steps=steps, internal_batch_size=TOGETHER
        )
        weights = marks.sum(-1)[0].detach().cpu().double().numpy()
        error = abs(float(weights.sum()) - change)
        if error <= TOLERANCE * abs(change):
            break
    model.zero_grad(set_to_none=True)
    found = word_weights(row, ids[0].tolist(), weights, special[0].tolist(), predictor)
    return Explanation(answer, found, change, error, steps)


def _encoded(predictor: Predictor, example: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Turn an example into its fields and the model's inputs, ``(1, tokens)``."""
    from datasets import Dataset

    row = predictor.row(example)
    table = Dataset.from_list([{"id": "0", **row}])
    with quiet_datasets():
        split = predictor.task.encode(table, predictor.tokenizer, predictor.max_length)
    collate = predictor.task.collator(predictor.tokenizer)
    batch = collate([split.rows[0]], np.random.default_rng(0))
    device = predictor.accelerator.device
    return row, {name: value.to(device) if value.ndim else value for name, value in batch.items()}


def _special(ids: Tensor, tokenizer: Any) -> Tensor:
    special = torch.as_tensor(sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}))
    return torch.isin(ids, special.to(ids.device))


class _Words:
    """The word embeddings of a model, wherever it looks them up: T5 does so in encoder and decoder."""

    def __init__(self, model: nn.Module) -> None:
        get: Any = getattr(model, "get_input_embeddings", None)
        try:
            table = get() if get else None
        except (NotImplementedError, AttributeError):
            table = None
        if table is None:
            table = next(m for m in model.modules() if isinstance(m, nn.Embedding))
        self.table, self.asked = (
            table,
            [
                m
                for m in model.modules()
                if isinstance(m, nn.Embedding) and m.weight is table.weight
            ],
        )

    def look_up(self, ids: Tensor) -> Tensor:
        """Return the embeddings of tokens, ``(examples, tokens, width)``."""
        return self.table(ids)

    def replaced(self, embedded: Tensor) -> Any:
        """Give the model these embeddings in place of those of its tokens, within."""
        return _Replaced(self.asked, embedded)


class _Replaced:
    """Hooks that replace looked-up embeddings; a text that is shifted to the right, as T5's, shifts them."""

    def __init__(self, tables: Sequence[nn.Module], embedded: Tensor) -> None:
        self.tables, self.embedded = tables, embedded
        self.ids: Tensor | None = None
        self.hooks: list[Any] = []

    def __enter__(self) -> None:
        self.hooks = [table.register_forward_hook(self._hook) for table in self.tables]

    def __exit__(self, kind: Any, *_: Any) -> None:
        for hook in self.hooks:
            hook.remove()
        if self.ids is None and kind is None:
            raise ModelError(
                "--explain: the model did not look its word embeddings up, so words cannot be weighed."
            )

    def _hook(self, _: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
        ids = given[0]
        if self.ids is None or torch.equal(self.ids, ids):
            self.ids = ids
            return self.embedded.to(out.dtype)
        if torch.equal(self.ids[:, :-1], ids[:, 1:]):
            return torch.cat([out[:, :1], self.embedded[:, :-1].to(out.dtype)], 1)
        raise ModelError(
            "--explain: the model looks up other tokens than those of the text, so words cannot be weighed."
        )


def word_weights(
    row: Mapping[str, Any],
    ids: Sequence[int],
    weights: np.ndarray,
    special: Sequence[bool],
    predictor: Predictor,
) -> list[dict[str, Any]]:
    """Add the weights of tokens up to those of words, as the tokenizer divides a text into words.

    What special tokens weigh is 0, because they are in the baseline too. Where the tokenizer would divide the
    text otherwise than it was (a special token stands in it literally), each token is a word without a place.

    Args:
        row: The example's fields.
        ids: Tokens of the text.
        weights: Weight of each token.
        special: Whether a token is a special one.
        predictor: Model and tokenizer.
    """
    tokenizer, texts = predictor.tokenizer, [str(text) for text in row.values()]
    made = tokenizer(
        *texts,
        truncation=True,
        max_length=predictor.max_length,
        return_offsets_mapping=True,
        split_special_tokens=True,
    )
    if len(texts) > 2 or made["input_ids"] != list(ids):
        names = tokenizer.convert_ids_to_tokens(list(ids))
        each = zip(names, weights, special, strict=True)
        return [{"word": name, "weight": float(w)} for name, w, frame in each if not frame]
    fields, found = list(row), {}
    parts = zip(made.sequence_ids(0), made.word_ids(0), made["offset_mapping"], strict=True)
    for number, (text, word, (start, end)) in enumerate(parts):
        if text is None or special[number]:
            continue
        begin, stop, weight = found.get((text, word), (start, end, 0.0))
        found[text, word] = min(begin, start), max(stop, end), weight + float(weights[number])
    return [
        {
            **({"field": fields[text]} if len(fields) > 1 else {}),
            "word": texts[text][start:end].strip(),
            "start": start,
            "end": end,
            "weight": weight,
        }
        for (text, _), (start, end, weight) in found.items()
    ]
