"""Data of a test do not depend on the other tests; a run ends with lines that say how tight the bounds are."""

import statistics
import zlib

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def random_numbers_of_its_own(request, monkeypatch):
    """A module's generator starts anew for every test, from its name: its data are the same whichever tests ran before."""
    module = getattr(request.node, "module", None)
    named = vars(module).items() if module else ()  # the doctests of a file have none
    for name in [name for name, value in named if isinstance(value, np.random.Generator)]:
        monkeypatch.setattr(module, name, np.random.default_rng(zlib.crc32(request.node.name.encode())))


def pytest_terminal_summary(terminalreporter):
    properties = [
        (report.nodeid, key, value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for key, value in getattr(report, "user_properties", ())
    ]
    rows = {nodeid.split("[")[-1].rstrip("]"): value for nodeid, key, value in properties if key == "tightness"}
    for index, kind in enumerate(("rounding", "propagation")) if rows else ():
        medians = sorted((value[index], row) for row, value in rows.items())
        worst = ", ".join(f"{row} {value:.3g}" for value, row in medians[-4:])
        middle = statistics.median(value for value, _ in medians)
        terminalreporter.write_line(f"tightness of {kind}: median over {len(rows)} scalar rows {middle:.2f}; worst: {worst}")
    for nodeid, key, value in properties:
        if key == "summary":
            terminalreporter.write_line(f"{nodeid.split('::')[-1]}: {value}")
