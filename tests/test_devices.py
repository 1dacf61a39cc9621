"""Programs for 8 virtual devices, and for two processes: `devices.py` and `processes.py` in processes of their own."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
CHECKS = (
    "collectives_are_judged", "collectives_of_other_models", "collectives_of_float64", "loops_and_branches_across_devices",
    "copies_that_differ", "named_axes_of_vmap", "placements_are_judged", "pmap_is_tracked", "gradients_of_maps",
    "some_axes_manual_and_nested_maps", "explicit_meshes", "sums_left_for_later", "shardings_and_donation", "tensor_parallel_perceptron",
    "faults_are_seen",
)  # fmt: skip
LONG = ("collectives_in_other_formats", "data_parallel_training", "tensor_parallel_training")


def environment():
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    return {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}


def outcomes(names):
    command = [sys.executable, str(HERE / "devices.py"), *names]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900)
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    found = {line["check"]: line for line in lines}
    assert set(found) == set(names), run.stderr[-3000:]
    return found


@pytest.fixture(scope="module")
def found():
    """One process for all checks."""
    return outcomes(CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_on_eight_devices(name, found):
    assert found[name]["passed"], found[name]["report"]


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_on_eight_devices_at_length(name):
    found = outcomes([name])
    assert found[name]["passed"], found[name]["report"]


@pytest.mark.slow
def test_two_processes():
    """jax.distributed on the loopback interface: a sum over both, and its bound, which is that of one process."""
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
    except OSError as error:
        pytest.skip(f"no socket on the loopback interface: {error}")
    script = str(HERE / "processes.py")
    runs = [
        subprocess.Popen(
            [sys.executable, script, address, str(i)], env=environment(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    for run in runs:
        out, err = run.communicate(timeout=300)
        assert run.returncode == 0 and "sound" in out, err[-3000:]
