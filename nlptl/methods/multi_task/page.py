"""The study as one HTML file that loads nothing."""

from collections.abc import Mapping
from typing import Any

from nlptl.data.text import plain
from nlptl.methods.multi_task.options import WHAT
from nlptl.methods.multi_task.render import notes, whole_table
from nlptl.methods.multi_task.verdict import compared
from nlptl.study.render.study_page import Part, judged_answer, study_page


def page(record: Mapping[str, Any], svg: str) -> str:
    """Write the study as a page.

    Args:
        record: From :func:`nlptl.methods.multi_task.multi_task.multi_task`.
        svg: Its picture.
    """
    words = [one["word"] for one in compared(record["tasks"]).values()]
    answer = judged_answer(
        "Did a task win by the others?", words, "comparisons", record["sentence"]
    )
    arms = {arm for task in record["tasks"].values() for arm in task["rows"]}
    return study_page(
        record,
        "multi_task",
        f"{', '.join(record['tasks'])}, {record['model']}, {record['mode']}",
        answer,
        ("Against the task alone", "Difference of each arm to the same task alone"),
        svg,
        [Part("Each task", whole_table(record), [plain(note) for note in notes(record)])],
        {name: what for name, what in WHAT.items() if name in arms},
    )
