"""Commands on a function of the user's: where it loses bits, what its tests need, which formats it may run in."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from precjax.analysis import advise, report, tolerances


def add_commands(commands: Any) -> None:
    """Adds ``report``, ``tolerances`` and ``advise`` to the subcommands of a parser."""
    about = argparse.ArgumentDefaultsHelpFormatter
    where = commands.add_parser("report", help="say where a function loses exact bits", formatter_class=about)
    _add_function(where)
    where.add_argument("--by", choices=("line", "module", "primitive"), default="line", help="what a row is")
    where.add_argument(
        "--model", choices=("probabilistic", "worst_case"), default="probabilistic", help="of the errors"
    )
    where.add_argument("--html", type=_file, metavar="FILE.html", help="write a page as well")
    where.add_argument("--csv", type=_file, metavar="FILE.csv", help="write the rows as well")
    where.set_defaults(run=_report)
    allowed = commands.add_parser("tolerances", help="say what a test of a function needs", formatter_class=about)
    _add_function(allowed)
    models = ("worst_case", "certified", "probabilistic")
    allowed.add_argument("--model", choices=models, default=models[0], help="of the errors")
    allowed.add_argument("--against", choices=("run", "exact"), default="run", help="what results are compared with")
    allowed.set_defaults(run=_tolerances)
    mixed = commands.add_parser("advise", help="say which part may run in which format", formatter_class=about)
    _add_function(mixed)
    mixed.add_argument(
        "--target", type=float, required=True, help="exact bits of the results (1 or more), or a relative error"
    )
    names = ("bfloat16", "float16", "float32")
    mixed.add_argument("--formats", nargs="+", default=names, metavar="FORMAT", help="by preference, the widest last")
    mixed.add_argument("--by", choices=("line", "module", "primitive"), default="module", help="what has a format")
    mixed.set_defaults(run=_advise)


def _add_function(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("function", type=_function, metavar="MODULE:FUNCTION", help="importable from this folder")
    parser.add_argument(
        "--inputs",
        type=_arrays,
        required=True,
        metavar="FILE.npz",
        help="its arguments, as numpy.savez writes them: by position, or by name if they have names",
    )


def _function(text: str) -> Callable[..., Any]:
    module, _, name = text.partition(":")
    if not module or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form module:function")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise argparse.ArgumentTypeError(f"no module {error.name!r} here") from error
    except AttributeError as error:
        raise argparse.ArgumentTypeError(f"module {module!r} has no {name!r}") from error
    if not callable(found):
        raise argparse.ArgumentTypeError(f"{text} is no function")
    return found


def _arrays(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    try:
        with np.load(text) as file:
            arrays = dict(file)
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no file of numpy.savez: {error}") from error
    places = [name for name in arrays if name.startswith("arr_") and name[4:].isdecimal()]
    positional = [arrays.pop(name) for name in sorted(places, key=lambda name: int(name[4:]))]
    return positional, arrays


def _file(text: str) -> Path:
    if not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(Path(text).parent)!r}")
    return Path(text)


def _report(function: Any, inputs: Any, by: str, model: str, html: Path | None, csv: Path | None) -> None:
    found = report(function, by=by, model=model)(*inputs[0], **inputs[1])
    print(found)
    for path, text in ((html, found.to_html), (csv, found.to_csv)):
        if path is not None:
            path.write_text(text())
            print(f"written: {path}")


def _tolerances(function: Any, inputs: Any, model: str, against: str) -> None:
    found = tolerances(function, model=model, against=against)(*inputs[0], **inputs[1])
    leaves = jax.tree_util.tree_leaves_with_path(found, is_leaf=lambda x: hasattr(x, "rtol"))
    for path, tolerance in leaves:
        print(f"{jax.tree_util.keystr(path) or 'result'}: rtol={tolerance.rtol:g}, atol={tolerance.atol:g}")


def _advise(function: Any, inputs: Any, target: float, formats: tuple[str, ...], by: str) -> None:
    try:
        found = advise(function, target=target, formats=formats, by=by)(*inputs[0], **inputs[1])
    except ValueError as error:
        raise SystemExit(f"advise: {error}") from error
    print(found)
