"""The documentation site is built without a warning, and its page of theorems has every family of rules."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MISSING = [name for name in ("sphinx", "myst_parser", "furo") if importlib.util.find_spec(name) is None]


@pytest.mark.slow
@pytest.mark.skipif(MISSING != [], reason=f"not installed: {', '.join(MISSING)} (pip install '.[docs]')")
def test_site_is_built_without_warnings(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", tmp_path / "trees", ROOT / "docs", tmp_path / "site"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theorems = (tmp_path / "site" / "theorems.html").read_text()
    families = [path.stem for path in (ROOT / "precjax" / "rules").glob("*.py") if path.stem != "__init__"]
    assert families and [name for name in families if f">{name}<" not in theorems] == []
    assert "Tracked" in (tmp_path / "site" / "reference.html").read_text()


def test_links_of_the_documentation_lead_somewhere():
    """Those of all pages, to files of the repository."""
    for page in (ROOT / "docs").glob("*.md"):
        if page.name != "theorems.md":
            links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
            assert [link for link in links if not (page.parent / link).exists()] == [], page.name
