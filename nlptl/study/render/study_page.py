"""A study of methods as one HTML file that loads nothing: headline, picture, tables, what the arms are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptl.data.files import write_whole
from nlptl.data.text import plain
from nlptl.study.judging import headline
from nlptl.study.render.comparison_text import versions_line
from nlptl.study.render.files import write_pictured
from nlptl.study.render.pages import Answer, Table, inline, write_page


@dataclass(frozen=True)
class Part:
    """A table with its notes.

    Attributes:
        title: Title of the section.
        table: The table.
        notes: Sentences below it.
    """

    title: str
    table: Table
    notes: Sequence[str] = ()


def study_page(
    record: Mapping[str, Any],
    name: str,
    title: str,
    answer: Answer,
    picture: tuple[str, str],
    svg: str,
    parts: Sequence[Part],
    arms: Mapping[str, str],
) -> str:
    """Write a study as a page without scripts or remote files; everything from data is escaped.

    Args:
        record: What the study's JSON holds; ``test``, ``seeds`` and ``versions`` are read here.
        name: Name of the study's files.
        title: What was studied: data, model, mode.
        answer: The question and its answer, at the top.
        picture: Title of the picture, and what it shows in a few words.
        svg: The picture, from :func:`nlptl.study.render.style.as_svg`.
        parts: Tables with their notes.
        arms: Name of each arm to what it is.

    Returns:
        The file's text.
    """
    return write_page(
        "study.html",
        Path(__file__).parent,
        name=name,
        title=plain(title),
        answered=answer,
        picture=picture,
        figure=inline(svg, name),
        parts=parts,
        arms=arms,
        test=plain(record["test"]),
        seeds=", ".join(str(seed) for seed in record["seeds"]),
        versions=versions_line(record),
    )


def write_study(
    record: Mapping[str, Any],
    name: str,
    drawn: tuple[str, Any, str],
    page: Callable[[Mapping[str, Any], str], str],
    directory: Path,
) -> None:
    """Write a study: ``NAME.json``, ``.md``, ``.html`` and one picture.

    Args:
        record: What the JSON holds.
        name: Name of all files.
        drawn: The table as Markdown, the matplotlib figure, and what it shows in a few words.
        page: Function of the record and the picture's SVG that writes the page.
        directory: Made if it is not there.
    """
    svg = write_pictured(record, name, *drawn, directory)
    write_whole(directory / f"{name}.html", page(record, svg))


def judged_answer(question: str, words: Sequence[str], what: str, sentence: str) -> Answer:
    """Answer a question by the words of a study's comparisons.

    Args:
        question: The question.
        words: Word of each comparison, from :mod:`nlptl.study.judging`.
        what: Plural of what is compared, such as ``methods``.
        sentence: The study's sentence.
    """
    return Answer(question, headline(words, what), plain(sentence), *tone(words))


def tone(words: Sequence[str]) -> tuple[str, str]:
    """Return the sign and the tone of an answer: good where something helped, bad where something only hurt.

    Args:
        words: Word of each comparison, from :mod:`nlptl.study.judging`.
    """
    if "helped" in words:
        return "▲", "good"
    return ("▼", "bad") if "hurt" in words else ("?", "open")
