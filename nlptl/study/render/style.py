"""How the pictures look, and how they become files."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

from nlptl.study.render.words import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe and Ito's (2008) blue and vermilion, which the colour-blind tell apart, and their markers.
COLOURS = {"pre": "#0072B2", "scratch": "#D55E00"}
MARKERS = {
    "pre": "o",
    "scratch": "s",
    "probe": "^",
    "random_probe": "v",
    "zero_shot": "D",
    "bow": "P",
    "majority": "X",
}
GREY, BAND = "#555555", "#EEF2F6"
#: Inches: as wide as a telephone's screen, so that the text stays legible there.
WIDTH = 4.3
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": [
        "DejaVu Sans",
        "Verdana",
        "Arial",
    ],  # measured in the first, which comes along
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "svg.fonttype": "none",  # text that can be read, searched and scaled
    "svg.hashsalt": "nlptl",  # the same record gives the same file
    "hatch.linewidth": 0.8,
}


def blank(height: float) -> Figure:
    """Make an empty figure, outside pyplot.

    Args:
        height: Inches.

    Returns:
        A figure of the common width that keeps its labels apart.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def label(text: object, width: int = 60) -> str:
    """Write text from the record as a picture takes it.

    Args:
        text: Anything.
        width: Characters at most.

    Returns:
        One line in which no dollar sign begins a formula.
    """
    return shorten(text, width).replace("$", r"\$")


def as_svg(figure: Figure) -> str:
    """Save a figure as SVG, the same for the same figure, with text as text.

    Args:
        figure: From :func:`nlptl.report.render.figures.figures`.

    Returns:
        A whole file.
    """
    return _saved(figure, format="svg", metadata={"Date": None, "Creator": None}).decode()


def as_png(figure: Figure) -> bytes:
    """Save a figure as PNG, 200 dots an inch.

    Args:
        figure: From :func:`nlptl.report.render.figures.figures`.

    Returns:
        A whole file.
    """
    return _saved(figure, format="png", dpi=200, metadata={"Software": None})


def _saved(figure: Figure, **options: Any) -> bytes:
    from matplotlib import rc_context

    with rc_context(STYLE), warnings.catch_warnings(), io.BytesIO() as file:
        # a name in Chinese is boxes in the PNG, and itself in the SVG
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(file, **options)
        return file.getvalue()
