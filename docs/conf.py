"""The documentation site: ``sphinx-build -W docs docs/_build`` in a clone with ``pip install '.[docs]'``."""

import ast
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

project, author, html_title = "precjax", "The precjax authors", "precjax"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # attributes are described once, in the docstring of their class
autodoc_typehints = "none"  # the docstrings say more: trees, shapes, units
napoleon_custom_sections = ["Guarantee"]
# Links of the README and of the table of primitives lead to files and folders of the repository, which are no pages.
suppress_warnings = ["myst.xref_missing", "toc.not_included"]


def write_theorems():
    """One page of what each family of rules and the mean value form obey, taken from the first lines of their files."""
    parts = ["# The theorems behind the rules\n\nEvery family of rules obeys what the first lines of its file state.\n"]
    package = HERE.parent / "precjax"
    more = (package / "analysis" / f"{name}.py" for name in ("mean_value", "_local"))
    for path in [*sorted((package / "rules").glob("*.py")), *more]:
        text = ast.get_docstring(ast.parse(path.read_text()))
        if path.stem != "__init__":
            title, _, rest = text.partition("\n")
            parts.append(f"## {path.stem}\n\n{title}\n" + (f"\n```text\n{rest.strip()}\n```\n" if rest.strip() else ""))
    (HERE / "theorems.md").write_text("\n".join(parts))


def escape(app, what, name, obj, options, lines):
    """Bars and stars of formulas are no markup; literals, which may go on in the next line, and examples stay."""
    pattern = r"(?m)^ *(?:>>>|\.\.\.).*$|``[^`]*``|([|*])"
    lines[:] = re.sub(pattern, lambda m: f"\\{m[1]}" if m[1] else m[0], "\n".join(lines)).split("\n")


def setup(app):
    """Called by Sphinx."""
    write_theorems()
    app.connect("autodoc-process-docstring", escape, priority=400)  # before napoleon, at 500
