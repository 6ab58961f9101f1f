"""The table and the picture of an adaptation: each method between its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlptl.data.text import escaped, plain
from nlptl.methods.adapt.options import SOURCE, TARGET
from nlptl.study.render.comparison_text import versions_line
from nlptl.study.render.study_page import Part
from nlptl.study.render.study_text import study_text
from nlptl.study.render.style import BAND, GREY, STYLE, blank, label
from nlptl.study.render.tables import (
    TONES,
    between,
    counted,
    draw_difference,
    markdown_table,
    more,
    study_table,
)
from nlptl.study.render.words import NONE, duration, number, p_value, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nlptl.study.render.pages import Table

#: Columns of a pair's table.
COLUMNS = (
    *("", "score", "against source-only", "verdict", "p (Holm)", "95 % of the score"),
    *("share of the gap", "source forgotten", "A-distance", "seconds"),
)
#: Columns of the table over all pairs.
OVERALL = ("", "mean score", "against source-only", "verdict", "p (Holm)", "pairs", "seconds")
#: Columns that the terminal shows.
SHOWN = ("score", "mean score", "against source-only", "verdict")


def cells(name: str, one: Mapping[str, Any]) -> list[str]:
    """Write the cells of an arm's row.

    Args:
        name: Name of the arm.
        one: Its row.
    """
    share, lost = one["share"], one["forgetting"]
    return [
        name,
        points(one["mean"]),
        more(one["difference"]),
        one.get("word") or "bound",
        p_value(one["p"]) if "p" in one else NONE,
        between(one["ci95"][0], one["ci95"][1]),
        f"{number(100 * share['mean'], 0)} % [{between(share['low'], share['high'], digits=0)}]"
        if share
        else NONE,
        points(lost["mean"], signed=True) if lost and name != SOURCE else NONE,
        number(one["distance"]),
        duration(one["seconds"]),
    ]


def notes(record: Mapping[str, Any], pair: Mapping[str, Any]) -> list[str]:
    """List what is to be read below a pair's table.

    Args:
        record: From :func:`nlptl.methods.adapt.adapt.adapt`.
        pair: The pair's record.
    """
    said = []
    gap, floor = pair["gap"], pair["floors"]
    size = f"{more(gap)} points"
    if not gap["shown"]:
        said.append(
            f"The gap between source-only and target-only is {size}: not sure enough for shares of it."
        )
    else:
        said.append(f"The gap between source-only and target-only is {size}.")
    words = f", a bag of words {points(floor['bag_of_words'])}" if floor["bag_of_words"] else ""
    said.append(
        f"Without a pretrained model: always one answer {points(floor['majority'])}{words}."
    )
    said.append(
        f"Proxy A-distance of the untouched checkpoint's states: {number(pair['distance_before'])} (0: the "
        "domains "
        "cannot be told apart; 2: completely)."
    )
    for name, one in pair["rows"].items():
        if one["domain_accuracy"]:
            each = ", ".join(f"{100 * share:.0f}" for share in one["domain_accuracy"])
            said.append(f"{name}: domain accuracy by epoch, in percent: {each} (chance 50).")
        before, after = one["lm_loss"]
        if before is not None and after is not None:
            said.append(
                f"{name}: held-out masked-LM loss {before:.3f} before, {after:.3f} after, nats a token."
            )
    for name, scores in pair["tried"].items():
        each = ", ".join(f"{weight:g}: {points(score)}" for weight, score in scores.items())
        said.append(
            f"{name}: weight chosen by {record['selection']['weight']} validation ({each})."
        )
    return [*said, *pair["warnings"]]


def markdown(record: Mapping[str, Any]) -> str:
    """Write the study as Markdown: the sentence, and a table for each pair.

    Args:
        record: From :func:`nlptl.methods.adapt.adapt.adapt`.
    """
    lines = [f"**{escaped(record['sentence'])}**", "", escaped(about(record)), ""]
    if record["overall"]:
        lines += [*markdown_table(overall_table(record)), ""]
    for pair in record["pairs"]:
        lines += [
            escaped(pair_line(pair)),
            "",
            *markdown_table(pair_table(record, pair)),
            "",
            *(f"- {escaped(note)}" for note in notes(record, pair)),
            "",
        ]
    lines += [f"{record['test']}", "", versions_line(record)]
    return "\n".join(lines) + "\n"


def text(record: Mapping[str, Any]) -> str:
    """Write the study for the terminal: a table for each pair, and the sentence.

    Args:
        record: From :func:`nlptl.methods.adapt.adapt.adapt`.
    """
    parts = [Part("All pairs:", overall_table(record))] if record["overall"] else []
    for pair in record["pairs"]:
        parts.append(Part(pair_line(pair), pair_table(record, pair), pair["warnings"]))
    return study_text(record, about(record), parts, SHOWN)


def about(record: Mapping[str, Any]) -> str:
    """Say in a line what was studied."""
    where = f"{record['model']}, {record['mode']}, {counted(record['seeds'])}"
    return f"{where}; {record['metric']} on the target, in points."


def pair_line(pair: Mapping[str, Any]) -> str:
    """Say in a line what a pair's arms had."""
    n = pair["n"]
    return (
        f"{pair['pair']}: {n['train']} + {n['validation']} labels of the source, {n['target']} texts and "
        f"{n['test']} test examples of the target."
    )


def pair_table(record: Mapping[str, Any], pair: Mapping[str, Any]) -> Table:
    """Return the table of a pair."""
    rows = [cells(plain(name), one) for name, one in pair["rows"].items()]
    return study_table(f"{record['metric']} on the target, in points", COLUMNS, rows)


def overall_table(record: Mapping[str, Any]) -> Table:
    """Return the table over all pairs."""
    rows = []
    for name, one in record["overall"]["rows"].items():
        counts = ", ".join(f"{count} {word}" for word, count in one["words"].items())
        rows.append(
            [
                name,
                points(one["mean"]),
                more(one["difference"]),
                one.get("word") or "bound",
                p_value(one["p"]) if "p" in one else NONE,
                counts or NONE,
                duration(one["seconds"]),
            ]
        )
    return study_table(f"{record['metric']}, in points", OVERALL, rows)


def figure(record: Mapping[str, Any]) -> Figure:
    """Draw each method's score with its interval between the two bounds; over pairs, its differences.

    Args:
        record: From :func:`nlptl.methods.adapt.adapt.adapt`.
    """
    from matplotlib import rc_context

    own = record["overall"] or record["pairs"][0]
    names = [name for name, one in own["rows"].items() if not one["bound"]]
    shown = names if record["overall"] else [SOURCE, *names, TARGET]
    with rc_context(STYLE):
        made = blank(0.42 * len(shown) + 1.4)
        axes = made.subplots()
        if record["overall"]:
            _differences(axes, record, names)
        else:
            _between(axes, record, own["rows"], shown)
        labels = [
            f"{label(name, 24)}\n{own['rows'][name].get('word') or 'bound'}" for name in shown
        ]
        axes.set_yticks(range(len(shown)), labels)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        where = own["pair"] if "pair" in own else f"{own['pairs']} pairs of domains"
        axes.set_title(label(where, 48))
    return made


def _between(
    axes: Axes, record: Mapping[str, Any], rows: Mapping[str, Any], names: list[str]
) -> None:
    low, high = (100 * rows[name]["mean"] for name in (SOURCE, TARGET))
    axes.axvspan(min(low, high), max(low, high), color=BAND, zorder=0)
    for at, line in ((low, "-"), (high, "--")):
        axes.axvline(at, color=GREY, linewidth=1, linestyle=line)
    for place, name in enumerate(names):
        one = rows[name]
        colour, marker = ("#000000", "D") if one["bound"] else TONES[one["word"]]
        if not one["bound"]:
            ends = [low + 100 * one["difference"][end] for end in ("low", "high")]
            axes.plot(ends, [place, place], color=colour, linewidth=2)
        axes.plot(100 * one["mean"], place, marker, color=colour, markersize=8, gid=f"arm-{place}")
    axes.set_xlabel(
        f"{label(record['metric'], 24)} on the target, points;\nbars: 95 % of the difference"
    )


def _differences(axes: Axes, record: Mapping[str, Any], names: list[str]) -> None:
    axes.axvline(0, color=GREY, linewidth=1)
    for place, name in enumerate(names):
        one = record["overall"]["rows"][name]
        each = [100 * pair["rows"][name]["difference"]["mean"] for pair in record["pairs"]]
        axes.plot(each, [place] * len(each), ".", color="#BBBBBB", markersize=5, zorder=1)
        draw_difference(axes, place, one)
    axes.set_xlabel("points more than source-only;\ngrey: each pair")
