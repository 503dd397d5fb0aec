"""What holds the project together: metadata in agreement, imports light, pages and commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import layout

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.!]+", pin) for pin in pins), pins
    return {canonicalize_name(name): version for name, version in (p.split("==") for p in pins)}


def declared() -> list[Requirement]:
    every = [*PROJECT["dependencies"], *EXTRAS["book"], *EXTRAS["test"]]
    return [Requirement(text) for text in every]


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_the_tested_version_of_every_dependency_is_in_its_range(requirement):
    pinned = constraints()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned), (str(requirement), pinned)


def test_constraints_hold_the_tested_torch():
    pins = constraints()
    assert (pins["torch"], pins["torchvision"]) == ("2.13.0", "0.28.0")


def test_a_hosted_notebook_keeps_its_torch():
    """A pinned or capped torch would make pip replace the one that a hosted notebook came with."""
    for requirement in map(Requirement, PROJECT["dependencies"]):
        if requirement.name in ("torch", "torchvision", "numpy"):
            assert {s.operator for s in requirement.specifier} == {">="}, str(requirement)


def test_conda_users_get_the_tested_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    python = next(item for item in plain if item.startswith("python="))
    assert python.removeprefix("python=") in PROJECT["requires-python"]
    assert {"pip", "make", "nodejs"} <= set(plain)
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert pip == ["--constraint constraints.txt", "--editable .[book,test]"]
    makefile = (ROOT / "Makefile").read_text()
    assert "-c constraints.txt" in makefile and ".[book,test]" in makefile


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"medxfer_lab", "tools", "tests"}


@pytest.mark.parametrize("folder", ["medxfer_lab", "tools", "tests"])
def test_everything_imported_is_declared(folder):
    provided_by = packages_distributions()
    known = {canonicalize_name(r.name) for r in declared()} | {"packaging", "sphinx", "docutils"}
    undeclared = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in imported(path):
            distributions = {canonicalize_name(d) for d in provided_by.get(name, ())}
            if distributions and not distributions & known:
                undeclared[name] = str(path.relative_to(ROOT))
    assert undeclared == {}


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, medxfer_lab, medxfer_lab.cli, medxfer_lab.course, medxfer_lab.chapters;"
        "heavy = {'torch', 'torchvision', 'nilearn', 'sklearn', 'sympy', 'matplotlib', 'pandas'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_page_is_in_the_table_of_contents():
    there = {p.relative_to(ROOT).with_suffix("").as_posix() for p in ROOT.glob("book/**/*.md")}
    assert set(layout.pages()) == there


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_paths_of_one_machine_and_no_built_files_are_committed():
    machine = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/[\w.]")
    found, built = [], []
    for path in tracked():
        if "_build" in path.parts or "vendor" in path.parts:
            built.append(path)
        if path.suffix in {".md", ".py", ".json", ".ipynb", ".yml", ".toml", ".txt", ".cfg", ""}:
            text = path.read_text(encoding="utf-8", errors="ignore")
            found += [f"{path.name}: {m[0]}" for m in machine.finditer(text)]
    assert (found, built) == ([], [])


def test_citation_and_package_agree():
    from medxfer_lab import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert {"MIT", "CC-BY-4.0"} == set(citation["license"])
