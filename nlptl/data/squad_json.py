"""SQuAD's nested json, with its usual variations, as one row a question."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from nlptl.data.answers import answers_of, truth_of
from nlptl.data.bytes import open_text
from nlptl.data.columns import written_as
from nlptl.data.files import STRICT
from nlptl.data.text import in_words, is_text
from nlptl.errors import DataError, listed, shortened

FORM = (
    "Expected SQuAD's form: data / paragraphs / context, qas / id, question, answers / text, "
    "answer_start."
)
#: Names that the id of a question has.
IDS = ("id", "qid", "question_id")
#: Names of the mark of a question without an answer; the first is the one in the rows.
MARKS = ("is_impossible", "impossible")


def read_json(path: Path, where: str) -> Any:
    """Read a whole json file, with or without a byte order mark.

    Args:
        path: Path of the file.
        where: Flag and path, for messages.

    Raises:
        DataError: If it is not UTF-8 or not json, or is nested too deeply.
    """
    try:
        text = path.read_bytes().decode("utf-8").lstrip("\ufeff")
        return STRICT.decode(text)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: expected UTF-8, found other bytes (at byte {error.start}). Save it as UTF-8."
        ) from error
    except ValueError as error:
        raise DataError(f"{where}: could not be read as json: {error}") from error
    except RecursionError as error:
        raise DataError(f"{where}: is json nested too deeply to be questions. {FORM}") from error


def has_object_lines(path: Path) -> bool:
    """Whether a file has a whole object, and none of SQuAD's articles, on each of its first two lines."""
    with open_text(path, errors="replace") as lines:
        first = [line for line in islice(lines, 2) if line.strip()]
    try:
        each = [STRICT.decode(line) for line in first]
    except (ValueError, RecursionError):
        return False
    return len(each) == 2 and all(isinstance(one, Mapping) and not _is_article(one) for one in each)


def nested_lines(path: Path, where: str) -> Any:
    """Read a file of SQuAD with whole objects in lines: the only one, or the list of them.

    Args:
        path: Path of the file.
        where: Flag and path, for messages.

    Returns:
        The content; None of a file whose first line is none of SQuAD's articles or paragraphs.

    Raises:
        DataError: If a later line is no json.
    """
    found: list[Any] = []
    with open_text(path) as lines:
        filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        try:
            for number, line in filled:
                try:
                    found.append(STRICT.decode(line))
                except (ValueError, RecursionError) as error:
                    if not found:
                        return None
                    raise DataError(
                        f"{where}: line {number} could not be read as json: {error}. Expected one of SQuAD's "
                        "articles or paragraphs on each line, as on the first."
                    ) from error
                if not _is_article(found[0]):
                    return None
        except UnicodeDecodeError:  # who reads the whole file says it
            return None
    return found if len(found) > 1 else next(iter(found), None)


def _is_article(value: Any) -> bool:
    """Whether a line of a file is an article, a paragraph, or a whole file of SQuAD, and no row of a table."""
    if not isinstance(value, Mapping) or {"question", "columns", "schema"} & {*value}:
        return False
    for inner in (value[key] for key in ("data", "paragraphs", "qas") if key in value):
        each = inner if isinstance(inner, list) else [inner]
        if each and all(isinstance(one, Mapping) for one in each):
            return True
    return False


def is_nested(whole: Any) -> bool:
    """Whether json is SQuAD's: articles, paragraphs or questions with their passages, also under ``data``."""
    if isinstance(whole, Mapping):
        if {"columns", "index"} & {*whole}:  # pandas' own forms of a table have data too
            return False
        return bool({"data", "paragraphs", "qas"} & {*whole})
    if not isinstance(whole, list):
        return False
    return any(isinstance(one, Mapping) and {"paragraphs", "qas"} & {*one} for one in whole)


def flatten(whole: Any, where: str, *, answers: bool = True) -> Iterator[dict[str, Any]]:
    """Yield a row for each question: ``id`` (None if it has none), question, context, answers, mark.

    Args:
        whole: Content of the file.
        where: Flag and path, for messages.
        answers: Whether answers are read and needed; a prediction needs none.

    Raises:
        DataError: After the last question, with how many cannot be read, and the first of them.
    """
    odd: list[str] = []
    number = 0
    for paragraph, spot in _paragraphs(whole, "the file", odd):
        qas = paragraph["qas"]
        passage = paragraph.get("context")
        for qa in [qas] if isinstance(qas, Mapping) else qas if isinstance(qas, list) else []:
            try:
                yield _question(qa, passage, number, answers)
            except ValueError as error:
                odd.append(str(error))
            number += 1
        if not isinstance(qas, Mapping | list):
            odd.append(f"qas of {spot} is {in_words(qas)}; expected a list of questions")
    if odd:
        raise DataError(
            f"{where}: {'; '.join(odd[:3])}{f'; … ({len(odd)} in all)' * (len(odd) > 3)}. {FORM}"
        )


def _paragraphs(
    node: Any, spot: str, odd: list[str], depth: int = 0
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield whatever has questions, with its place; what is neither that nor holds it goes to ``odd``."""
    if isinstance(node, list) and depth < 6:
        for i, one in enumerate(node):
            if isinstance(one, list):
                odd.append(f"{spot} has a list in its list; expected objects")
            else:
                yield from _paragraphs(one, f"{spot}[{i}]", odd, depth + 1)
        return
    if isinstance(node, Mapping) and depth < 6:
        for key in ("qas", "paragraphs", "data"):
            if key == "qas" in node:
                yield node, spot
                return
            if key in node:
                inside = key if spot == "the file" else f"{spot}.{key}"
                yield from _paragraphs(node[key], inside, odd, depth + 1)
                return
        if {"question", "context"} <= {*node}:
            yield {"qas": [node], "context": node["context"]}, spot
            return
        odd.append(
            f"{spot} is an object with {listed(list(node), 5) or 'nothing'}; expected paragraphs or qas"
        )
        return
    odd.append(f"{spot} is {in_words(node)}; expected objects with paragraphs or qas")


def _question(qa: Any, passage: Any, number: int, answers: bool) -> dict[str, Any]:
    """Read one question.

    Raises:
        ValueError: If it cannot be read; the message names it.
    """
    if not isinstance(qa, Mapping):
        raise ValueError(f"question {number} is {in_words(qa)}; expected an object with a question")
    named = (id_of(qa[key]) for usual in IDS if (key := written_as(qa, usual)) is not None)
    name = next((one for one in named if one is not None), None)
    about = f"question {shortened(name, 60) if name is not None else number}"
    for field, value in (("question", qa.get("question")), ("context", passage)):
        if field == "question" and field not in qa:
            raise ValueError(f"{about} lacks the field 'question'")
        if value is None:
            raise ValueError(f"{about} lacks the field '{field}'")
        if not is_text(value):
            what = in_words(value) if not isinstance(value, str) or value.strip() else "empty"
            raise ValueError(f"{field} of {about} is {what}; expected a text")
    row = {"id": name, "question": qa["question"], "context": passage}
    if not answers:
        return row
    marked = written_as(qa, *MARKS)
    try:
        mark = truth_of(qa[marked]) if marked else None
    except ValueError as error:
        raise ValueError(f"{marked} of {about} {error}") from None
    given = next((qa[key] for key in ("answers", "answer") if key in qa), None)
    if not (mark or "answers" in qa or "answer" in qa):
        raise ValueError(
            f"{about} lacks the field 'answers', which a training, validation or test set needs "
            "(an empty list for a question without an answer)"
        )
    try:
        texts, starts = answers_of(given)
    except ValueError as error:
        raise ValueError(f"answers of {about} {error}") from None
    return {**row, "answers": {"text": texts, "answer_start": starts}, MARKS[0]: mark}


def id_of(value: Any) -> str | None:
    """Return an id of any type as a text; None for one that is missing: null, nan or blank."""
    if value is None or value != value:
        return None
    text = str(value)
    if not text.strip():
        return None
    return text.encode("utf-8", "replace").decode()
