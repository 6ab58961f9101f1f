"""Training tables with changed copies of their texts, made before they are tokenized.

A copy is a row like any other: batches, the convex start of a head and the cache of frozen blocks, whose key
is the content, take it as it is. What divides the training set afterwards must not part a row and its copies
(:attr:`Enlarged.sources`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nlptl.data.augment.eda import eda
from nlptl.data.augment.typos import typos
from nlptl.data.augment.words import Word, join_words, split_words, tagged_words
from nlptl.data.progress import bar
from nlptl.models.near_words import as_near, near_words
from nlptl.tasks.base import Task
from nlptl.train.copies import changed_fields
from nlptl.train.machine import from_main

if TYPE_CHECKING:
    from nlptl.train.setup import FinetuneArgs

#: Rows that are changed at a time, and the number that sets these draws apart from others of a seed.
CHUNK, STREAM = 500, 11
#: Function of the words of some texts, and a generator for each, that gives their new words.
Change = Callable[[Sequence[Sequence[Word]], Sequence[np.random.Generator]], list[list[Word]]]


@dataclass(frozen=True)
class Enlarged:
    """A training table with copies.

    Attributes:
        table: The rows, then their copies, ordered by row.
        sources: Number of the row that each row is, or is a copy of, shape ``(rows,)``.
        record: What was done, as JSON.
    """

    table: Any
    sources: np.ndarray
    record: dict[str, Any]

    def __str__(self) -> str:
        about, rows = self.record, self.record["rows"]
        by = f" by {about['by']}" if about["by"] else ""
        return (
            f"copies: {about['copies']:,} of {rows:,} training texts ({about['way']}{by}, alpha "
            f"{about['alpha']:g}), {about['seconds']:.1f} s"
        )


def enlarged(table: Any, task: Task, args: "FinetuneArgs", accelerator: Any) -> Enlarged:
    """Put changed copies of a training table's rows behind them.

    A copy differs from its row, and from the row's other copies; of a text that was not changed in so many
    ways there are fewer. The draws of a row depend on the seed and its number alone. One process changes the
    texts for all.

    Args:
        table: Training examples.
        task: Their task, which says which fields change.
        args: Arguments with ``augment`` and its numbers, the checkpoint and the seed.
        accelerator: Accelerator of the run.
    """
    began = time.perf_counter()
    found: tuple[list[int], dict[str, list[Any]], str] | None = None
    if accelerator.is_main_process:
        change, by = change_of(table, task, args, accelerator.device)
        found = (*copies_of(table, task, change, args), by)
    given = from_main(found, accelerator)
    assert given is not None  # the main process made it
    sources, columns, by = given
    record = {
        "way": args.augment,
        "by": by,
        "alpha": args.augment_alpha,
        "rows": len(table),
        "copies": len(sources),
        "seconds": round(time.perf_counter() - began, 3),
    }
    places = np.concatenate([np.arange(len(table)), np.asarray(sources, int)])
    return Enlarged(with_rows_like(table, sources, columns), places, record)


def change_of(table: Any, task: Task, args: "FinetuneArgs", device: Any) -> tuple[Change, str]:
    """Return what changes words, and the checkpoint that it takes them from, if any.

    Args:
        table: Training examples, whose words near words are looked up for.
        task: Their task.
        args: Arguments.
        device: Device of a masked language model.
    """
    alpha, name = args.augment_alpha, args.augment_model or args.model
    if args.augment == "mlm":
        from nlptl.models.masked_words import masked_words

        model = masked_words(name, device)
        return lambda texts, rngs: model(texts, alpha, rngs), model.name
    if args.augment == "typos":
        return partial(each_alone, lambda words, rng: typos(words, alpha, rng=rng)), ""
    own = {word.text for rows in chunks(table, task) for text, _ in rows for word in text}
    near = as_near(near_words(name, own))
    return partial(each_alone, lambda words, rng: eda(words, alpha, rng=rng, near=near)), name


def each_alone(
    function: Callable[[Sequence[Word], np.random.Generator], list[Word]],
    texts: Sequence[Sequence[Word]],
    rngs: Sequence[np.random.Generator],
) -> list[list[Word]]:
    """Change one text after the other."""
    return [function(words, rng) for words, rng in zip(texts, rngs, strict=True)]


def chunks(table: Any, task: Task) -> "Iterator[list[Text]]":
    """Yield the words of some rows' texts, and what stands after the last: row by row, field by field."""
    fields = changed_fields(task)
    tagged = task.split_into_words
    for start in range(0, len(table), CHUNK):
        part = table.select(range(start, min(start + CHUNK, len(table))))
        columns = [part[name][:] for name in fields]
        if tagged:
            tags = part[task.label][:] if task.label in part.column_names else [None] * len(part)
            yield [(tagged_words(*row), "") for row in zip(columns[0], tags, strict=True)]
        else:
            yield [split_words(text) for row in zip(*columns, strict=True) for text in row]


def copies_of(
    table: Any, task: Task, change: Change, args: "FinetuneArgs"
) -> tuple[list[int], dict[str, list[Any]]]:
    """Change each row's texts so many times, and drop what is not new.

    Args:
        table: Training examples.
        task: Their task.
        change: What changes words.
        args: Arguments with the number of copies and the seed.

    Returns:
        The row that each copy is of, and the values of the columns that differ.
    """
    width = len(changed_fields(task))
    asked = args.augment_copies if args.augment_alpha > 0 else 0
    sources: list[int] = []
    names = written(table, task)
    columns: dict[str, list[Any]] = {name: [] for name in names}
    shown = bar(len(table) * asked, "copies")
    try:
        for number, texts in enumerate(chunks(table, task) if asked else ()):
            first, words = number * CHUNK, [own for own, _ in texts]
            rngs = [
                np.random.default_rng([args.seed, STREAM, first + item // width, item % width])
                for item in range(len(texts))
            ]
            made = []
            for _ in range(asked):
                changed = change(words, rngs)
                rests = (rest for _, rest in texts)
                made.append(list(zip(changed, rests, strict=True)))
                shown.update(len(texts) // width)
            for row, values in new_values(task, texts, made, width):
                sources.append(first + row)
                for name, value in zip(names, values, strict=True):
                    columns[name].append(value)
    finally:
        shown.close()
    return sources, columns


#: Words of a text, and what stands after the last of them.
Text = tuple[Sequence[Word], str]


def new_values(
    task: Task, texts: Sequence[Text], made: Sequence[Sequence[Text]], width: int
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield each row's number and the values of each copy that is new, row by row.

    Args:
        task: Task of the rows.
        texts: The rows' texts, field by field.
        made: The changed texts of each copy, in the same order.
        width: Number of fields.
    """
    for row in range(len(texts) // width):
        own = slice(row * width, (row + 1) * width)
        seen = [values_of(task, texts[own])]
        for copy in made:
            values = values_of(task, copy[own])
            if values not in seen:
                seen.append(values)
                yield row, values


def written(table: Any, task: Task) -> tuple[str, ...]:
    """Name the columns that a copy's words are written to: the fields, and of tagged words the tags."""
    tagged = task.split_into_words and task.label in table.column_names
    return (*changed_fields(task), *[task.label] * tagged)


def values_of(task: Task, texts: Sequence[Text]) -> tuple[Any, ...]:
    """Write the words of a row as the values of :func:`written`."""
    if not task.split_into_words:
        return tuple(join_words(words, rest) for words, rest in texts)
    words, tags = ([word.text for word in texts[0][0]], [word.tag for word in texts[0][0]])
    return (words,) if all(tag is None for tag in tags) else (words, tags)


def with_rows_like(table: Any, sources: Sequence[int], columns: Mapping[str, Sequence[Any]]) -> Any:
    """Put rows behind those of a table, each like one of them but for some columns.

    Args:
        table: A :class:`datasets.Dataset`.
        sources: Number of the row that each new row is like.
        columns: Values of the columns that differ.
    """
    import pyarrow
    from datasets import Dataset, concatenate_datasets

    if not len(sources):
        return table
    rows = table.select(sources).with_format("arrow")[:]
    for name, values in columns.items():
        place = rows.schema.get_field_index(name)
        kind = rows.schema.field(name).type
        rows = rows.set_column(place, rows.schema.field(name), pyarrow.array(values, type=kind))
    return concatenate_datasets([table, Dataset(rows, info=table.info.copy())])
