"""Names beside the points of a picture, so placed that none lies on another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nlptl.study.render.style import GREY, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

#: Points of print between a point and its name, and from one line to the next.
APART, LINE = 8, 10


def label_points(axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]]) -> None:
    """Write a name beside each point.

    The place is the nearest, to the right or to the left, in which the name covers no other name and no point,
    and stays within the axes; names that lie farther away get a thin line to their point.

    Args:
        axes: With its limits set.
        names: A name for each point.
        points: Their places, in the data's units.
    """
    from matplotlib.transforms import Bbox

    figure: Any = axes.figure
    figure.draw_without_rendering()
    size = 4 * figure.dpi / 72
    pixels = axes.transData.transform(points)
    taken = [Bbox.from_bounds(x - size, y - size, 2 * size, 2 * size) for x, y in pixels]
    frame = axes.get_window_extent()
    for place in sorted(range(len(names)), key=lambda n: -points[n][1]):
        text = axes.annotate(
            label(names[place], 28),
            points[place],
            xytext=(APART, 0),
            textcoords="offset points",
            va="center",
            size=8.5,
            gid=f"name-{place}",
            arrowprops={
                "arrowstyle": "-",
                "color": GREY,
                "linewidth": 0.5,
                "shrinkA": 0,
                "shrinkB": 3,
            },
        )
        text.set_in_layout(False)
        taken.append(_put(text, pixels[place], taken, frame))


def _put(text: Annotation, point: tuple[float, float], taken: Sequence[Bbox], frame: Bbox) -> Bbox:
    """Move a name to the first free place; return its box in pixels."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    width, height = Text.get_window_extent(text).size
    scale = text.figure.dpi / 72
    boxes = []
    for x, y, side in _places():
        left = point[0] + x * scale - (width if side == "right" else 0)
        boxes.append(Bbox.from_bounds(left, point[1] + y * scale - height / 2, width, height))
        inside = frame.x0 <= left and boxes[-1].x1 <= frame.x1
        inside &= frame.y0 <= boxes[-1].y0 and boxes[-1].y1 <= frame.y1
        if inside and not boxes[-1].count_overlaps(taken):
            break
    else:  # no room anywhere
        x, y, side, boxes = APART, 0.0, "left", boxes[:1]
    text.set_position((x, y))
    text.set_horizontalalignment(side)
    if text.arrow_patch is not None:
        text.arrow_patch.set_visible(abs(y) > LINE)
    return boxes[-1]


def _places() -> Iterator[tuple[float, float, Literal["left", "right"]]]:
    for step in range(12):
        for rise in {step * LINE / 2, -step * LINE / 2}:
            yield APART, rise, "left"
            yield -APART, rise, "right"
