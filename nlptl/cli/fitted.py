"""A finished run as an object: what it is worth, its mistakes, predictions, its report."""

import os
import shutil
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from nlptl.cli.config import to_yaml
from nlptl.cli.predict import holds_lines, read_rows
from nlptl.data.columns import find_columns
from nlptl.data.files import read_lines, read_result, write_json, write_whole
from nlptl.data.frames import DATA, is_dataset, is_frame, to_table
from nlptl.data.label_lists import with_lists
from nlptl.data.rows import beside
from nlptl.data.sources import SPLIT_NAMES, kind_of, read_table
from nlptl.errors import LONGEST_NAME, ModelError
from nlptl.runs.directory import check_free
from nlptl.runs.errors import most_confident_mistakes
from nlptl.runs.last_block import floors_line, metric, weakest_line
from nlptl.runs.predictor import Predictor, check_there, load_predictor
from nlptl.tasks.base import Task
from nlptl.train.terminal import Block

#: Files of a run that name its directory, and are written again for a copy.
REWRITTEN = ("result.json", "config.yaml")


class FittedRun:
    """A finished run, from :func:`nlptl.fit` or from its directory (:func:`load_run`).

    Args:
        directory: Directory of the run.
        temporary: The temporary directory that this is, if it is one; it goes with this object.

    Attributes:
        directory: Directory of the run.
        record: What its ``result.json`` holds.
    """

    def __init__(self, directory: Path, *, temporary: TemporaryDirectory | None = None) -> None:
        self.directory, self._temporary = Path(directory), temporary
        self.record: dict[str, Any] = read_result(self.directory / "result.json", "metrics")

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the test set, each with its standard error ``<name>_se``."""
        return self.record["metrics"]

    @property
    def floors(self) -> dict[str, Any]:
        """Scores of simple ways on the test set: always one answer, and a bag of words."""
        return self.record.get("floors", {})

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and number of each class; empty where there are none."""
        return self.record.get("per_class", [])

    @property
    def weakest(self) -> dict[str, Any] | None:
        """The weakest class and what it is taken for; None where there are no classes."""
        return self.record.get("weakest")

    @cached_property
    def predictions(self) -> list[dict[str, Any]]:
        """One record for each test example, as in ``predictions.jsonl``."""
        path = self.directory / "predictions.jsonl"
        try:
            return read_lines(path)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{path} is missing or damaged ({error}). Bring it back, or make the run again."
            ) from error

    @cached_property
    def predictor(self) -> Predictor:
        """The trained model, as it was read back from disk."""
        return load_predictor(self.directory)

    @property
    def task(self) -> Task:
        """The task that the run learned, with its classes."""
        return self.predictor.task

    @property
    def model(self) -> Any:
        """The trained model of transformers, in eval mode."""
        return self.predictor.model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self.predictor.tokenizer

    def __repr__(self) -> str:
        """Sum up the run in a few lines: what it is, its score, what that is worth, where it lies."""
        record, name = self.record, self.record["selection"]["metric"]
        temporary = "in a temporary directory; save(directory) keeps it"
        rows = [
            (
                "run",
                f"{record['task']}, {record['model']}, mode {record['mode']}, seed {record['seed']}",
            ),
            ("test", f"{metric(self.metrics, name)} on {record['n']['test']:,} examples"),
            ("floors", floors_line(record.get("floors") or {}, name, self.metrics[name])),
            ("weakest", weakest_line(record.get("weakest"))),
            ("saved", temporary if self._temporary else str(self.directory)),
        ]
        return str(Block([row for row in rows if row[1]]))

    def _repr_html_(self) -> str:
        from nlptl.runs.errors_page import errors_page

        return errors_page(self.record, self.predictions, whole=False)

    def errors(self, n: int | None = 20) -> Any:
        """List the mistakes on the test set, those that the model was surest of first.

        Of numbers the largest errors come first, of tags the sentences with the most wrong words.

        Args:
            n: Most rows; None for all.

        Returns:
            A data frame with a row for each mistake: the row of its file, its texts and every other column,
            the prediction, the gold value, and the ``confidence`` of the model (of numbers the ``error``, of
            tags the number of ``wrong_words``); a column of that name is called ``<name>_in_file``.
        """
        import pandas

        most = len(self.predictions) if n is None else n
        frame = pandas.DataFrame(most_confident_mistakes(self.predictions, most))
        without = ["scores"]
        if "id" in frame and frame["id"].equals(frame["row"]):
            without.append("id")
        known = self.record.get("data", {}).get("columns", {})
        own = {r: c for r, c in known.items() if isinstance(c, str) and c not in frame}
        return frame.drop(columns=without, errors="ignore").rename(columns=own)

    def predict(self, table: Any) -> Any:
        """Predict examples.

        Args:
            table: One example (a text, a tuple of texts, or a mapping of the task's fields), a list of
                examples, or a table with the columns of the training set: a data frame, a
                :class:`datasets.Dataset`, or the path of a file.

        Returns:
            One record for one example; a list of records for a list; for a table the same table (for a file a
            data frame) with the columns ``prediction`` and, where there is one, ``score`` in [0, 1]; a column
            of that name is called ``<name>_in_file``, as ``nlptl predict`` calls it.

        Raises:
            DataError: If an example cannot be predicted.
        """
        if file := _as_file(table):
            table = self._read(file)
        if not is_frame(table) and not is_dataset(table):
            return self.predictor(table)
        rows = to_table(table, "table")
        columns, read = self._columns(rows), rows
        if self.task.split_into_words:  # a csv writes lists as texts
            read = with_lists(rows, columns[self.task.fields[0]])
        used = read.select_columns([*dict.fromkeys(columns.values())])
        examples = [{role: row[column] for role, column in columns.items()} for row in used]
        records = self.predictor(examples)
        added = {"prediction": [record["prediction"] for record in records]}
        if "score" in records[0]:
            added["score"] = [record["score"] for record in records]
        names = rows.column_names
        under = dict(zip(names, beside(names, added), strict=True))
        if is_frame(table):
            return table.rename(columns=under).assign(**added)
        rows = rows.rename_columns(under)
        for name, values in added.items():
            rows = rows.add_column(name, values)
        return rows

    def _read(self, file: Path) -> Any:
        """Read a file as a data frame; one of texts has the task's field as its column."""
        import pandas

        task = self.predictor.task
        if not (file.is_file() and len(task.fields) == 1 and holds_lines(file, task)):
            return read_table(file, "table", task.readers).to_pandas()
        rows = read_rows(file, dict.fromkeys(task.fields), kind=task)
        return pandas.DataFrame(rows.others).drop(columns="row")

    def _columns(self, table: Any) -> dict[str, str]:
        """Map the task's fields to a table's columns: those of the training set, or their usual names."""
        known = self.record.get("data", {}).get("columns", {})
        names = table.column_names
        asked = {
            role: next((name for name in (known.get(role), role) if name in names), None)
            for role in self.predictor.task.fields
        }
        return find_columns({"table": table, "train": table}, asked)

    def report(
        self,
        tier: Literal["quick", "standard", "full"] = "standard",
        *,
        curve: bool = False,
        upstream_text: str | None = None,
    ) -> Any:
        """Say what the pretraining was worth, against the same model without it.

        Args:
            tier: Number of seeds: ``quick`` (3), ``standard`` (6) or ``full`` (10).
            curve: Whether to train on smaller sets too.
            upstream_text: Held-out text to measure forgetting on.

        Returns:
            A :class:`nlptl.report.report.TransferReport`; its files are in the run's directory.
        """
        from nlptl.cli.report import report_directory

        return report_directory(self.directory, tier=tier, curve=curve, upstream_text=upstream_text)

    def save(self, directory: str | Path) -> Path:
        """Copy the run to a directory of its own, where ``nlptl predict`` and ``nlptl report`` find it.

        Args:
            directory: A new directory, or an empty one.

        Returns:
            The directory.

        Raises:
            ConfigError: If another run is there, or files of the user's own.
        """
        target, source = Path(directory), self.directory
        if target.resolve() == source.resolve():
            return target
        check_free(target, resume=False)
        left = shutil.ignore_patterns(".lock", "checkpoints", *REWRITTEN)
        shutil.copytree(source, target, ignore=left, dirs_exist_ok=True)
        # The run itself comes last: its record says that all of it is there.
        for home in sorted(source.glob("seeds/*")):
            _rewritten(home, source, target)
        record = _rewritten(source, source, target)
        self.directory, self.record = target, record
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
        return target


def _as_file(given: Any) -> Path | None:
    """Return the path of a file, if that is given; a text that is not the name of a table's file is a text."""
    if isinstance(given, os.PathLike):
        return Path(given)
    named = isinstance(given, str) and len(given) < LONGEST_NAME and kind_of(Path(given))
    return Path(given) if named and Path(given).is_file() else None


def load_run(directory: str | Path) -> FittedRun:
    """Open a finished run of a recipe or of :func:`nlptl.fit`.

    Args:
        directory: Directory of the run.

    Raises:
        ModelError: If there is no finished run.
    """
    check_there(Path(directory))
    return FittedRun(Path(directory))


def _moved(path: Path | None, source: Path, target: Path) -> Path | None:
    """Return where a file of a run's own data is after the run was copied; other files stay."""
    if path is None or not path.resolve().is_relative_to((source / DATA).resolve()):
        return path
    return target / DATA / path.name


def _rewritten(home: Path, source: Path, target: Path) -> dict[str, Any]:
    """Write the files of a copied run that name its places.

    Args:
        home: Directory of the run, or of a further seed of it.
        source: Directory that was copied.
        target: Where the copy is.

    Returns:
        The copy's ``result.json``.
    """
    from nlptl.cli.report import config_of

    copy, record = target / home.relative_to(source), read_result(home / "result.json", "metrics")
    files = {split: Path(path) for split, path in record.get("data", {}).get("files", {}).items()}
    if (home / "config.yaml").is_file():
        _, config = config_of(home)
        known = {split: getattr(config, f"{split}_file") for split in SPLIT_NAMES}
        files = {split: known[split] or path for split, path in files.items()}
        own = {f"{split}_file": _moved(path, source, target) for split, path in known.items()}
        write_whole(copy / "config.yaml", to_yaml(replace(config, output_dir=copy, **own)))
    if files:
        moved = {split: str(_moved(path, source, target)) for split, path in files.items()}
        record["data"] = {**record["data"], "files": moved}
    write_json(copy / "result.json", record)
    return record
