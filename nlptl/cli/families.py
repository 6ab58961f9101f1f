"""``nlptl families``: the matrix of architectures and modes, checked on this machine."""

import shlex
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from nlptl.errors import Problems, suggest
from nlptl.models.loading import quiet_transformers
from nlptl.models.zoo import HEADS, architectures
from nlptl.study.families import Family, check_all
from nlptl.study.render.families import line, page, summary
from nlptl.train.terminal import say


def check_families(names: Sequence[str], output: Path | None) -> list[Family]:
    """Check architectures, print a line for each and the summary, and write the page.

    Args:
        names: Architectures (``model_type``); none for all.
        output: File for the page.

    Raises:
        UserError: If an architecture does not exist, or the page cannot be written; with every mistake.
    """
    known = list(dict.fromkeys(kind for head in HEADS for kind in architectures(head)))
    problems = Problems()
    for name in names:
        if name not in known:
            problems.add(
                f"'{name}': transformers has no architecture of this name with a head that nlptl trains."
                f"{suggest(name, known)}"
            )
    if output is not None and not output.parent.is_dir():
        problems.add(f"--output {output}: there is no folder {output.parent}. Make it first.")
    problems.raise_if_any()
    found = []
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each model's own opinions of tiny random models
        for family in check_all(names):
            say(line(family))
            found.append(family)
    say(f"\n{summary(found)}")
    if output is not None:
        command = shlex.join(["nlptl", "families", *names, "--output", str(output)])
        packages = ", ".join(
            f"{name} {version(name)}" for name in ("transformers", "torch", "peft")
        )
        output.write_text(page(found, packages, command), encoding="utf-8")
        say(f"\n{output}")
    return found
