"""Questions on passages: SQuAD files and flat columns, read into one form and checked."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from nlptl.data.code_hash import code_hash
from nlptl.data.columns import rows_where, values_of
from nlptl.data.encoding import map_kept
from nlptl.data.sources import read_table
from nlptl.errors import DataError, Problems, listed

#: Columns of the form that the task works on; a question has no answer, one, or several.
COLUMNS = ("id", "question", "context", "answer_texts", "answer_starts")


def read_questions(path: Path, flag: str) -> Any:
    """Read a SQuAD json file as published, or a table with the flat Hugging Face columns.

    Raises:
        DataError: If the file is missing, empty, or neither of the two.
    """
    if path.suffix != ".json" or not path.is_file():
        return read_table(path, flag)
    try:
        raw = path.read_bytes()
        whole = json.loads(raw.decode("utf-8"))
    except ValueError as error:
        raise DataError(f"{flag} {path}: could not be read as json: {error}") from error
    if not (isinstance(whole, dict) and "data" in whole):
        return read_table(path, flag)
    from datasets import Dataset, Features, List, Value
    from datasets.exceptions import DatasetGenerationError

    where = f"{flag} {path}"
    if not sum(1 for _ in _flatten(whole["data"], where)):
        raise DataError(f"{where}: the file holds no questions.")
    # On disk, because in a table each question has its passage beside it.
    text, offset = Value("string"), Value("int64")
    try:
        table: Any = Dataset.from_generator(
            partial(_flatten, whole["data"], where),
            features=Features(
                {
                    **{"id": text, "question": text, "context": text},
                    "answers": {"text": List(text), "answer_start": List(offset)},
                }
            ),
            fingerprint=sha256(raw).hexdigest()[:32],
        )
    except DatasetGenerationError as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise DataError(
            f"{where}: holds something other than texts and whole offsets: {cause}"
        ) from error
    return table


def _flatten(articles: Any, where: str) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    answers = [] if qa.get("is_impossible") else qa["answers"]
                    yield {
                        "id": str(qa["id"]),
                        "question": qa["question"],
                        "context": paragraph["context"],
                        "answers": {
                            "text": [answer["text"] for answer in answers],
                            "answer_start": [answer["answer_start"] for answer in answers],
                        },
                    }
                    number += 1
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{where}: question {number} lacks the field {error}. Expected SQuAD's form: data / "
            "paragraphs / context, qas / id, question, answers / text, answer_start."
        ) from error


def normalize(splits: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Bring each split into the columns :data:`COLUMNS`.

    Questions without an ``id`` column are numbered. Offsets that do not point at their answer are set
    to the nearest place in the passage where the answer stands, or to -1 where there is none.

    Args:
        splits: Mapping from split names to datasets.
        columns: Mapping from ``question``, ``context`` and ``answers`` to the columns' names.

    Raises:
        UserError: With everything that is wrong: values of a wrong type, empty passages or
            questions, duplicate ids.
    """
    made: dict[str, Any] = {}
    problems = Problems()
    for split, table in splits.items():
        with problems.collect():
            _check_rows(split, table, columns)
            made[split] = _normalized(table, columns)
    problems.raise_if_any()
    return made


def _normalized(table: Any, columns: Mapping[str, str]) -> Any:
    from datasets import Features, List, Value

    numbered = "id" not in table.column_names
    question, context, answers = (columns[role] for role in ("question", "context", "answers"))

    def form(batch: Mapping[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
        lists = [_as_lists(value) for value in batch[answers]]
        return {
            "id": [str(name) for name in (rows if numbered else batch["id"])],
            "question": batch[question],
            "context": batch[context],
            "answer_texts": [texts for texts, _ in lists],
            "answer_starts": [
                [place(passage, text, start) for text, start in zip(texts, starts, strict=True)]
                for passage, (texts, starts) in zip(batch[context], lists, strict=True)
            ],
            "answer_given": [starts for _, starts in lists],
        }

    text, offsets = Value("string"), List(Value("int64"))
    made = {
        **{"id": text, "question": text, "context": text},
        **{"answer_texts": List(text), "answer_starts": offsets, "answer_given": offsets},
    }
    return map_kept(
        table.select_columns([*["id"] * (not numbered), question, context, answers]),
        form,
        columns,
        code_hash(_normalized),
        with_indices=True,
        features=Features(made),
    )


def _check_rows(split: str, table: Any, columns: Mapping[str, str]) -> None:
    problems = Problems()
    for role in ("question", "context"):
        odd = rows_where(
            values_of(table, columns[role]), lambda v: not isinstance(v, str) or not v.strip()
        )
        if odd:
            problems.add(
                f"The {split} split has empty {role}s, or {role}s that are not text: {odd}."
            )
    odd = rows_where(values_of(table, columns["answers"]), lambda v: _as_lists(v) is None)
    if odd:
        problems.add(
            f"The {split} split has answers of another form than SQuAD's: {odd}. Expected "
            '{"text": [...], "answer_start": [...]}, as many offsets as texts; no texts for a question '
            "without an answer."
        )
    ids = map(str, values_of(table, "id") if "id" in table.column_names else range(len(table)))
    seen: set[str] = set()
    again = {i for i in ids if i in seen or seen.add(i)}
    if again:
        problems.add(
            f"The {split} split has {len(again)} ids more than once ({listed(sorted(again), 3)}). Answers "
            "are told apart by id; make them different, or drop the column."
        )
    problems.raise_if_any()


def _as_lists(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(v, dict) for v in value):
        value = {key: [v.get(key) for v in value] for key in ("text", "answer_start")}
    if not isinstance(value, dict):
        return None
    texts, starts = value.get("text"), value.get("answer_start")
    if isinstance(texts, str) and isinstance(starts, int):
        texts, starts = [texts], [starts]
    if not (isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)):
        return None
    if not all(isinstance(t, str) and t.strip() for t in texts):
        return None
    return (texts, starts) if all(isinstance(s, int) for s in starts) else None


def place(context: str, text: str, start: int) -> int:
    """Find the offset of an answer: the stated one if the answer is there, else the nearest one, else -1.

    Example:
        >>> place("one two one", "one", 8), place("one two one", "one", 6), place("one", "two", 0)
        (8, 8, -1)
    """
    if start >= 0 and context.startswith(text, start):
        return start
    best, at = -1, context.find(text)
    while at >= 0:
        if best < 0 or abs(at - start) < abs(best - start):
            best = at
        at = context.find(text, at + 1)
    return best


def misplaced(table: Any, split: str) -> str | None:
    """Say how many answers are not at their offset, show three, and say what is done."""
    moved, lost, shown = 0, 0, []
    columns = ("id", "answer_texts", "answer_given", "answer_starts")
    for i, texts, given, found in zip(*(values_of(table, c) for c in columns), strict=True):
        for text, said, at in zip(texts, given, found, strict=True):
            if said != at:
                moved, lost = moved + (at >= 0), lost + (at < 0)
                if len(shown) < 3:
                    where = f"stands at {at}" if at >= 0 else "is not in the passage"
                    shown.append(f"{i}: '{text[:40]}' at {said} {where}")
    if not shown:
        return None
    if moved + lost > len(shown):
        shown.append("…")
    return (
        f"{split}: {moved + lost} answers are not at their offset ({'; '.join(shown)}). "
        f"{moved} were moved to the nearest place where they occur; {lost} are nowhere in their "
        "passage: such answers are scored as text, and not trained on."
    )


def check_trainable(train: Any, columns: Mapping[str, str]) -> None:
    """Make sure that there is something to learn.

    Raises:
        DataError: If no answer of the training questions occurs in its passage, so that no window has a label.
    """
    starts = [found for found in values_of(train, "answer_starts") if found]
    if starts and all(at < 0 for found in starts for at in found):
        raise DataError(
            f"No answer of the {len(train)} training questions occurs in its passage, so there is nothing to "
            f"point at. The columns read are {', '.join(map(repr, columns.values()))}: are they the right "
            "ones? This task cannot learn answers in free words."
        )
