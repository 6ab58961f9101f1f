"""The study as one HTML file that loads nothing."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptl.data.text import plain
from nlptl.methods.adapt.render import COLUMNS, cells, notes, overall_table

#: What matplotlib says about a picture, with addresses.
METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


def page(record: Mapping[str, Any], svg: str) -> str:
    """Write the study as a page without scripts, remote files or anything that is not escaped.

    Args:
        record: From :func:`nlptl.methods.adapt.adapt.adapt`.
        svg: Its picture.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(Path(__file__).with_name("page.html").read_text("utf-8"))
    tables = []
    if record["overall"]:
        columns, rows = overall_table(record)
        tables.append({"title": "All pairs", "columns": columns, "rows": rows, "notes": []})
    for pair in record["pairs"]:
        tables.append(
            {
                "title": plain(pair["pair"]),
                "columns": COLUMNS,
                "rows": [cells(plain(name), one) for name, one in pair["rows"].items()],
                "notes": [plain(note) for note in notes(record, pair)],
            }
        )
    used = {name: one["what"] for name, one in record["pairs"][0]["rows"].items()}
    words = [one.get("word") for one in (record["overall"] or record["pairs"][0])["rows"].values()]
    return template.render(
        title=f"{plain(record['pairs'][0]['pair'])}, {plain(record['model'])}, {plain(record['mode'])}",
        headline=headline([word for word in words if word]),
        sentence=plain(record["sentence"]),
        picture=Markup(METADATA.sub("", svg[svg.index("<svg") :])),  # noqa: S704  our own drawing
        tables=tables,
        methods=used,
        test=record["test"],
        version=plain(record["versions"].get("nlptl", "")),
    )


def headline(words: list[str]) -> str:
    """Say the whole in a few words.

    Args:
        words: Verdict of each method.
    """
    helped, hurt = words.count("helped"), words.count("hurt")
    if not helped and not hurt:
        return "No method made a difference that is beyond chance"
    parts = [f"{helped} of {len(words)} methods helped"] * bool(helped)
    return ", ".join([*parts, *[f"{hurt} of {len(words)} hurt"] * bool(hurt)])
