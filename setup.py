"""Build: the wheel carries the recipes, so that ``nlptl run`` works without a checkout."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Copies ``recipes/`` into the package that the wheel is made of."""

    def run(self) -> None:
        """Copy the package, then the recipes."""
        super().run()
        if not self.editable_mode:
            shutil.copytree(
                "recipes",
                Path(self.build_lib) / "nlptl" / "recipes",
                ignore=shutil.ignore_patterns("__pycache__"),
                dirs_exist_ok=True,
            )


setup(cmdclass={"build_py": BuildWithRecipes})
