"""The lines that a run prints at its end: how tight the bounds are, and how often they say nothing."""

import statistics


def pytest_terminal_summary(terminalreporter):
    properties = [
        (report.nodeid, key, value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for key, value in getattr(report, "user_properties", ())
    ]
    rows = sorted((value, nodeid) for nodeid, key, value in properties if key == "tightness")
    if rows:
        middle = statistics.median(value for value, _ in rows)
        worst = ", ".join(f"{nodeid.split('[')[-1].rstrip(']')} {value:.3g}" for value, nodeid in rows[-6:])
        terminalreporter.write_line(f"tightness: median over {len(rows)} scalar rows {middle:.2f}; worst: {worst}")
    for nodeid, key, value in properties:
        if key == "summary":
            terminalreporter.write_line(f"{nodeid.split('::')[-1]}: {value}")
