"""The command ``nlptl``: what one does with finished runs."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nlptl.cli.config import exit_codes
from nlptl.errors import ConfigError, Problems
from nlptl.train.terminal import say


def predict(
    directory: Annotated[str, tyro.conf.Positional],
    /,
    *,
    text: str | None = None,
    question: str | None = None,
    context: str | None = None,
    file: Path | None = None,
    output: Path | None = None,
    text_column: str | None = None,
    question_column: str | None = None,
    context_column: str | None = None,
    batch_size: int = 32,
) -> None:
    """Label texts or answer questions with a finished run; one JSON object a line comes out.

    Args:
        directory: A run, its model/, a bundled name or a hub name.
        text: A text to label.
        question: A question, with --context.
        context: The passage to answer from.
        file: Many at once: csv, tsv, jsonl, json, parquet, SQuAD json, or txt (a text a line).
        output: Where the lines go; by default to the terminal.
        text_column: Column of the texts, where it has no usual name.
        question_column: Column of the questions, likewise.
        context_column: Column of the passages, likewise.
        batch_size: Texts or windows a batch.
    """
    _check(text, question, context, file, output, batch_size)
    from nlptl.runs.predictor import load_predictor

    predictor = load_predictor(directory, batch_size=batch_size)
    names = predictor.task.fields
    asked = {"text": text_column, "question": question_column, "context": context_column}
    examples: Iterable[Any]
    if file is not None:
        examples = _rows(file, {name: asked[name] for name in names})
    else:
        given = {"text": text, "question": question, "context": context}
        examples = [{name: given[name] for name in names}]
    total = len(examples) if hasattr(examples, "__len__") else None  # type: ignore[arg-type]
    _write(predictor.stream(examples), output, total)


def _check(
    text: str | None,
    question: str | None,
    context: str | None,
    file: Path | None,
    output: Path | None,
    batch_size: int,
) -> None:
    problems = Problems()
    if sum((text is not None, question is not None or context is not None, file is not None)) != 1:
        problems.add("Give one of --text, --question with --context, or --file.")
    if (question is None) != (context is None):
        problems.add("--question and --context go together.")
    if file is not None and not file.is_file():
        problems.add(f"--file {file}: there is no such file.")
    if output is not None and output.exists():
        problems.add(f"--output {output} exists, and would be written over. Choose another name.")
    if output is not None and not output.parent.is_dir():
        problems.add(f"--output {output}: there is no folder {output.parent}. Make it first.")
    if batch_size < 1:
        problems.add(f"--batch-size is {batch_size}; expected a number above 0.")
    problems.raise_if_any()


def _rows(file: Path, asked: dict[str, str | None]) -> Iterable[Any]:
    from nlptl.data.columns import find_columns
    from nlptl.data.squad import read_questions

    if file.suffix == ".txt":
        if list(asked) != ["text"]:
            raise ConfigError(
                f"--file {file}: a question answering model needs a table, not a txt."
            )
        return _lines(file)
    table = read_questions(file, "--file")
    columns = find_columns({"train": table}, asked)
    renamed = {column: name for name, column in columns.items() if column != name}
    return table.select_columns(list(columns.values())).rename_columns(renamed)


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        yield from (line.strip() for line in lines if line.strip())


def _write(records: Iterator[dict[str, Any]], output: Path | None, total: int | None) -> None:
    from tqdm import tqdm

    sink = nullcontext(sys.stdout) if output is None else output.open("w", encoding="utf-8")
    with sink as file:
        for record in tqdm(records, total=total, disable=total == 1, unit="example"):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def cache(*, clear: bool = False, keep_gb: float | None = None) -> None:
    """Show the cached states of frozen blocks (--cache), or remove them.

    They lie in $NLPTL_CACHE, by default ~/.cache/nlptl, and together take at most $NLPTL_CACHE_GB, by default
    20; the least recently used go first.

    Args:
        clear: Remove all.
        keep_gb: Remove the least recently used until the others take at most so many gigabytes.
    """
    from nlptl.train.stem_cache import directory

    if clear or keep_gb is not None:
        if keep_gb is not None and keep_gb < 0:
            raise ConfigError(f"--keep-gb is {keep_gb}; expected 0 or more.")
        removed = directory.shrink(0 if clear else 1e9 * (keep_gb or 0))
        size = sum(entry.bytes for entry in removed)
        say(f"removed {len(removed)} entries, {size / 1e6:.1f} MB")
    there = directory.entries()
    for entry in there:
        day = datetime.fromtimestamp(entry.used).isoformat(" ", "minutes")
        say(f"{entry.bytes / 1e6:10.1f} MB  used {day}  {entry.path.name[:12]}  {entry.about}")
    total = sum(entry.bytes for entry in there)
    say(
        f"{directory.folder()}: {len(there)} entries, {total / 1e6:.1f} MB of at most "
        f"{directory.limit() / 1e6:.0f} MB"
    )


def report(
    directory: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    tier: Literal["quick", "standard", "full"] = "standard",
    curve: bool = False,
    upstream_text: str | None = None,
) -> None:
    """Report what the pretraining of a finished run was worth; report.json, .md and .html go beside it.

    Args:
        directory: The run's directory.
        tier: Seeds an arm: quick 3, standard 6, full 10.
        curve: Also smaller training sets: how many labels the pretraining is worth.
        upstream_text: Held-out text to measure forgetting with: a file, a folder or a hub name.
    """
    from nlptl.cli.report import report_directory

    report_directory(directory, tier=tier, curve=curve, upstream_text=upstream_text)


def main() -> None:
    """Run ``nlptl``."""
    with exit_codes():
        tyro.extras.subcommand_cli_from_dict(
            {"cache": cache, "predict": predict, "report": report}, description=__doc__
        )
