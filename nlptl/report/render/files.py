"""The report's files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptl.data.files import write_json, write_whole
from nlptl.report.render.figures import figures
from nlptl.report.render.page import page
from nlptl.report.render.text import markdown
from nlptl.study.render.style import as_png, as_svg


def page_of(record: Mapping[str, Any]) -> str:
    """Make the page of a report with its pictures.

    Args:
        record: The report's record.
    """
    return page(record, {name: as_svg(figure) for name, figure in figures(record).items()})


def write_report(record: Mapping[str, Any], directory: Path) -> list[Path]:
    """Write every form of the report; none is ever seen half-written.

    The record goes first: whatever fails later, the numbers are safe.

    Args:
        record: The report's record.
        directory: Made if it is not there.

    Returns:
        ``report.json``, the pictures, ``report.md`` and ``report.html``, as paths.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = [write_json(directory / "report.json", record)]
    drawn, svgs, pictures = figures(record), {}, {}
    for name, figure in drawn.items():
        svgs[name], pictures[name] = as_svg(figure), f"report_{name}.png"
        written.append(write_whole(directory / pictures[name], as_png(figure)))
        written.append(write_whole(directory / f"report_{name}.svg", svgs[name]))
    written.append(write_whole(directory / "report.md", markdown(record, pictures)))
    written.append(write_whole(directory / "report.html", page(record, svgs)))
    return written
