"""A finished run as an object: what it is worth, its mistakes, predictions, its report."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from nlptl.cli.config import to_yaml
from nlptl.data.columns import find_columns
from nlptl.data.files import write_json, write_whole
from nlptl.data.frames import is_dataset, is_frame, to_table
from nlptl.data.sources import read_table
from nlptl.errors import DataError, ModelError, listed
from nlptl.runs.directory import DATA, check_free
from nlptl.runs.predictor import Predictor, load_predictor


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
        self.record: dict[str, Any] = _read_record(self.directory)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the test set, each with its standard error ``<name>_se``."""
        return self.record["metrics"]

    @cached_property
    def predictions(self) -> list[dict[str, Any]]:
        """One record for each test example, as in ``predictions.jsonl``."""
        with (self.directory / "predictions.jsonl").open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    @cached_property
    def predictor(self) -> Predictor:
        """The trained model, as it was read back from disk."""
        return load_predictor(self.directory)

    @property
    def model(self) -> Any:
        """The trained model of transformers, in eval mode."""
        return self.predictor.model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self.predictor.tokenizer

    def __repr__(self) -> str:
        from nlptl.cli.fitted_view import as_text

        return as_text(self.record, None if self._temporary else self.directory)

    def _repr_html_(self) -> str:
        from nlptl.cli.fitted_view import as_html

        return as_html(self.record, self.predictions)

    def errors(self, n: int | None = 20) -> Any:
        """List the mistakes on the test set, those that the model was surest of first.

        Args:
            n: Most rows; None for all.

        Returns:
            A data frame with a row for each mistake.
        """
        import pandas

        wrong = [each for each in self.predictions if each["prediction"] != each["gold"]]
        rows = [{**self.predictor.task.to_public(each), **each} for each in wrong]
        rows.sort(key=lambda row: -row.get("score", 0.0))
        return pandas.DataFrame(rows[:n]).drop(columns=["scores"], errors="ignore")

    def predict(self, table: Any) -> Any:
        """Predict examples.

        Args:
            table: One example (a text, a tuple of texts, or a mapping of the task's fields), a list of
                examples, or a table with the columns of the training set: a data frame, a
                :class:`datasets.Dataset`, or a :class:`~pathlib.Path` of a file.

        Returns:
            One record for one example; a list of records for a list; for a table the same table with the
            columns ``prediction`` and, where there is one, ``score`` in [0, 1].

        Raises:
            DataError: If an example cannot be predicted, or the table has such a column already.
        """
        if isinstance(table, Path):
            table = read_table(table, "table")
        if not is_frame(table) and not is_dataset(table):
            return self.predictor(table)
        rows = to_table(table, "table")
        columns = self._columns(rows)
        used = rows.select_columns([*dict.fromkeys(columns.values())])
        examples = [{role: row[column] for role, column in columns.items()} for row in used]
        records = self.predictor(examples)
        added = {"prediction": [record["prediction"] for record in records]}
        if "score" in records[0]:
            added["score"] = [record["score"] for record in records]
        if twice := [name for name in added if name in rows.column_names]:
            raise DataError(f"The table has a column {listed(twice)} already. Rename or drop it.")
        if is_frame(table):
            return table.assign(**added)
        for name, values in added.items():
            rows = rows.add_column(name, values)
        return rows

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
        from nlptl.cli.report import config_of

        target, source = Path(directory), self.directory
        if target.resolve() == source.resolve():
            return target
        check_free(target, resume=False)
        left = shutil.ignore_patterns(".lock", "checkpoints", "result.json", "config.yaml")
        shutil.copytree(source, target, ignore=left, dirs_exist_ok=True)
        record = dict(self.record)
        if (source / "config.yaml").is_file():
            _, config = config_of(source)
            files = {
                name: _moved(getattr(config, name), source, target)
                for name in ("train_file", "validation_file", "test_file")
            }
            write_whole(
                target / "config.yaml", to_yaml(replace(config, output_dir=target, **files))
            )
            record = _with_moved_files(record, source, target)
        write_json(target / "result.json", record)  # last: it says that the run is whole
        self.directory, self.record = target, record
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
        return target


def load_run(directory: str | Path) -> FittedRun:
    """Open a finished run of a recipe or of :func:`nlptl.fit`.

    Args:
        directory: Directory of the run.

    Raises:
        ModelError: If there is no finished run.
    """
    return FittedRun(Path(directory))


def _read_record(directory: Path) -> dict[str, Any]:
    try:
        record = json.loads((directory / "result.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{directory} is not a finished run: expected a result.json in it ({error})."
        ) from error
    if not isinstance(record, dict) or "metrics" not in record:
        raise ModelError(f"{directory / 'result.json'}: expected the record of a run.")
    return record


def _moved(path: Path | None, source: Path, target: Path) -> Path | None:
    """Return where a file of a run's own data is after the run was copied; other files stay."""
    if path is None or not path.resolve().is_relative_to((source / DATA).resolve()):
        return path
    return target / DATA / path.name


def _with_moved_files(record: Mapping[str, Any], source: Path, target: Path) -> dict[str, Any]:
    data = dict(record.get("data", {}))
    if "files" in data:
        data["files"] = {
            name: str(_moved(Path(path), source, target)) for name, path in data["files"].items()
        }
    return {**record, "data": data}
