"""What `import nlptl` promises: cheap, complete, documented."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import nlptl

MODULES = sorted(m.name for m in pkgutil.walk_packages(nlptl.__path__, "nlptl."))


def test_importing_is_cheap_and_touches_no_heavy_package():
    code = (
        "import sys, time; t = time.perf_counter(); import nlptl; t = time.perf_counter() - t;"
        "print(t, sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy = done.stdout.split(" ", 1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 0.3


def test_every_public_name_exists_and_is_documented():
    assert nlptl.__all__ == sorted(nlptl._HOME) and len(nlptl.__all__) > 10
    tree = ast.parse(Path(nlptl.__file__).read_text())
    typed = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert typed >= set(nlptl.__all__)
    for name in nlptl.__all__:
        assert getattr(nlptl, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = nlptl.nothing


def test_examples_in_docstrings_are_true():
    assert len(MODULES) > 20
    counts = [doctest.testmod(importlib.import_module(name)) for name in MODULES]
    assert sum(c.failed for c in counts) == 0
    assert sum(c.attempted for c in counts) >= 5
