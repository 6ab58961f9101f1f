"""The report's files."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptl.evaluation.render.figures import figures
from nlptl.evaluation.render.page import page
from nlptl.evaluation.render.style import as_png, as_svg
from nlptl.evaluation.render.text import markdown


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
    text = json.dumps(_finite(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    written = [_write(directory / "report.json", text.encode())]
    drawn, svgs, pictures = figures(record), {}, {}
    for name, figure in drawn.items():
        svgs[name], pictures[name] = as_svg(figure), f"report_{name}.png"
        written.append(_write(directory / pictures[name], as_png(figure)))
        written.append(_write(directory / f"report_{name}.svg", svgs[name].encode()))
    written.append(_write(directory / "report.md", markdown(record, pictures).encode()))
    written.append(_write(directory / "report.html", page(record, svgs).encode()))
    return written


def _write(path: Path, content: bytes) -> Path:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    return partial.replace(path)


def _finite(value: Any) -> Any:
    """JSON has no nan: what could not be computed is null."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
