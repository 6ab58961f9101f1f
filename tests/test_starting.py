"""Help comes at once: what takes seconds to import is imported when it is needed, not before."""

import pytest
from launching import command

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "peft",
    "accelerate",
    "sklearn",
    "scipy",
    "matplotlib",
)
SCRIPT = """
import runpy, sys
name, *sys.argv[1:] = sys.argv[1:]
try:
    if name.endswith(".py"):
        runpy.run_path(name, run_name="__main__")
    else:
        runpy.run_module(name, run_name="__main__")
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded:", *sorted({module.split(".")[0] for module in sys.modules}))
"""
NAMES = ("sentiment", "qa", "pretrain", "compare", "upstream_curve")


@pytest.mark.parametrize(
    "words",
    [
        *((f"recipes/{name}.py",) for name in NAMES),
        ("recipes/compare.py", "--task", "qa"),
        *(("nlptl",), ("nlptl", "predict"), ("nlptl", "train", "--task", "question-answering")),
    ],
)
def test_help_imports_nothing_heavy(words):
    """No clock: on a busy machine it says nothing, and these are what takes the time."""
    done = command("-c", SCRIPT, *words, "--help")
    assert done.returncode == 0, done.stderr
    shown, loaded = done.stdout.rsplit("loaded:", 1)
    assert "usage:" in shown
    assert "nlptl" in loaded.split()
    assert not set(loaded.split()) & set(HEAVY)
