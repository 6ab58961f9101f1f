"""Questions on passages: SQuAD files and flat columns, read into one form and checked."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from nlptl.data.answers import answers_in_cell, truth_of
from nlptl.data.code_hash import code_hash
from nlptl.data.columns import rows_where, values_of, written_as
from nlptl.data.encoding import map_kept
from nlptl.data.progress import quiet_datasets
from nlptl.data.sources import kind_of, read_table
from nlptl.data.squad_json import (
    MARKS,
    flatten,
    has_object_lines,
    id_of,
    is_nested,
    nested_lines,
    read_json,
)
from nlptl.data.text import is_text
from nlptl.errors import DataError, Problems, listed, many, shortened

#: Columns of the form that the task works on; a question has no answer, one, or several.
COLUMNS = ("id", "question", "context", "answer_texts", "answer_starts")
#: Form of the answers in a table, for messages.
FLAT = '{"text": [...], "answer_start": [...]}'
#: Columns that are read besides those of the roles, where a table has them in small or capital letters.
OFFSETS = ("answer_start", "answer_starts")


def read_questions(path: Path, flag: str, *, answers: bool = True) -> Any:
    """Read a SQuAD json file in any of its usual nestings, or a table with the flat Hugging Face columns.

    The articles or paragraphs of SQuAD may also stand one a line.

    Args:
        path: Path of the file.
        flag: The flag that named it, for messages.
        answers: Whether SQuAD json needs answers; a prediction does not.

    Raises:
        DataError: If the file is missing, empty, or neither of the two.
    """
    if kind_of(path) != "json" or not path.is_file():
        return read_table(path, flag)
    where = f"{flag} {path}"
    whole = nested_lines(path, where)
    if whole is None and (path.suffix.lower() != ".json" or has_object_lines(path)):
        return read_table(path, flag)
    whole = whole or read_json(path, where)
    if not is_nested(whole):
        return read_table(path, flag)
    from datasets import Dataset, Features, List, Value

    if not sum(1 for _ in flatten(whole, where, answers=answers)):
        raise DataError(f"{where}: the file holds no questions.")
    text = Value("string")
    features: dict[str, Any] = {"id": text, "question": text, "context": text}
    if answers:
        features["answers"] = {"text": List(text), "answer_start": List(Value("int64"))}
        features[MARKS[0]] = Value("bool")
    # On disk, because in a table each question has its passage beside it; the code counts too.
    content = json.dumps([code_hash(flatten), answers]).encode() + path.read_bytes()
    with quiet_datasets():
        return Dataset.from_generator(
            partial(flatten, whole, where, answers=answers),
            features=Features(features),
            fingerprint=sha256(content).hexdigest()[:32],
        )


def normalize(splits: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Bring each split into the columns :data:`COLUMNS`.

    Questions without an ``id``, or with one that is null or blank, are numbered. Offsets that do not point at
    their answer are set to the nearest place in the passage where the answer stands, or to -1 where there is
    none; an answer without an offset is looked for from the beginning. A question that is marked
    ``is_impossible`` has no answer.

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

    question, context = (columns[role] for role in ("question", "context"))
    names, beside = _ids(table), (context, *_beside(table, columns))

    def form(batch: Mapping[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
        each = [_answers(*cells) for cells in _cells(batch, beside)]
        given = [starts for _, starts, _ in each]
        return {
            "id": [names[row] for row in rows],
            "question": batch[question],
            "context": batch[context],
            "answer_texts": [texts for texts, _, _ in each],
            "answer_starts": [
                [placed(passage, text, start) for text, start in zip(texts, own, strict=True)]
                for passage, (texts, own, _) in zip(batch[context], each, strict=True)
            ],
            "answer_given": given,
            "answers_dropped": [dropped for _, _, dropped in each],
        }

    text, offsets = Value("string"), List(Value("int64"))
    made = {
        **{"id": text, "question": text, "context": text},
        **{"answer_texts": List(text), "answer_starts": offsets, "answer_given": offsets},
        "answers_dropped": Value("int64"),
    }
    used = [*["id"] * ("id" in table.column_names), question, *filter(None, beside)]
    return map_kept(
        table.select_columns(list(dict.fromkeys(used))),
        form,
        columns,
        code_hash(_normalized),
        with_indices=True,
        features=Features(made),
    )


def _beside(table: Any, columns: Mapping[str, str]) -> tuple[str, str | None, str | None]:
    """Return the columns of the answers, of their offsets and of the marks, as far as there are any."""
    have, answers = table.column_names, columns["answers"]
    own = [name for name in have if name not in columns.values()]
    return answers, written_as(own, *OFFSETS), written_as(own, *MARKS)


def _cells(
    batch: Mapping[str, list[Any]], columns: tuple[str, str, str | None, str | None]
) -> Iterator:
    """Yield, row by row, passage, answers, offsets and marks, and whether there are offsets."""
    context, answers, offsets, marks = columns
    none = [None] * len(batch[answers])
    yield from zip(
        batch[context],
        batch[answers],
        batch[offsets] if offsets else none,
        batch[marks] if marks else none,
        [offsets is not None] * len(none),
        strict=True,
    )


def _answers(
    passage: Any, value: Any, starts: Any, mark: Any, beside: bool
) -> tuple[list, list, int]:
    """Return texts and offsets of a question's answers, and how many a mark took away."""
    texts, offsets = answers_in_cell(value, starts, beside=beside, passage=passage)
    return ([], [], len(texts)) if truth_of(mark, cell=True) else (texts, offsets, 0)


def _ids(table: Any) -> list[str]:
    """List the ids; a question without one gets its number, or ``row-<number>`` if that is another's id."""
    if "id" not in table.column_names:
        return [str(row) for row in range(len(table))]
    found = [id_of(value) for value in values_of(table, "id")]
    taken = {name for name in found if name is not None}
    made = []
    for row, name in enumerate(found):
        own = str(row) if name is None else name
        while name is None and own in taken:
            own = f"row-{own}"
        made.append(own)
    return made


def _check_rows(split: str, table: Any, columns: Mapping[str, str]) -> None:
    problems = Problems()
    for role in ("question", "context"):
        if odd := rows_where(values_of(table, columns[role]), lambda v: not is_text(v)):
            problems.add(
                f"The {split} split has empty {role}s, or {role}s that are not text: {odd}."
            )
    beside = (columns["context"], *_beside(table, columns))
    used = table.select_columns([name for name in dict.fromkeys(beside) if name])
    cells = (row for batch in used.iter(batch_size=1000) for row in _cells(batch, beside))
    wrong: dict[str, str] = {}  # the first of each kind, to be shown

    def is_wrong(row: tuple) -> bool:
        try:
            answers_in_cell(row[1], row[2], beside=row[4], passage=row[0])
        except ValueError as error:
            wrong.setdefault("answers", str(error))
            return True
        return False

    def is_unclear(row: tuple) -> bool:
        try:
            truth_of(row[3], cell=True)
        except ValueError as error:
            wrong.setdefault("mark", str(error))
            return True
        return False

    each = [(is_wrong(row), is_unclear(row)) for row in cells]
    if odd := rows_where(each, lambda both: both[0]):
        problems.add(
            f"The {split} split has answers of another form than SQuAD's: {odd}; the first "
            f"{wrong['answers']}. Give {FLAT}, as many offsets as texts; no texts for a question without an "
            "answer."
        )
    if odd := rows_where(each, lambda both: both[1]):
        problems.add(
            f"The {split} split's column '{beside[-1]}' cannot be read: {odd}; the first {wrong['mark']}."
        )
    seen: set[str] = set()
    again = {i for i in _ids(table) if i in seen or seen.add(i)}
    if again:
        problems.add(
            f"The {split} split has {len(again)} ids more than once ({listed(sorted(again), 3)}). Answers "
            "are told apart by id; make them different, or leave out the ids, and the questions are numbered."
        )
    problems.raise_if_any()


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


def placed(context: str, text: str, start: int | None) -> int:
    """Find the offset of an answer as :func:`place` does; without a stated one, its first as whole words.

    Example:
        >>> placed("Adam met Ada", "Ada", None), placed("Adam met Ada", "Ada", 1)
        (9, 0)
    """
    if start is not None:
        return place(context, text, start)
    at = first = context.find(text)
    while at >= 0:
        end = at + len(text)
        within = context[at - 1 : at].isalnum() and text[0].isalnum()
        if not within and not (context[end : end + 1].isalnum() and text[-1].isalnum()):
            return at
        at = context.find(text, at + 1)
    return first


def answer_notes(table: Any, split: str) -> list[str]:
    """Say what was done with answers that are not where they should be, or that a mark contradicts.

    Args:
        table: A split from :func:`normalize`.
        split: Its name.
    """
    dropped = sum(1 for count in values_of(table, "answers_dropped") if count)
    marked = (
        f"{split}: {dropped} of {many(len(table), 'question')} "
        f"{'is' if dropped == 1 else 'are'} marked {MARKS[0]} and "
        f"{'has' if dropped == 1 else 'have'} answers; the mark "
        "counts, and their answers are left out."
    )
    found = [misplaced(table, split), looked_for(table, split), marked if dropped else None]
    return [note for note in found if note]


def _each_answer(table: Any) -> Iterator[tuple[str, str, int | None, int]]:
    """Yield the question's id, the text, the stated and the found offset of each answer."""
    columns = ("id", "answer_texts", "answer_given", "answer_starts")
    for i, texts, given, found in zip(*(values_of(table, c) for c in columns), strict=True):
        for text, said, at in zip(texts, given, found, strict=True):
            yield i, text, said, at


def misplaced(table: Any, split: str) -> str | None:
    """Say how many answers are not at their offset, show three, and say what is done."""
    moved, lost, shown = 0, 0, []
    for i, text, said, at in _each_answer(table):
        if said is not None and said != at:
            moved, lost = moved + (at >= 0), lost + (at < 0)
            if len(shown) < 3:
                where = f"stands at {at}" if at >= 0 else "is not in the passage"
                shown.append(f"{shortened(i, 60)}: '{text[:40]}' at {said} {where}")
    if not shown:
        return None
    if moved + lost > len(shown):
        shown.append("…")
    return (
        f"{split}: {moved + lost} answers are not at their offset ({'; '.join(shown)}). "
        f"{moved} were moved to the nearest place where they occur; {lost} are nowhere in their "
        "passage: such answers are scored as text, and not trained on."
    )


def looked_for(table: Any, split: str) -> str | None:
    """Say how many answers came without an offset, and where they are taken to stand."""
    total = several = lost = 0
    passages = values_of(table, "context")
    columns = ("answer_texts", "answer_given", "answer_starts")
    rows = zip(*(values_of(table, c) for c in columns), passages, strict=True)
    for texts, given, found, passage in rows:
        for text, said, at in zip(texts, given, found, strict=True):
            if said is None:
                total += 1
                lost += at < 0
                several += at >= 0 and passage.find(text, at + 1) >= 0
    if not total:
        return None
    return (
        f"{split}: {total} answers have no offset, so each is taken where it first occurs in its passage; "
        f"{several} occur there more than once, and {lost} nowhere: such answers are scored as text, and not "
        "trained on."
    )


def check_trainable(train: Any, columns: Mapping[str, str]) -> None:
    """Make sure that there is something to learn.

    Raises:
        DataError: If no answer of the training questions occurs in its passage, so that no window has a label.
    """
    starts = [found for found in values_of(train, "answer_starts") if found]
    if starts and all(at < 0 for found in starts for at in found):
        raise DataError(
            f"No answer of the {many(len(train), 'training question')} occurs in its passage, so "
            "there is nothing to "
            f"point at. The columns read are {', '.join(map(repr, columns.values()))}: are they the right "
            "ones? This task cannot learn answers in free words."
        )
