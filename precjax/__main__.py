"""python -m precjax: the demonstration on real data, and commands on a function of the user's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from precjax import __version__
from precjax._commands import add_commands


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; without one, prints the help.

    Args:
        arguments: the command line's words after ``python -m precjax``; those of the process if None.

    Raises:
        SystemExit: with a message, if an argument is wrong or a package of the extra ``demo`` is missing.
    """
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    if options.pop("command") is None:
        parser.print_help()
    else:
        options.pop("run")(**options)


def _parser() -> argparse.ArgumentParser:
    about = "How many digits of a JAX program's numbers are right."
    parser = argparse.ArgumentParser(prog="python -m precjax", description=about)
    parser.add_argument("--version", action="version", version=f"precjax {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    demo = commands.add_parser(
        "demo",
        help="train a network on handwritten digits and bound the rounding errors of all that it computes",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    contractions, picture = ("componentwise", "normwise"), Path("precjax_demo.png")
    add = demo.add_argument
    add("--model", choices=("cnn", "mlp"), default="cnn", help="the network")
    add("--contraction", choices=contractions, default=contractions[0], help="how errors pass through products")
    add("--epochs", type=_positive, default=20, help="passes over the training images")
    add("--held-out", type=_images, default=360, metavar="IMAGES", help="images kept from training, and measured")
    add("--seed", type=_natural, default=0, help="of the split, the parameters and the order")
    add("--out", type=_picture, default=picture, metavar="FILE.png", help="where the picture goes")
    demo.set_defaults(run=_demo)
    add_commands(commands)
    return parser


def _natural(text: str) -> int:
    return _within(text, 0, 2**31 - 1)


def _positive(text: str) -> int:
    return _within(text, 1, 10_000)


def _images(text: str) -> int:
    return _within(text, 1, 1_700)


def _within(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
    return int(text)


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".png":
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r}")
    return path


def _demo(**options: object) -> None:
    # The demonstration needs packages that precjax itself does not.
    try:
        from rich.console import Console

        from precjax import demo
    except ModuleNotFoundError as error:
        raise SystemExit(f"the demonstration needs {error.name}: pip install 'precjax[demo]'") from error
    demo.run(**options, console=Console())  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
