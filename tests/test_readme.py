"""The commands and promises of the README and of docs/ hold: paths exist, flags parse, tables agree."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from nlptl.cli.config import TaskConfig, parse_args
from nlptl.modes.listing import modes_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = sorted((ROOT / "recipes").glob("*.py"))


def config_of(recipe):
    """The class of a recipe's configuration, as the recipe says it in its last line."""
    path = ROOT / f"recipes/{recipe}.py"
    (said,) = re.findall(r"run_recipe\(main, (.+), __doc__\)", path.read_text())
    return eval(said, runpy.run_path(str(path)))


def commands(start):
    """What follows the start of a command, wherever a page shows one."""
    text = "\n".join(page.read_text() for page in PAGES).replace("\\\n", " ")
    found = re.findall(r"```bash\n(.*?)```", text, re.S)
    blocks = "\n".join([*found, *re.findall(r"^    nlptl .*$", text, re.M)])
    return re.findall(rf"{start}([^\n#…|]*)", blocks)


def test_every_command_of_a_recipe_parses(monkeypatch):
    monkeypatch.chdir(ROOT / "tests/tasks/own")  # the tasks that they show
    found = commands(r"(?:recipes/|nlptl run )([\w-]+)(?:\.py)?")
    found = [(recipe.replace("-", "_"), words) for recipe, words in found]
    assert {path.stem for path in RECIPES} <= {recipe for recipe, _ in found} and len(found) >= 15
    for recipe, words in found:
        parse_args(config_of(recipe), shlex.split(words))
    (words,) = commands("nlptl train")
    config = parse_args(TaskConfig, shlex.split(words))
    assert config.column == ("first=premise", "second=claim", "score=mark")


def test_the_readme_is_one_that_is_read():
    assert len(README.splitlines()) <= 150
    assert (
        max(len(line) for line in README.splitlines() if "](" not in line and "|" not in line) < 140
    )


@pytest.mark.parametrize("name", ["main", "tests"])
def test_the_two_commands_are_complete(name):
    (command,) = re.findall(rf"<!-- command: {name} -->\n```bash\n(.*)\n```", README)
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert "-c constraints.txt" in command
    assert (ROOT / "constraints.txt").exists()


def test_links_lead_somewhere():
    files = [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("nlptl/bundled/*/README.md")]
    files += PAGES[1:]
    assert len(files) >= 15
    links = [
        (f, link) for f in files for link in re.findall(r"\]\((?!http)([^)#]+)\)", f.read_text())
    ]
    assert links
    assert not [(f, link) for f, link in links if not (f.parent / link).exists()]


def anchors(page):
    """The anchors of a page's headings, as GitHub names them."""
    found = re.findall(r"^#+ (.*)$", re.sub(r"(?s)```.*?```", "", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


def test_links_into_a_page_find_their_heading():
    found = [
        (page.name, link)
        for page in PAGES
        for link in re.findall(r"\]\((?!http)([^)]*#[^)]+)\)", page.read_text())
    ]
    assert len(found) >= 4
    for name, link in found:
        page = next(page for page in PAGES if page.name == name)
        path, _, anchor = link.partition("#")
        assert anchor in anchors((page.parent / path) if path else page), (name, link)


def test_the_table_of_modes_is_the_registrys():
    (stated,) = re.findall(
        r"^\| `--mode` \| what trains .*\n(?:\|.*\n)+", (ROOT / "docs/modes.md").read_text(), re.M
    )
    assert stated.strip() == modes_table()


def test_recipes_are_straight_lines_of_at_most_60_lines():
    assert len(RECIPES) >= 5
    for path in RECIPES:
        text = path.read_text()
        assert len(text.splitlines()) <= 60, path
        assert not re.search(r"^\s+(elif|else|while|class) ", text, re.M), path


def test_configurations_of_recipes_load(tmp_path):
    from nlptl.cli.config import load_yaml, to_yaml

    paths = sorted((ROOT / "recipes/configs").glob("*.yaml"))
    assert len(paths) >= 3
    for path in paths:
        kind = config_of(path.stem.split("_")[0])
        config = kind(**load_yaml(kind, path))
        (tmp_path / "again.yaml").write_text(to_yaml(config))
        assert kind(**load_yaml(kind, tmp_path / "again.yaml")) == config
