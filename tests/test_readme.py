"""Python of the README, the tutorial and a guide prints what they show; the README's commands are what they are said to be."""

import contextlib
import io
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(("page", "least"), [("README.md", 3), ("docs/tutorial.md", 3), ("docs/large-models.md", 1)])
def test_python_prints_what_is_shown(page, least):
    page = (ROOT / page).read_text()
    names, shown = {}, re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", page, re.DOTALL)
    assert len(shown) == page.count("```python\n") >= least
    for code, text in shown:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == text, f"the page shows\n{text}but this prints\n{printed.getvalue()}"


@pytest.mark.parametrize(("command", "last"), [("demo", "-m precjax demo"), ("test", "-m pytest -n 3")])
def test_commands(command, last):
    (line,) = re.findall(rf"<!-- {command} command -->\n```sh\n(.*)\n```", TEXT)
    assert line.startswith("python3 -m venv .venv && ") and line.endswith(last)


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert links and [link for link in links if not (ROOT / link).exists()] == []
