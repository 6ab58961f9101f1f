"""Questions on passages: SQuAD files and flat columns, read into one form and checked."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptl.data.columns import rows_where
from nlptl.data.sources import read_table
from nlptl.errors import DataError, Problems, listed

#: Columns of the form that the task works on; a question has none, one or several answers.
COLUMNS = ("id", "question", "context", "answer_texts", "answer_starts")


def read_questions(path: Path, flag: str) -> Any:
    """Read a SQuAD json file as published, or a table with the flat Hugging Face columns.

    Raises:
        DataError: If the file is missing, empty, or neither of the two.
    """
    if path.suffix != ".json" or not path.is_file():
        return read_table(path, flag)
    try:
        whole = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{flag} {path}: could not be read as json: {error}") from error
    if not (isinstance(whole, dict) and "data" in whole):
        return read_table(path, flag)
    from datasets import Dataset

    rows = _flatten(whole["data"], f"{flag} {path}")
    if not rows:
        raise DataError(f"{flag} {path}: the file holds no questions.")
    return Dataset.from_list(rows)


def _flatten(articles: Any, where: str) -> list[dict[str, Any]]:
    rows = []
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    answers = [] if qa.get("is_impossible") else qa["answers"]
                    rows.append(
                        {
                            "id": qa["id"],
                            "question": qa["question"],
                            "context": paragraph["context"],
                            "answers": {
                                "text": [answer["text"] for answer in answers],
                                "answer_start": [answer["answer_start"] for answer in answers],
                            },
                        }
                    )
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{where}: question {len(rows)} lacks the field {error}. Expected SQuAD's form: data / "
            "paragraphs / context, qas / id, question, answers / text, answer_start."
        ) from error
    return rows


def normalize(splits: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Bring each split into the columns :data:`COLUMNS`.

    Questions without an ``id`` column are numbered. Offsets that do not point at their answer are set
    to the nearest place in the passage where the answer stands, or to -1 where there is none.

    Args:
        splits: Split name to dataset.
        columns: ``question``, ``context`` and ``answers`` to the columns' names.

    Raises:
        UserError: With everything that is wrong: values of a wrong type, empty passages or
            questions, duplicate ids.
    """
    from datasets import Dataset

    made: dict[str, Any] = {}
    problems = Problems()
    for split, table in splits.items():
        names = {role: name for role, name in columns.items() if name in table.column_names}
        rows = {role: table[name][:] for role, name in names.items()}
        ids = [
            str(i) for i in (table["id"][:] if "id" in table.column_names else range(len(table)))
        ]
        with problems.collect():
            _check_rows(split, ids, rows)
            answers = [_as_lists(value) for value in rows["answers"]]
            found = [
                [place(context, text, start) for text, start in zip(texts, starts, strict=True)]
                for context, (texts, starts) in zip(rows["context"], answers, strict=True)
            ]
            made[split] = Dataset.from_dict(
                {
                    "id": ids,
                    "question": rows["question"],
                    "context": rows["context"],
                    "answer_texts": [texts for texts, _ in answers],
                    "answer_starts": found,
                    "answer_given": [starts for _, starts in answers],
                }
            )
    problems.raise_if_any()
    return made


def _check_rows(split: str, ids: Sequence[str], rows: Mapping[str, Sequence[Any]]) -> None:
    problems = Problems()
    for role in ("question", "context"):
        odd = rows_where(rows[role], lambda v: not isinstance(v, str) or not v.strip())
        if odd:
            problems.add(
                f"The {split} split has empty {role}s, or {role}s that are no text: {odd}."
            )
    odd = rows_where(rows["answers"], lambda v: _as_lists(v) is None)
    if odd:
        problems.add(
            f"The {split} split has answers of another form than SQuAD's: {odd}. Expected "
            '{"text": [...], "answer_start": [...]}, as many offsets as texts; no texts for a question '
            "without an answer."
        )
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
    """Offset of an answer: the stated one if it is there, else the nearest one, else -1.

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
    """Say how many answers do not stand at their offset, show three, and say what is done."""
    moved, lost, shown = 0, 0, []
    columns = ("id", "answer_texts", "answer_given", "answer_starts")
    for i, texts, given, found in zip(*(table[c][:] for c in columns), strict=True):
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
        f"{moved} were moved to the nearest place where they stand; {lost} are nowhere in their "
        "passage: such answers are scored as text, and not trained on."
    )
