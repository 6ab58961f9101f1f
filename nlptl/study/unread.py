"""Flags that no chosen method reads: what is asked for and would count for nothing is a mistake."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from nlptl.errors import Problems, listed

#: A flag of every study that fine-tunes, which only some measure with.
FORGETTING = "upstream_text"


def check_read(config: Any, readers: Mapping[str, Sequence[str]], run: Collection[str]) -> None:
    """Make sure that each flag that was given is read by a method that is run.

    Args:
        config: Flags of a study; a value that is the default counts as not given.
        readers: Name of a field to the methods that read it; to none, where the study never does.
        run: Methods that are run.

    Raises:
        UserError: With all flags that nothing reads.
    """
    problems = Problems()
    usual = {field.name: field.default for field in fields(config)}
    for name, methods in readers.items():
        value = getattr(config, name, None)
        if value == usual.get(name) or set(methods) & set(run):
            continue
        words = value if isinstance(value, tuple) else (value,)
        flag = f"--{name.replace('_', '-')} {' '.join(map(str, words))}"
        if methods:
            problems.add(
                f"{flag}: only {listed(methods)} {'read' if methods[1:] else 'reads'} it, and "
                f"{'none of them is' if methods[1:] else 'it is not'} run here. Leave the flag out, or add "
                "the method."
            )
        else:
            problems.add(f"{flag}: nothing reads it in this study. Leave the flag out.")
    problems.raise_if_any()
