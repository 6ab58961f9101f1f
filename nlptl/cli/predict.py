"""``nlptl predict``: a finished run's answers, to one example or to each row of a file."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, TextIO

import tyro

from nlptl.data.bytes import open_text
from nlptl.data.sources import unreadable
from nlptl.data.text import printable
from nlptl.errors import ConfigError, DataError, Problems, listed, shortened

#: Form of the output by the ending of its name, or of the input's where there is no --output.
FORMS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": "", ".json": ""}
#: Endings of tables in other forms, which no output has; a packed file or a workbook is another.
OTHERS = (".parquet", ".arrow", ".feather", ".orc", ".pkl")


def predict(
    directory: Annotated[str, tyro.conf.Positional],
    /,
    *,
    text: str | None = None,
    question: str | None = None,
    context: str | None = None,
    field: tuple[str, ...] = (),
    file: Path | None = None,
    output: Path | None = None,
    text_column: str | None = None,
    question_column: str | None = None,
    context_column: str | None = None,
    column: tuple[str, ...] = (),
    explain: bool = False,
    task: str | None = None,
    batch_size: int = 32,
) -> None:
    """Label texts, answer questions, or do whatever a finished run's task is.

    Of a file each row is answered, in its order, with all its columns: csv in, csv out; tsv in, tsv out;
    anything else one JSON object per line.

    Args:
        directory: Directory of a run or its model/, a bundled name or a hub name.
        text: Text to label.
        question: Question to answer; needs --context.
        context: Passage to answer from.
        field: Fields of any other task, as name=value; the words of a sentence are separated by spaces.
        file: File with many examples: csv, tsv, jsonl, json, parquet, SQuAD json, or txt (one text per line;
            of a run for tags also CoNLL).
        output: File for the output; by default it goes to the terminal. Its ending (csv, tsv or jsonl) says
            its form, whatever --file is.
        text_column: Column of the texts; by default the one that the run was trained on, or one with a usual
            name.
        question_column: Column of the questions, if it does not have a usual name.
        context_column: Column of the passages, if it does not have a usual name.
        column: Columns of any other fields, as name=column.
        explain: Also say how much each word speaks for the answer, by integrated gradients; slow, and needs
            pip install nlptl[explain].
        task: Task instead of the one that the run names: a registered name, or path/to/file.py:Class.
        batch_size: Texts or windows per batch.
    """
    single = {"text": text, "question": question, "context": context}
    given = _check(
        {k: v for k, v in single.items() if v is not None}, field, file, output, batch_size
    )
    if explain:
        from nlptl.runs.explaining import check_installed

        check_installed()
    from nlptl.data.columns import asked_columns
    from nlptl.runs.predictor import load_predictor

    predictor = load_predictor(directory, task=task, batch_size=batch_size)
    names = predictor.task.fields
    if file is not None:
        columns = [
            ("text", text_column),
            ("question", question_column),
            ("context", context_column),
        ]
        known = [f"{name}={own}" for name, own in columns if own is not None]
        asked = asked_columns(SimpleNamespace(column=(*known, *column)), names)
        trained = trained_columns(directory)
        rows = read_rows(file, asked, trained=trained, kind=predictor.task)
    else:
        if set(given) != set(names):
            own = [f"--{name} …" if name in single else "" for name in names]
            fields = f"--field {' '.join(f'{name}=…' for name in names)}"
            raise ConfigError(
                f"{directory} takes {' and '.join(names)}; given were {listed(sorted(given))}. Give "
                f"{' '.join(own) if all(own) else fields}, or --file."
            )
        rows = Rows([given], iter([{}]), 1)
    if explain:
        from nlptl.runs.explaining import check_explained

        check_explained(predictor.task)
    if rows.count is not None:
        predictor.check(rows.examples)
    found: Iterator[dict[str, Any]] = predictor.stream(rows.examples)
    if explain:
        from nlptl.runs.explaining import explained

        found = explained(predictor, rows.examples, found)
    _write(with_columns(rows.others, found), output, rows.count, _form(file, output))


def _check(
    single: Mapping[str, str],
    field: Sequence[str],
    file: Path | None,
    output: Path | None,
    batch_size: int,
) -> dict[str, str]:
    """Check the flags of a prediction, and return the fields that they give, by name."""
    problems, given = Problems(), dict(single)
    for entry in field:
        name, equals, value = entry.partition("=")
        if not (name and equals):
            problems.add(f"--field {shortened(entry)}: expected name=value.")
        given[name] = value
    kinds = ("text" in single, bool({"question", "context"} & {*single}), bool(field), bool(file))
    if sum(kinds) != 1:
        problems.add("Give one of --text, --question with --context, --field, or --file.")
    if not field and ("question" in single) != ("context" in single):
        problems.add("--question and --context go together.")
    if file is not None and not file.is_file():
        problems.add(f"--file {file}: there is no such file.")
    if output is not None and output.exists():
        problems.add(f"--output {output} exists, and would be overwritten. Choose another name.")
    if output is not None and not output.parent.is_dir():
        problems.add(f"--output {output}: there is no folder {output.parent}. Make it first.")
    if output is not None and (output.suffix.lower() in OTHERS or unreadable(output)):
        problems.add(f"--output {output}: expected a name ending in {', '.join(FORMS)}.")
    if batch_size < 1:
        problems.add(f"--batch-size is {batch_size}; expected a number above 0.")
    problems.raise_if_any()
    return given


@dataclass(frozen=True)
class Rows:
    """The rows of a file.

    Attributes:
        examples: What the predictor takes, row by row.
        others: Number and columns of each row, as they are in the file.
        count: Number of rows; None if it is not known.
    """

    examples: Any
    others: Iterator[dict[str, Any]]
    count: int | None


def trained_columns(directory: str) -> dict[str, str]:
    """Return the columns that a run was trained on, by field; none of a model without a record."""
    try:
        record = json.loads((Path(directory) / "result.json").read_text("utf-8"))
        columns = record["data"]["columns"].items()
        return {role: name for role, name in columns if name and isinstance(name, str)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def read_rows(
    file: Path,
    asked: Mapping[str, str | None],
    *,
    trained: Mapping[str, str] | None = None,
    kind: Any = None,
) -> Rows:
    """Read a file of examples with all its columns.

    Args:
        file: Path of the file; of a txt each line that is not blank is a text, unless it has words with tags.
        asked: Mapping from the task's fields to the columns' names, or None.
        trained: Mapping from fields to the columns that the run was trained on. A field whose column was not
            asked for takes that one if the file has it, else one with a usual name.
        kind: Task, which may read other kinds of files and lists of words; None for a task of texts.

    Raises:
        UserError: If the file cannot be read, or has no column for a field.
    """
    from nlptl.data.columns import find_columns
    from nlptl.data.label_lists import with_lists
    from nlptl.data.rows import plain_rows
    from nlptl.data.sources import READERS, read_table
    from nlptl.data.squad import read_questions

    readers = getattr(kind, "readers", READERS)
    if holds_lines(file, kind):
        if len(asked) > 1:
            raise ConfigError(
                f"--file {file}: a txt holds one field per line; a table with {listed(list(asked))} is needed."
            )
        from nlptl.data.bytes import check_kind, check_text

        check_kind(file, f"--file {file}")
        check_text(file, f"--file {file}")  # now, and not when the first line is asked for
        if next(_filled(file), None) is None:
            raise DataError(f"--file {file}: the file holds no text.")
        (name,) = asked
        words = getattr(kind, "split_into_words", False)
        lines = ((row, line.split() if words else line) for row, line in _filled(file))
        numbered = ({"row": row, name: line} for row, line in lines)
        return Rows(_Lines(file), numbered, None)
    questions = partial(read_questions, answers=False)
    read = questions if "context" in asked else partial(read_table, readers=readers)
    table = read(file, "--file")
    trained = trained or {}
    known = {r: c for r, c in trained.items() if c in table.column_names}
    asked = {role: own or known.get(role) for role, own in asked.items()}
    columns = find_columns({"train": table}, asked, SimpleNamespace())
    for role in [role for role, own in asked.items() if own is None and role in trained]:
        print(  # noqa: T201
            f"note: {file} has no column '{trained[role]}', which the run was trained on; "
            f"'{columns[role]}' is read as the {role}.",
            file=sys.stderr,
        )
    renamed = {column: name for name, column in columns.items() if column != name}
    examples = table.select_columns(list(columns.values())).rename_columns(renamed)
    if getattr(kind, "split_into_words", False):  # a csv writes lists as texts
        examples = with_lists(examples, kind.fields[0], None)
    others = ({"row": row, **_moved(own)} for row, own in enumerate(plain_rows(table)))
    return Rows(examples, others, len(table))


def holds_lines(file: Path, kind: Any) -> bool:
    """Whether each line of a file is a text: so it is in a txt, unless a task of tags finds words with tags.

    Args:
        file: Path of the file.
        kind: Task, as for :func:`read_rows`.
    """
    from nlptl.data.tags import holds_tags

    if file.suffix.lower() != ".txt":
        return False
    return ".txt" not in getattr(kind, "readers", ()) or not holds_tags(file, kind.labels)


def _moved(own: Mapping[str, Any]) -> dict[str, Any]:
    """Give a column called row another name."""
    from nlptl.data.rows import beside

    return dict(zip(beside([*own], ["row"]), own.values(), strict=True))


@dataclass(frozen=True)
class _Lines:
    """The texts of a file of lines, which can be gone through more than once."""

    file: Path

    def __iter__(self) -> Iterator[str]:
        return (line for _, line in _filled(self.file))


def _filled(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, each with its number from 0."""
    with open_text(file) as lines:
        yield from ((row, line.strip()) for row, line in enumerate(lines) if line.strip())


def with_columns(
    others: Iterator[Mapping[str, Any]], found: Iterator[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Put each prediction beside its row's columns; one of the same name is called ``<name>_in_file``."""
    from nlptl.data.rows import beside

    for own, record in zip(others, found, strict=True):
        yield {**dict(zip(beside([*own], record), own.values(), strict=True)), **record}


def _form(file: Path | None, output: Path | None) -> str:
    """Return the separator of the columns, or nothing for JSON lines."""
    for path in (output, file):
        if path is not None and path.suffix.lower() in FORMS:
            return FORMS[path.suffix.lower()]
    return ""


def _write(
    records: Iterator[dict[str, Any]], output: Path | None, total: int | None, separator: str = ""
) -> None:
    from nlptl.data.progress import counted

    # Half of a surrogate pair in some column has no UTF-8; as an escape it is JSON.
    sink: Any = nullcontext(sys.stdout)
    if output is None and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    elif output is not None:
        sink = output.open("w", encoding="utf-8", errors="backslashreplace", newline="")
    try:
        with sink as file:
            shown = counted(records, "predicting", total, "examples")
            (write_table if separator else write_lines)(shown, file, separator)
    finally:
        if output is not None and not output.stat().st_size:  # it would block the next try
            output.unlink()


def write_lines(records: Iterable[Mapping[str, Any]], file: TextIO, _: str = "") -> None:
    """Write a JSON object a line; a value that JSON does not have, such as a date, becomes text."""
    for record in records:
        file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


def write_table(records: Iterable[Mapping[str, Any]], file: TextIO, separator: str) -> None:
    """Write a table with a header, as Excel and pandas read it.

    ``scores`` and ``alternatives`` are left out where there is a ``score``; other lists and objects are JSON.

    Args:
        records: Predictions with the columns of their rows; all have the same columns.
        file: File to write to.
        separator: Text between two columns.
    """
    each = iter(records)
    first = next(each, None)
    if first is None:
        return
    left_out = {"scores", "alternatives"} if "score" in first else set()
    names = [name for name in first if name not in left_out]
    table = csv.writer(file, delimiter=separator, lineterminator="\n")
    shown = printable if file.isatty() else str  # a text must not steer the terminal
    table.writerow(map(shown, names))
    for record in chain([first], each):
        table.writerow([shown(_cell(record.get(name))) for name in names])


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else value
