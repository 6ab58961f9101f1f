"""Tables as plain text cells, which Markdown and the page both show; the report's evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nlptl.data.text import plain
from nlptl.study.render.pages import Table
from nlptl.study.render.words import NONE, arms, points


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        name: Also that of its picture, if there is one.
        title: Heading.
        lead: What is shown.
        picture: The picture in words.
        tables: All numbers.
        method: How it was measured, for a note at the end; nothing where the lead says it all.
        half: Whether half a page is wide enough for it.
    """

    name: str
    title: str
    lead: str
    picture: str
    tables: tuple[Table, ...]
    method: str = ""
    half: bool = False


def evidence(record: Mapping[str, Any]) -> list[Table]:
    """List what was compared, how each arm was trained, and with which versions.

    Args:
        record: The report's record.

    Returns:
        Three tables, as far as there is something to put into them.
    """
    ident = record["id"]
    rows = tuple(
        (name.replace("_", " "), _value(ident[name]))
        for name in ident
        if name != "versions" and ident[name] not in (None, [])
    )
    tuned = tuple((title, *_tuning(arm["tuned"])) for _, title, arm in arms(record) if arm["tuned"])
    versions = tuple((plain(name), plain(value)) for name, value in ident["versions"].items())
    columns = ("arm", "rate", "epochs", "rates tried")
    found = [
        Table("What was compared", ("name", "value"), rows, numbers=False),
        Table("How the arms were trained", columns, tuned, numbers=False),
        Table("Versions", ("package", "version"), versions, numbers=False),
    ]
    return [table for table in found if table.rows]


def _value(value: object) -> str:
    return ", ".join(map(plain, value)) if isinstance(value, list) else plain(value)


def _tuning(tuned: Mapping[str, Any]) -> tuple[str, str, str]:
    tried = ", ".join(f"{plain(rate)}: {points(s)}" for rate, s in (tuned["tried"] or {}).items())
    return f"{tuned['learning_rate']:g}", f"{tuned['epochs']:g}", tried or NONE


def best_part(shift: Mapping[str, Any]) -> int | None:
    """Find where the probe does best.

    Args:
        shift: The record's block.

    Returns:
        An index into ``parts``; None where it is not known.
    """
    best = shift["best_layer"]
    return best if best is not None and 0 <= best < len(shift["parts"] or ()) else None
