"""YAML as people write it: no key twice, and no number that YAML 1.1 reads in another base.

YAML 1.1 reads ``010`` as 8, ``1:30`` as 90 and ``2001-01-01`` as a date. Here they stay texts, as they are
written: a flag that takes a number refuses them, and a column of that name is found.
"""

import re
from typing import Any

import yaml

from nlptl.errors import ConfigError, Problems, shortened

#: Most mappings and lists inside each other; flags need two.
DEEPEST = 20
#: Tags that YAML 1.1 finds in plain words, and that are read in another way here, or not at all.
REPLACED = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")


class StrictLoader(yaml.SafeLoader):
    """Safe loader that reads decimal numbers only, and notes keys that are there twice.

    Attributes:
        twice: Each key that is there again, with the lines of both, counted from 1.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twice: list[tuple[str, int, int]] = []

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        """Note the keys that are there twice, with - and _ the same; then build the mapping as usual."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = key.value.replace("-", "_"), key.start_mark.line + 1
            if name in lines:
                self.twice.append((key.value, lines[name], line))
            lines.setdefault(name, line)
        return super().construct_mapping(node, deep)


StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def read_strictly(text: str, name: str) -> Any:
    r"""Read a YAML document.

    Args:
        text: Content of the file.
        name: Flag and file, for messages.

    Raises:
        ConfigError: If it is no YAML, nested too deeply, has a value that its tag cannot hold, or has keys
            twice; all of these keys are named.

    Example:
        >>> read_strictly("seed: 010\nmodel: 2001-99-99\nepochs: 2.5", "--config a.yaml")
        {'seed': '010', 'model': '2001-99-99', 'epochs': 2.5}
    """
    loader = None
    try:
        _check_depth(text, name)
        loader = StrictLoader(text)
        values = loader.get_single_data()
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        raise ConfigError(f"{name} is not valid YAML: {shortened(str(error))}") from error
    finally:
        if loader is not None:
            loader.dispose()
    problems = Problems()
    for key, first, again in loader.twice:
        problems.add(f"{name} has the key '{key}' twice, in lines {first} and {again}. Remove one.")
    problems.raise_if_any()
    return values


def _check_depth(text: str, name: str) -> None:
    """Make sure that building the document needs no deep recursion; the parser itself needs none."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise ConfigError(
                f"{name}: more than {DEEPEST} lists or mappings stand inside each other, in line "
                f"{event.start_mark.line + 1}; expected 'flag: value' lines."
            )
