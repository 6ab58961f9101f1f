"""A record with its table and picture as files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptl.data.files import write_json, write_whole
from nlptl.study.render.style import as_png, as_svg


def write_pictured(
    record: Mapping[str, Any], name: str, table: str, figure: Any, alt: str, directory: Path
) -> str:
    """Write a record with its table and one picture: ``NAME.json``, ``.md``, ``.png`` and ``.svg``.

    Args:
        record: Goes first: whatever fails later, the numbers are safe.
        name: Name of all four files.
        table: Markdown.
        figure: A matplotlib figure.
        alt: What the picture shows, in a few words.
        directory: Made if it is not there.

    Returns:
        The picture as SVG.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / f"{name}.json", record)
    write_whole(directory / f"{name}.png", as_png(figure))
    svg = as_svg(figure)
    write_whole(directory / f"{name}.svg", svg)
    write_whole(directory / f"{name}.md", f"{table}\n![{alt}]({name}.png)\n")
    return svg
