"""The architecture, as a test: which part of nlptl may import which."""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).parent.parent / "nlptl"
BASE = {"errors", "exchange", "files", "processes", "records", "terminal", "versions"}
ALLOWED = {
    "errors": set(),
    "exchange": set(),
    "files": set(),
    "versions": set(),
    "processes": set(),
    "records": set(),
    "terminal": set(),
    "declared": BASE,
    "config": BASE | {"declared"},
    "ranges": BASE,
    "data": BASE,
    "models": BASE | {"data"},  # a new tokenizer is trained on texts
    "metrics": BASE,
    "modes": BASE | {"models"},
    "tasks": BASE | {"data", "metrics", "models"},
    "engine": BASE,
    "cache": BASE | {"data", "models"},
    "finetuning": BASE | {"cache", "data", "engine", "models", "modes", "tasks"},
    "model_card": set(),
    "run_records": BASE | {"finetuning", "pretraining"},
    "runs": BASE
    | {"config", "finetuning", "metrics", "model_card", "models", "pretraining", "run_records"},
    "predictors": BASE | {"data", "engine", "models", "tasks"},
    "cli": BASE | {"cache", "config", "data", "predictors", "reporting"},
    "__main__": {"cli"},
    "supervised": BASE
    | {"cache", "engine", "finetuning", "planning", "reporting", "runs", "tasks"},
    "reporting": BASE | {"config", "data", "evaluation", "models", "planning", "tasks"},
    "pretraining": BASE | {"data", "engine", "models", "tasks", "teaching"},
    "teaching": BASE | {"data", "evaluation", "models"},
    "planning": BASE
    | {"config", "data", "finetuning", "models", "modes", "ranges", "runs", "tasks"},
    "upstream_planning": BASE
    | {"data", "engine", "models", "modes", "planning", "ranges", "runs", "tasks"},
    "grid": BASE
    | {"cache", "evaluation", "finetuning", "planning", "ranges", "reporting", "runs", "tasks"},
    "comparing": BASE | {"evaluation", "grid", "planning"},
    "upstream_curve": BASE | {"engine", "evaluation", "grid", "metrics", "planning"},
    "evaluation": BASE
    | {"cache", "data", "engine", "finetuning", "metrics", "models", "modes", "tasks"},
}
CORE = set(ALLOWED)  # a method may import any core part, and no other method


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
                allowed = target == part or target in ALLOWED[part]
            if not allowed:
                found.append(f"{path} may not import nlptl.{'.'.join([target, *below])}")
    assert checked > 0, f"found no nlptl imports under {package.resolve()}"
    return found


def test_imports_follow_the_map():
    assert violations(PACKAGE) == []


def test_the_guard_sees_an_upward_import(tmp_path):
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "bad.py").write_text("from nlptl.tasks.base import Task\n")
    assert len(violations(tmp_path)) == 1
