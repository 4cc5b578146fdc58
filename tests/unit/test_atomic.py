"""Files are whole or not there, whatever kills their writer."""

import json
import os
import signal
import subprocess
import sys

import pytest

from cleave.io.atomic import replacing, write_json


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_nothing_is_visible_before_the_end(tmp_path):
    with replacing(tmp_path / "deep" / "a.json") as temporary:
        temporary.write_text("half")
        assert visible(tmp_path / "deep") == []
    assert (tmp_path / "deep" / "a.json").read_text() == "half"
    assert os.listdir(tmp_path / "deep") == ["a.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    write_json(tmp_path / "a.json", 1)

    def write():
        with replacing(tmp_path / "a.json") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert (tmp_path / "a.json").read_text() == "1\n"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_value_that_is_no_json_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"score": float("nan")})
    assert os.listdir(tmp_path) == []


def test_equal_values_give_equal_bytes(tmp_path):
    write_json(tmp_path / "a", {"b": [1, 2], "a": {"y": "grün", "x": None}})
    write_json(tmp_path / "b", {"a": {"x": None, "y": "grün"}, "b": (1, 2)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text()) == {"a": {"x": None, "y": "grün"}, "b": [1, 2]}


WRITER = """
import sys, time
from pathlib import Path
from cleave.io.atomic import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def writer(path):
    """A process in the middle of writing `path`."""
    command = [sys.executable, "-c", WRITER, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    name = "odd [name]*.json"
    killed, alive = writer(tmp_path / name), writer(tmp_path / name)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert visible(tmp_path) == []
        bystander = tmp_path / f".other.json.{killed.pid}.tmp"
        unknown = tmp_path / f".{name}.notes.tmp"
        for path in (bystander, unknown):
            path.touch()
        write_json(tmp_path / name, "whole")
        left = set(os.listdir(tmp_path))
        assert left == {name, f".{name}.{alive.pid}.tmp", bystander.name, unknown.name}
    finally:
        alive.kill()
        alive.wait()
    write_json(tmp_path / name, "again")
    assert set(os.listdir(tmp_path)) == {name, bystander.name, unknown.name}
    assert (tmp_path / name).read_text() == '"again"\n'
