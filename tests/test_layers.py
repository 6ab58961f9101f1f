"""The architecture, as a test: which part of nlptl may import which."""

import ast
import json
import pathlib

from launching import command

PACKAGE = pathlib.Path(__file__).parent.parent / "nlptl"
BASE = {"errors", "records", "registry"}
NUMBERS = {"data", "metrics", "models", "stats"}
ALLOWED = {
    "errors": set(),
    "registry": {"errors"},
    "records": set(),
    "stats": BASE,
    "metrics": BASE,
    "data": BASE,
    "models": BASE | {"data"},
    "modes": BASE | NUMBERS,
    "tasks": BASE | NUMBERS,
    "train": BASE | NUMBERS | {"modes", "tasks"},
    "pretrain": BASE | NUMBERS | {"modes", "tasks", "train"},
    "runs": BASE | NUMBERS | {"modes", "tasks", "train", "pretrain"},
    "study": BASE | NUMBERS | {"modes", "tasks", "train", "pretrain", "runs"},
    "report": BASE | NUMBERS | {"modes", "tasks", "train", "pretrain", "runs", "study"},
    "__main__": {"cli"},
}
CORE = set(ALLOWED)  # a method may import any core part, and no other method
ALLOWED["cli"] = CORE | {"methods"}
#: Imports that still run upwards; each goes when its room is rebuilt.
WAITING: dict[str, set[str]] = {}


def nlptl_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} uses a relative import"
            assert node.module != "nlptl", (
                f"{path}:{node.lineno} imports the package from inside it"
            )
            names = [node.module]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1:] for name in names if name.startswith("nlptl."))


def violations(package):
    checked, found = 0, []
    for path in package.rglob("*.py"):
        part, *rest = path.relative_to(package).with_suffix("").parts
        if part == "__init__":
            continue
        for target, *below in nlptl_imports(path):
            checked += 1
            if part == "methods":
                allowed = target in CORE or (target == "methods" and below[:1] == rest[:1])
            else:
                allowed = target == part or target in ALLOWED[part] | WAITING.get(part, set())
            if not allowed:
                found.append(f"{path} may not import nlptl.{'.'.join([target, *below])}")
    assert checked > 0, f"found no nlptl imports under {package.resolve()}"
    return found


def test_imports_follow_the_map():
    assert violations(PACKAGE) == []


def test_the_guard_sees_an_upward_import(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "bad.py").write_text("from nlptl.train.loop import fit\n")
    assert len(violations(tmp_path)) == 1


#: What a plain fine-tuning imports nothing of.
ELSEWHERE = ("report", "study", "pretrain", "methods")
BUDGET = """
import json, runpy, sys
sys.argv = ["recipes/sentiment.py", *sys.argv[1:]]
runpy.run_path("recipes/sentiment.py", run_name="__main__")
print(json.dumps([name for name in sys.modules if name.startswith("nlptl.")]))
"""


def test_a_plain_fine_tuning_imports_what_it_uses(checkpoints, reviews, tmp_path):
    """Two epochs with cached states, from the command line to the saved run."""
    done = command(
        *("-c", BUDGET, "--model", checkpoints["bert"], "--train-file", reviews),
        *("--mode", "freeze-lower-1", "--epochs", 2, "--output-dir", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stdout.splitlines()[-1])
    rooms = {name.split(".")[1] for name in modules}
    assert {"cli", "data", "models", "modes", "runs", "tasks", "train"} <= rooms
    assert not rooms & set(ELSEWHERE)
    own = {"nlptl.tasks.classification", "nlptl.tasks.question_answering"} & set(modules)
    assert own == {"nlptl.tasks.classification"}


def test_few_files_stand_at_the_root():
    root = sorted(path.name for path in PACKAGE.iterdir() if path.is_file())
    assert root == [
        "__init__.py",
        "__main__.py",
        "errors.py",
        "py.typed",
        "records.py",
        "registry.py",
    ]


def test_functions_and_files_have_a_size_that_one_can_read():
    """No body over 70 lines, no file over 500; docstrings do not count in a body."""
    long, large = [], []
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if len(text.splitlines()) > 500:
            large.append(path.name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                begins = first.end_lineno + 1 if documented else node.lineno
                if node.end_lineno - begins + 1 > 70:
                    long.append(f"{path.name}: {node.name}")
    assert not long and not large
