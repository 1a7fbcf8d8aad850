"""Directories that one run at a time writes to, and files that are whole or not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from typer.testing import CliRunner

import boltzflow as bf
from boltzflow.capacity import check_disk, memory
from boltzflow.cli import app
from boltzflow.dcd import write_dcd
from boltzflow.errors import BoltzflowError, OptionError, RunDirectoryError, StorageError
from boltzflow.storage import claimed, plain_path, replace_file, replacing
from boltzflow.training.history import History
from tests.training.test_crashes import make, small_files


def never(_: BaseException) -> bool:
    return False


@pytest.fixture(scope="module")
def ensemble() -> bf.Ensemble:
    system = bf.load_system("butane")
    positions = system.positions + np.random.default_rng(0).normal(scale=0.01, size=(50, system.n_atoms, 3))
    return bf.Ensemble(positions, np.zeros(50), 300.0, np.zeros(50), np.zeros(50), system.mdtraj_topology)


def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    with claimed(tmp_path / "run", never):
        (tmp_path / "run" / "mine").touch()
        with (
            pytest.raises(RunDirectoryError, match=r"Another process is writing to .*run"),
            claimed(tmp_path / "run", never),
        ):
            pass
        assert (tmp_path / "run" / "mine").exists()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]
    with claimed(tmp_path / "run", never):  # free again
        pass


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:

    def fails(directory: Path, worth_keeping: bool) -> None:
        with claimed(directory, lambda _: worth_keeping):
            (directory / "new").mkdir()
            (directory / "new" / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails(tmp_path / "above" / "run", worth_keeping=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "foreign").touch()
    for worth_keeping in (False, True):
        with pytest.raises(ZeroDivisionError):
            fails(tmp_path, worth_keeping)
        assert {path.name for path in tmp_path.iterdir()} == ({"foreign", "new"} if worth_keeping else {"foreign"})


@pytest.mark.parametrize("made_again", [False, True])
def test_a_directory_that_is_removed_meanwhile_is_an_error(tmp_path: Path, made_again: bool) -> None:

    def fails() -> None:
        with claimed(tmp_path / "run", never):
            shutil.rmtree(tmp_path / "run")
            if made_again:
                (tmp_path / "run").mkdir()
                (tmp_path / "run" / "of another").touch()

    with pytest.raises(StorageError, match="removed or replaced during the run"):
        fails()
    assert (tmp_path / "run" / "of another").exists() == made_again


def test_a_training_whose_directory_is_removed_ends_with_an_error(tmp_path: Path, monkeypatch) -> None:
    write = History.write_csv

    def removed(self: History, path: Path) -> None:
        write(self, path)
        shutil.rmtree(path.parent)

    monkeypatch.setattr(History, "write_csv", removed)
    options = {"batch_size": 16, "log_every": 2, "compile": False, "progress": False}
    with pytest.raises(StorageError, match="it was removed during the run"):
        bf.train(make(), directory=tmp_path / "run", steps=8, **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "alanine_dipeptide", "-n", "2"],
        ["evaluate", "alanine_dipeptide", "-n", "2"],
        ["train", "butane"],
        ["train", "butane", "--resume"],
        ["reference", "butane"],
        ["reference", "butane", "--resume"],
    ],
)
def test_a_second_run_in_one_directory_is_refused(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "config.yaml").write_text("version: 1\nsystem: butane\n")
    with claimed(tmp_path, never):
        result = CliRunner().invoke(app, [*command, "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "Another process is writing to" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_two_that_write_one_file_at_once_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "file.txt") as one, replacing(tmp_path / "file.txt") as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "file.txt").read_text() == "one"
    assert len(list(tmp_path.iterdir())) == 1


def test_places_where_nothing_can_be_written_are_named() -> None:
    for place in (Path("/proc/nowhere/run"), Path("/dev/null/run"), Path("x" * 300), Path("a\0b")):
        with pytest.raises(StorageError, match="Cannot write to"), claimed(place, never):
            pass
        with pytest.raises((StorageError, ValueError)):
            replace_file(place / "file", "")


def test_an_ensemble_replaces_no_other_unasked(ensemble: bf.Ensemble, tmp_path: Path) -> None:
    for name in ("samples.dcd", "topology.pdb", "weights.npz"):
        folder = tmp_path / name[:3]
        folder.mkdir()
        (folder / name).write_text("older")
        with pytest.raises(
            RunDirectoryError, match=rf"already contains {name}: save elsewhere, or with overwrite=True"
        ):
            ensemble.save(folder)
        assert (folder / name).read_text() == "older"
        ensemble.save(folder, overwrite=True)
        assert len(bf.Ensemble.load(folder)) == 50


def test_any_path_will_do(ensemble: bf.Ensemble, tmp_path: Path) -> None:
    for name in ("müller", "日本", "with space", "quote'"):
        ensemble.save(tmp_path / name)
        np.testing.assert_allclose(bf.Ensemble.load(tmp_path / name).positions, ensemble.positions, atol=1e-6)


def test_frames_are_those_that_mdtraj_writes(ensemble: bf.Ensemble, tmp_path: Path) -> None:
    """Bit for bit but for the title, in which it leaves what lay in memory."""
    ensemble.to_mdtraj().save_dcd(str(tmp_path / "theirs.dcd"))
    write_dcd(tmp_path / "ours.dcd", ensemble.positions)
    ours, theirs = ((tmp_path / name).read_bytes() for name in ("ours.dcd", "theirs.dcd"))
    after_title = 92 + 4 + 4 + 80 * 2 + 4
    assert ours[:92] == theirs[:92]
    assert ours[after_title - 80 :] == theirs[after_title:]  # of two titles one
    found = mdtraj.load_dcd(str(tmp_path / "ours.dcd"), top=ensemble.topology)
    assert found.n_frames == 50
    assert found.unitcell_lengths is None


def test_a_full_disk_keeps_the_older_samples(ensemble: bf.Ensemble, tmp_path: Path) -> None:
    ensemble.save(tmp_path)
    older = (tmp_path / "samples.dcd").read_bytes()
    with (
        small_files(),
        pytest.raises(StorageError, match=r"samples\.dcd \(9,.* bytes\): .*the existing file is kept"),
    ):
        ensemble.save(tmp_path, overwrite=True)
    assert (tmp_path / "samples.dcd").read_bytes() == older
    assert {path.name for path in tmp_path.iterdir()} <= {"samples.dcd", "topology.pdb", "weights.npz"}


def test_a_name_that_every_library_can_open(tmp_path: Path) -> None:
    (tmp_path / "müller.dcd").write_bytes(b"content")
    with plain_path(tmp_path / "müller.dcd") as name:
        assert name.isascii()
        assert name.endswith(".dcd")
        assert Path(name).read_bytes() == b"content"
    assert not Path(name).exists()


def test_a_disk_that_is_too_small_is_told_beforehand(tmp_path: Path) -> None:
    check_disk(tmp_path, 1, "samples")
    with pytest.raises(OptionError, match=r"Expected 9 samples that fit on the disk of .*; they need about 9"):
        check_disk(tmp_path, 10**18, "9 samples")
    assert 2**28 < memory() < 2**50


def test_a_run_that_fails_before_its_first_step_leaves_no_run(tmp_path: Path, monkeypatch) -> None:
    """The corrected command then needs neither another directory nor --resume."""

    def fails(*_: object, **__: object) -> None:
        raise BoltzflowError("no first step")

    monkeypatch.setattr("boltzflow.training.trainer._Run._take_step", fails)
    monkeypatch.setattr("boltzflow.workflows.training.estimate_cost", lambda *_: "nothing")
    command = ["train", "butane", "--layers", "1", "--hidden", "8", "--out", str(tmp_path / "run")]
    for _ in range(2):
        result = CliRunner().invoke(app, command)
        assert "no first step" in result.stderr
        assert list(tmp_path.iterdir()) == []


def test_what_nobody_has_foreseen_is_a_sentence_too(monkeypatch) -> None:
    class Panic(BaseException):
        """What libraries in other languages raise."""

    for error in (Panic("deep inside"), RecursionError("too deep"), MemoryError(), AssertionError()):

        def fails(error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("boltzflow.cli.systems.available_systems", fails)
        for arguments in (["systems"], ["systems", "list"]):
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 1
            assert result.stderr.startswith("Error: ")
            assert len(result.stderr.splitlines()) == 1
            assert ("Out of memory" in result.stderr) == isinstance(error, MemoryError)
        try:
            result = CliRunner().invoke(app, ["systems", "--debug"])
        except Panic:
            continue
        assert isinstance(result.exception, type(error))
