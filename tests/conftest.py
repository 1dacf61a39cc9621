"""The lines that a run prints at its end: how tight the bounds are, and how often they say nothing."""

import statistics


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
