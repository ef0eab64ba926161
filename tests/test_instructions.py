"""The comparison of instruction counts: what it calls a failure, on counts made up here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BENCHES = Path(__file__).parent.parent / "benches"
RECORDED = {"dot": 1_000, "scan": 2_000}


@pytest.fixture
def instructions(monkeypatch):
    """The script as a module, with a compiler that the record was made with."""
    monkeypatch.syspath_prepend(BENCHES)
    import instructions

    monkeypatch.setattr(instructions, "made_with", lambda: {"rustc": "1.0", "target": "here"})
    return instructions


@pytest.fixture
def check(instructions, monkeypatch, tmp_path):
    """Run the script on counts that were "found", and return its exit code."""
    record = tmp_path / "instructions.json"
    record.write_text(json.dumps({"made_with": instructions.made_with(), "counts": RECORDED}))
    monkeypatch.setattr(instructions, "RECORD", record)
    monkeypatch.setattr(instructions, "ROOT", tmp_path)
    monkeypatch.setattr(instructions, "cannot_count", lambda: None)
    monkeypatch.setattr(instructions, "build", lambda: Path("program"))

    def run(found: dict[str, int], *arguments: str) -> int:
        monkeypatch.setattr(instructions, "count_all", lambda program, part: found)
        return instructions.main(list(arguments))

    run.record = record
    return run


@pytest.mark.parametrize(
    ("count", "code"), [(1_000, 0), (1_050, 0), (1_051, 1), (950, 0), (949, 0), (10, 0)]
)
def test_only_a_rise_above_five_per_cent_fails(check, count, code):
    assert check({"dot": count, "scan": 2_000}) == code


def test_a_rise_is_one_line_that_names_case_recorded_and_found(check, capsys):
    assert check({"dot": 2_000, "scan": 2_000}) == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "RISE  dot: 1,000 instructions recorded, 2,000 found (+100.0%)"
    assert rest == ["Instructions of 2 cases differ from the record."]


def test_a_fall_asks_to_be_recorded(check, capsys):
    check({"dot": 1_000, "scan": 1_500})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fall  scan: 2,000 instructions recorded, 1,500 found (-25.0%)")
    assert "record it" in line


@pytest.mark.parametrize("found", [{"dot": 1_000}, {**RECORDED, "new": 1}])
def test_cases_and_record_are_the_same_set(check, capsys, found):
    assert check(found) == 1
    assert "record it" in capsys.readouterr().err


def test_recording_makes_what_was_found_the_record(check):
    found = {"dot": 3_000, "new": 5}
    assert check(found) == 1
    assert check(found, "--record") == 0
    assert json.loads(check.record.read_text())["counts"] == found
    assert check(found) == 0


def test_another_compiler_is_told_and_not_held_against_the_code(
    check, instructions, monkeypatch, capsys
):
    monkeypatch.setattr(instructions, "made_with", lambda: {"rustc": "2.0", "target": "here"})
    slow = {"dot": 2_000, "scan": 2_000}
    assert check(slow) == 0
    told = capsys.readouterr().err
    assert "RISE  dot" in told
    assert "made with 1.0, this is 2.0" in told
    assert check(slow, "--strict") == 1


def test_without_valgrind_it_says_so_and_fails_only_if_strict(
    check, instructions, monkeypatch, capsys
):
    monkeypatch.setattr(instructions, "cannot_count", lambda: "valgrind is not installed")
    assert check({}) == 0
    told = "Instruction counts were NOT checked: valgrind is not installed.\n"
    assert capsys.readouterr().err == told
    assert check({}, "--strict") == 1
    assert check({}, "--record") == 1


def test_the_record_is_of_cases_at_levels_that_are_counted():
    kept = json.loads((BENCHES / "instructions.json").read_text())
    assert kept["made_with"].keys() == {"rustc", "target"}
    levels = {case.rpartition("/")[2] for case in kept["counts"] if case.startswith("kernels/")}
    assert levels == {"scalar", "avx2"}
    assert all(count > 0 for count in kept["counts"].values())
