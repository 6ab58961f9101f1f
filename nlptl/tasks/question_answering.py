"""Extractive question answering: the answer is a span of the passage, or there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.columns import asked_columns, find_columns, named_columns, values_of
from nlptl.data.encoding import map_tokenized, numbers_of
from nlptl.data.padding import pad, real_tokens
from nlptl.data.rows import with_file_columns, with_ids
from nlptl.data.sampling import draw_splits
from nlptl.data.sources import DataRequest, load_asked
from nlptl.data.squad import answer_notes, check_trainable, normalize, read_questions
from nlptl.data.windows import frame_of
from nlptl.errors import ConfigError, Problems, UserError
from nlptl.models.loading import load_config, load_tokenizer
from nlptl.models.tokenizer import longest_input
from nlptl.records import Collate
from nlptl.tasks.base import EncodedSplit, Task
from nlptl.tasks.notes import answer_set_notes, data_notes, length_notes
from nlptl.tasks.options import QuestionAnsweringOptions
from nlptl.tasks.preparing import check_left
from nlptl.tasks.question_windows import windows_of
from nlptl.tasks.spans import Window, best_spans, best_threshold, null_score

#: Logits of tokens that cannot be an answer.
NEVER = torch.finfo(torch.float32).min


class QuestionRequest(DataRequest, Protocol):
    """Which questions, and how they are cut and answered; see ``QuestionAnsweringOptions``."""

    stride: int | None
    squad_version: str
    n_best: int
    max_answer_tokens: int


@dataclass(frozen=True)
class QuestionAnswering(Task):
    """Extractive question answering in the manner of SQuAD.

    Attributes:
        stride: Tokens that neighbouring windows of a passage share.
        n_best: Number of starts and of ends that are combined, and of answers that are kept.
        max_answer_tokens: Tokens of the longest answer.
        v2: Whether questions may have no answer.
        threshold: Difference of the null score from the best span's above which no answer is given;
            :meth:`calibrate` sets it.
    """

    stride: int = 128
    n_best: int = 20
    max_answer_tokens: int = 30
    v2: bool = False
    threshold: float = 0.0

    name: ClassVar[str] = "question-answering"
    fields: ClassVar[tuple[str, ...]] = ("question", "context")
    label: ClassVar[str] = "answers"
    selection: ClassVar[str] = "f1"
    scale: ClassVar[float] = 100.0
    peft_type: ClassVar[str | None] = "QUESTION_ANS"
    usual_length: ClassVar[int] = 384
    pooled: ClassVar[bool] = False
    truncation_notice: ClassVar[str] = "Questions longer than half of {limit} tokens"
    augmented: ClassVar[tuple[str, ...] | None] = ("question",)  # answers are places in the passage
    not_encoded: ClassVar[tuple[str, ...]] = ("n_best", "max_answer_tokens", "v2", "threshold")
    options: ClassVar[type] = QuestionAnsweringOptions
    architecture: ClassVar[str | None] = "ForQuestionAnswering"

    @property
    def head(self) -> dict[str, Any]:
        """Configuration of the head: empty, because the class has two outputs per token, start and end."""
        return {}

    @property
    def calibrates(self) -> bool:  # type: ignore[override]
        """Whether the threshold is chosen on validation data: with unanswerable questions."""
        return self.v2

    @property
    def auto_class(self) -> Any:
        """``AutoModelForQuestionAnswering``."""
        from transformers import AutoModelForQuestionAnswering

        return AutoModelForQuestionAnswering

    def encode(self, table: Any, tokenizer: Any, max_length: int) -> EncodedSplit:
        """Cut passages into windows, and keep the result (:func:`nlptl.data.encoding.map_kept`).

        A window is ``question, passage part``; labels are the tokens of the first answer if the
        window holds all of it, else the no-answer token. Answers that are nowhere in their passage
        get no label (-100). ``answer_tokens`` and ``unheld``, for :meth:`notes`, are in its first row.

        Args:
            table: Table with the columns :data:`nlptl.data.squad.COLUMNS`.
            tokenizer: A fast tokenizer.
            max_length: Tokens per window.
        """
        frame = frame_of(tokenizer)
        read = ("question", "context", "answer_texts", "answer_starts")
        rows = map_tokenized(
            table.select_columns([name for name in read if name in table.column_names]),
            lambda batch, order: windows_of(
                batch, order, tokenizer, frame, max_length, self.stride
            ),
            tokenizer,
            max_length,
            self.encoding_identity(),
            with_indices=True,
        )
        truncated = int(np.sum(numbers_of(rows, "truncated")))
        return EncodedSplit(rows, numbers_of(rows, "length"), truncated)

    def collator(self, tokenizer: Any) -> Collate:
        """Return a function that pads windows to ids, mask, token types, ``allowed`` and positions.

        Positions have shape ``(batch,)``, the others ``(batch, length)``.

        ``size``, a single number, counts the windows with a label.
        """
        frame = frame_of(tokenizer)

        def collate(
            features: Sequence[Mapping[str, Any]], rng: np.random.Generator
        ) -> Mapping[str, Tensor]:
            ids, real = pad(features, "input_ids", tokenizer.pad_token_id), real_tokens(features)
            place = np.arange(ids.shape[1])[None]
            first = np.asarray([f["first"] for f in features])[:, None]
            count = np.asarray([len(f["starts"]) for f in features])[:, None]
            null = np.asarray([f["null"] for f in features])[:, None]
            inside = (place >= first) & (place < first + count)
            starts = np.asarray([f["start"] for f in features])
            batch = {
                "input_ids": ids,
                "attention_mask": real.astype(np.int64),
                "allowed": inside | (place == null),
                "size": np.asarray((starts >= 0).sum()),
                "start_positions": starts,
                "end_positions": np.asarray([f["end"] for f in features]),
            }
            if frame.segments:
                batch["token_type_ids"] = ((place >= first) & real).astype(np.int64)
            return {name: torch.from_numpy(array) for name, array in batch.items()}

        return collate

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute ``start_logits`` and ``end_logits``, ``(batch, length)``; only passage and null can win."""
        given = ("input_ids", "attention_mask", "token_type_ids")
        found = model(**{name: inputs[name] for name in given if name in inputs})
        barred = ~inputs["allowed"]
        return {
            name: getattr(found, name).float().masked_fill(barred, NEVER)
            for name in ("start_logits", "end_logits")
        }

    def loss(
        self, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, float]:
        """Compute the mean of the cross-entropies of start and end (Devlin et al., 2019, section 4.2)."""
        size = int(inputs["size"])
        losses = [
            nn.functional.cross_entropy(
                outputs[f"{side}_logits"], inputs[f"{side}_positions"], reduction="sum"
            )
            for side in ("start", "end")
        ]
        return (losses[0] + losses[1]) / (2 * max(1, size)), float(size)

    def predictions(
        self, table: Any, split: EncodedSplit, outputs: Mapping[str, Sequence[np.ndarray]]
    ) -> list[dict[str, Any]]:
        """Decode each question over all its windows.

        ``answer`` is the best span and ``null_difference`` the null score minus its score; the
        ``prediction`` is the answer, or, in v2, ``""`` if the difference is above the threshold.
        """
        windows: list[list[Window]] = [[] for _ in range(len(table))]
        for row, start, end in zip(
            split.rows, outputs["start_logits"], outputs["end_logits"], strict=True
        ):
            part = slice(row["first"], row["first"] + len(row["starts"]))
            places = np.asarray(row["starts"]), np.asarray(row["ends"])
            null = float(start[row["null"]] + end[row["null"]])
            windows[row["example"]].append(Window(start[part], end[part], *places, null))
        golds = table["answer_texts"][:] if "answer_texts" in table.column_names else None
        return [
            self._decode(i, context, parts, golds[number] if golds else None)
            for number, (i, context, parts) in enumerate(
                zip(table["id"][:], table["context"][:], windows, strict=True)
            )
        ]

    def _decode(
        self, name: str, context: str, windows: Sequence[Window], gold: Any
    ) -> dict[str, Any]:
        spans = best_spans(windows, context, n_best=self.n_best, max_tokens=self.max_answer_tokens)
        null = null_score(windows)
        best = spans[0] if spans else None
        difference = null - best.score if best else float("inf")
        texts = [context[s.start : s.end] for s in spans]
        scores = [s.score for s in spans] + ([null] if self.v2 else [])
        shares = _softmax(scores)
        record = {
            "id": name,
            "scores": {
                "answer": shares[0] if best else 0.0,
                **({"none": shares[-1]} if self.v2 else {}),
            },
            "gold": gold,
            "answer": texts[0] if best else "",
            "start": best.start if best else -1,
            "end": best.end if best else -1,
            "null_difference": difference if best else None,
            "alternatives": [
                {"text": text, "start": s.start, "end": s.end, "score": share}
                for text, s, share in zip(texts[1:4], spans[1:4], shares[1:4], strict=False)
            ],
            "passage": sha256(context.encode()).hexdigest()[:16],
        }
        return {**record, "prediction": self.decided(record)}

    def notes(self, encoded: Mapping[str, EncodedSplit], tokenizer: Any) -> list[str]:
        """Say what share of the tokens is unknown, and how many answers are longer than a limit."""
        return super().notes(encoded, tokenizer) + [
            note
            for name, part in encoded.items()
            for note in length_notes(
                name,
                numbers_of(part.rows, "answer_tokens"),
                numbers_of(part.rows, "unheld"),
                self.max_answer_tokens,
            )
        ]

    def to_public(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer, its probability, its characters in the passage (-1 for none), and the others."""
        given = prediction["prediction"] != ""
        scores = prediction["scores"]
        return {
            "prediction": prediction["prediction"],
            "score": scores["answer"] if given else scores.get("none", 0.0),
            "start": prediction["start"] if given else -1,
            "end": prediction["end"] if given else -1,
            "alternatives": prediction["alternatives"],
        }

    def calibrate(self, predictions: Sequence[Mapping[str, Any]]) -> "QuestionAnswering":
        """Choose the no-answer threshold that gives the best F1 on these (validation) predictions."""
        from nlptl.metrics.squad import f1

        if not self.v2:
            return self
        usable = [p for p in predictions if p["null_difference"] is not None]
        if not usable:
            return self
        threshold = best_threshold(
            [p["null_difference"] for p in usable],
            [f1(p["answer"], p["gold"], v2=True) for p in usable],
            [f1("", p["gold"], v2=True) for p in usable],
        )
        return replace(self, threshold=threshold)

    def decided(self, prediction: Mapping[str, Any]) -> str:
        """Return the text that is given under this task's threshold."""
        difference = prediction["null_difference"]
        none = difference is None or (self.v2 and difference > self.threshold)
        return "" if none else prediction["answer"]

    def statistics(self, predictions: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Compute F1 of each question, in [0, 1], shape ``(questions, 1)``."""
        from nlptl.metrics.squad import f1

        each = [[f1(self.decided(p), p["gold"], v2=self.v2)] for p in predictions]
        return np.asarray(each).reshape(-1, 1)

    def gold(self, table: Any) -> list[list[str]]:
        """List the texts of each question's answers; none for a question without an answer."""
        return table["answer_texts"][:]

    @property
    def gold_columns(self) -> tuple[str, ...]:
        """Columns of the answers."""
        return ("answer_texts", "answer_starts", "answer_given", "answers_dropped")

    def texts(self, table: Any) -> list[str]:
        """List the passages."""
        return table["context"][:]

    def classes(self, table: Any) -> None:
        """Return None, because answers are not classes."""

    def groups(self, table: Any) -> list[str]:
        """List the passages, because the questions of one passage are not independent."""
        return table["context"][:]

    def constant_predictions(self, train: Any, test: Any) -> list[dict[str, Any]]:
        """Predict the one answer that suits all passages: none."""
        return [
            self._decode(i, context, [], gold)
            for i, context, gold in zip(
                test["id"][:], test["context"][:], self.gold(test), strict=True
            )
        ]

    def score(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Compute exact match and F1 in percent; in v2 with their parts and the threshold."""
        from nlptl.metrics.squad import Squad

        figures = Squad(self.v2).compute(
            predictions=[self.decided(p) for p in predictions],
            references=[{"answers": p["gold"], "passage": p["passage"]} for p in predictions],
        )
        assert figures is not None  # only a process that is not the first gets None
        return {**figures, **({"threshold": self.threshold} if self.v2 else {})}

    @classmethod
    def prepare(
        cls, request: "QuestionRequest"
    ) -> tuple["QuestionAnswering", dict[str, Any], dict[str, Any]]:
        """Read the data that a configuration asks for and check all of it.

        Args:
            request: Request as for :meth:`nlptl.tasks.base.Task.prepare`.

        Returns:
            The task, the splits (``train``, ``validation``, ``test``) in the form of
            :data:`nlptl.data.squad.COLUMNS`, and a record of where they came from. Splits that are missing are
            carved out by passage: no passage is in two.

        Raises:
            UserError: With everything that is wrong with the data.
        """
        raw, origin = load_asked(request, read=read_questions)
        raw = with_ids(raw, getattr(request, "id_column", None), named_columns(request))
        problems = Problems()
        length = window_length(request.model, request.max_length)
        stride = length // 3 if request.stride is None else request.stride
        problems.run(check_stride, stride, length)
        asked = asked_columns(request, [*cls.fields, cls.label])
        columns = problems.run(find_columns, raw, asked, request)
        problems.raise_if_any()
        assert columns  # raised above otherwise
        used = ["id", *columns.values()]
        splits = {
            name: with_file_columns(table, raw[name], used)
            for name, table in normalize(raw, columns).items()
        }
        check_trainable(splits["train"], columns)
        v2, counts = check_version(splits, request.squad_version)
        notes = [note for name, table in splits.items() for note in answer_notes(table, name)]
        once: dict[str, str] = {}  # a passage is kept once, however many questions it has
        passages = [once.setdefault(text, text) for text in values_of(splits["train"], "context")]
        splits, carved = draw_splits(
            splits,
            _has_none,
            seed=request.seed,
            most=request.max_train_examples,
            most_eval=request.max_eval_examples,
            groups=passages,
        )
        check_left(len(splits["train"]), None, carved, request, unit="passages")
        task = cls(
            stride=stride,
            n_best=request.n_best,
            max_answer_tokens=request.max_answer_tokens,
            v2=v2,
        )
        none = {name: _has_none(table) for name, table in splits.items()}
        record = {
            **origin,
            "columns": columns,
            "squad_version": "2.0" if v2 else "1.1",
            "unanswerable": counts,
            "carved_from_train": carved,
            "notes": [
                *origin.get("notes", ()),
                *notes,
                *answer_set_notes(none),
                *data_notes(task, splits),
            ],
        }
        return task, splits, record


def _softmax(scores: Sequence[float]) -> list[float]:
    if not scores:
        return []
    values = np.exp(np.asarray(scores) - max(scores))
    return (values / values.sum()).tolist()


def _has_none(table: Any) -> list[bool]:
    return [not texts for texts in values_of(table, "answer_texts")]


def window_length(model: str, asked: int | None) -> int:
    """Return the tokens per window of a checkpoint; as asked for, if the checkpoint cannot be read."""
    usual = QuestionAnswering.usual_length
    try:
        return longest_input(load_config(model), load_tokenizer(model), asked, usual=usual)
    except UserError:  # reported by the check of the model
        return asked or usual


def check_stride(stride: int, length: int) -> None:
    """Make sure that windows of any question move on.

    Raises:
        ConfigError: If ``stride`` is not less than the least room that a passage has.
    """
    least = (length - 4) // 2  # four special tokens at most (RoBERTa)
    if not 0 <= stride < least:
        raise ConfigError(
            f"--stride {stride}: windows must share fewer tokens than a passage has room for, which is "
            f"{least} of {length} at least. Choose 0 to {least - 1}."
        )


def check_version(splits: Mapping[str, Any], asked: str) -> tuple[bool, dict[str, int]]:
    """Decide whether questions may have no answer, and count those that have none.

    Raises:
        ConfigError: If the data have such questions and ``--squad-version 1.1`` was asked for.
    """
    counts = {name: sum(_has_none(table)) for name, table in splits.items()}
    if asked == "1.1" and any(counts.values()):
        found = ", ".join(
            f"{n} of {len(splits[name])} in {name}" for name, n in counts.items() if n
        )
        raise ConfigError(
            f"--squad-version 1.1 means that every question has an answer, but some have none: {found}. "
            "Use --squad-version 2.0 (or auto), or remove them."
        )
    return asked == "2.0" or any(counts.values()), counts
