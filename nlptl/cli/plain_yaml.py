"""YAML that means what it looks like: no key twice, no number that a reader would take for another."""

import re
from typing import Any

import yaml

#: Whole numbers as people write them. YAML 1.1 reads 010 as 8, 1:30 as 90 and 0b11 as 3.
WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$")
FRACTION = re.compile(
    r"""[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9_]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$
    |\.(?:nan|NaN|NAN)$""",
    re.VERBOSE,
)
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_TAGS = (_INT, _FLOAT, "tag:yaml.org,2002:timestamp")


class _Plain(yaml.SafeLoader):
    """A loader for flags: what is neither a plain number, true, false nor null is text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Make a mapping whose keys all differ, ``-`` and ``_`` taken for the same."""
        seen: dict[str, Any] = {}
        for key, _ in node.value:
            name = str(key.value).replace("-", "_")
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key.value}' stands there twice; keep one", key.start_mark
                )
            seen[name] = key
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Make a value; one that its tag does not fit is an error of YAML, with its line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
            kind = str(node.tag).rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{str(node.value)[:40]!r} is no {kind}", node.start_mark
            ) from error


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in kinds if tag not in _TAGS]
    for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Plain.add_implicit_resolver(_INT, WHOLE, list("-+0123456789"))
_Plain.add_implicit_resolver(_FLOAT, FRACTION, list("-+0123456789."))


def plain_yaml(text: str) -> Any:
    """Read YAML; dates, octal and sexagesimal numbers stay text, which a flag's type then refuses.

    Example:
        >>> plain_yaml("seed: 010"), plain_yaml("batch-size: 8")
        ({'seed': '010'}, {'batch-size': 8})

    Raises:
        yaml.YAMLError: If it is not valid, or has a key twice.
        RecursionError: If it is nested too deeply.
    """
    return yaml.load(text, Loader=_Plain)  # noqa: S506  a safe loader's child
