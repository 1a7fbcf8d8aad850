"""Bad inputs of every command and option: a sentence that says what was expected and what came, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import boltzflow as bf
from boltzflow.cli import app
from boltzflow.molecules import available_systems

LONG = "x" * 300
HUGE = str(10**30)
SEEDS = str(2**64)

WORDS = ["abc", "", "one two"]
FLOATS = [*WORDS, "nan", "inf", "-inf", "1e-300", "1e300", "-1"]
INTEGERS = [*WORDS, "nan", "inf", "1.5", "1e3", "-1", HUGE]
PLACES = ["{f}/text.txt", "{f}/text.txt/below", "/proc/nowhere/run", "{f}/" + LONG, "{f}/nul\0l", "{f}/run"]

Case = tuple[list[str], str]
"""A command, and what its message must name."""


NAMES = {"--lr": "lr|learning_rate", "--check-ps": "check-ps|check_picoseconds", "-n": "-n|samples"}


def numbers(command: list[str], options: dict[str, list[str]]) -> Iterator[Case]:
    for option, values in options.items():
        for value in values:
            yield [*command, option, value], NAMES.get(option, option.strip("-").split("-")[0])


def named_place(place: str) -> str:
    return "null byte" if "\0" in place else place.removeprefix("{f}/")[:12]


def train() -> Iterator[Case]:
    command = ["train", "butane", "--out", "{out}"]
    yield from numbers(
        command,
        {
            "--temperature": [*FLOATS, "0"],
            "--lr": [*FLOATS, "0"],
            "--check-ps": FLOATS,
            "--ema": [*FLOATS, "1"],
            "--steps": [*INTEGERS, "0"],
            "--batch-size": [*INTEGERS, "0"],
            "--patience": [*INTEGERS, "99"],
            "--warmup": INTEGERS,
            "--max-gradient-norm": [*WORDS, "nan", "-inf", "-1"],
            "--devices": [*INTEGERS, "0"],
            "--layers": [*INTEGERS, "0"],
            "--bins": [*INTEGERS, "0"],
            "--samples": [*INTEGERS, "0"],
            "--seed": [*INTEGERS, SEEDS],
            "--hidden": [*WORDS, "0", "-5", "1.5", "nan", HUGE, "8,,8", "8;8"],
            "--temperatures": [*WORDS, "300", "300;600", "300,400,500", "400,500", "600,300", "nan,600", "300,inf"],
            "--preset": ["", "magic"],
            "--method": ["", "magic"],
            "--optimizer": ["", "sgd"],
            "--precision": ["", "float16"],
            "--net": ["", "magic"],
            "--start": ["", "magic"],
            "--stochastic": ["", "magic"],
            "--accelerator": ["", "tpu"],
            "--data": ["{f}/empty", "{f}/text.txt", "{f}/nowhere"],
        },
    )
    for pair in ("1e-300,600", "-1,600", "300,1e300", "0,0"):
        yield [*command, "--temperatures", pair], "temperatures"
    for sizes in (
        ["--layers", "999999999999"],
        ["--hidden", "999999999,999999999"],
        ["--bins", "999999999999"],
        ["--batch-size", "999999999999"],
        ["--samples", "999999999999"],
    ):
        yield [*command, *sizes], "GiB"
    yield [*command, "--method", "forward_kl"], "no data"
    for data in ("empty", "text.txt", "nowhere", "dipeptide"):
        yield [*command, "--method", "forward_kl", "--data", "{f}/" + data], data
    yield [*command, "--method", "fab", "--temperatures", "300,600"], "FAB"
    yield [*command, "--stochastic", "metropolis", "--method", "fab"], "FAB"
    yield [*command, "--stochastic", "metropolis", "--layers", "4"], "4 couplings in blocks of 4"
    yield [*command, "--forcefield", "amber96.xml"], "butane"
    yield [*command, "--constraints", "HBonds"], "butane"
    yield [*command, "--devices", "3", "--batch-size", "16"], "a multiple of the 3 devices; got 16"
    for place in PLACES:
        yield ["train", "butane", "--out", place], named_place(place)
    for system in ("nonsense", "", "../butane", "{f}", "{f}/nowhere.pdb", "{f}/empty.pdb", "{f}/text.pdb", "{f}/d.pdb"):
        yield ["train", system, "--out", "{out}"], system.split("/")[-1].replace("{f}", "bad0")
    yield ["train", "{f}/good.pdb", "--forcefield", "nowhere.xml", "--out", "{out}"], "nowhere.xml"
    yield ["train", "{f}/good.pdb", "--forcefield", "{f}/text.txt", "--out", "{out}"], "text.txt"
    yield ["train", "butane", "--resume", "--out", "{out}"], "config.yaml is missing"
    for name in sorted(set(CONFIGS) - {"sound"}):
        yield ["train", "butane", "--resume", "--out", "{f}/config_" + name], "config"
    yield ["train", "butane", "--resume", "--steps", "99", "--out", "{f}/config_sound"], "steps"
    yield ["train", "alanine_dipeptide", "--resume", "--out", "{f}/config_sound"], "alanine_dipeptide"
    yield ["train"], "a molecule"
    yield ["train", "butane", "chignolin"], "chignolin"
    yield ["train", "butane", "--stepps", "3"], "--stepps"
    yield ["train", "butane", "--steps"], "--steps"


def drawing(command: str) -> Iterator[Case]:
    """Of `sample` and `evaluate`."""
    start = [command, "{f}/dipeptide.safetensors", "--out", "{out}"]
    yield from numbers(start, {"-n": [*INTEGERS, "0"], "--samples": ["0"], "--seed": [*INTEGERS, SEEDS]})
    yield [*start, "-n", "999999999999"], "GiB"
    yield [*start, "-n", HUGE], "GiB"
    for place in PLACES:
        yield [command, "{f}/dipeptide.safetensors", "--out", place], named_place(place)
    sources = ["nonsense", "", "{f}/empty", "{f}/nowhere", "{f}/text.txt", "{f}/" + LONG, "{f}/nul\0l", "{f}/zero"]
    sources += ["{f}/truncated.safetensors", "{f}/other.safetensors", "{f}/header.safetensors", "{f}/new.safetensors"]
    for source in sources:
        yield [command, source, "--out", "{out}"], named_place(source.split("/")[-1]).replace("null byte", "nul")
    yield [command], "SYSTEM"
    yield [*start, "--nonsense"], "--nonsense"


def sample() -> Iterator[Case]:
    yield from drawing("sample")
    start = ["sample", "{f}/dipeptide.safetensors", "--out", "{out}"]
    yield from numbers(start, {"--temperature": [*FLOATS, "0", "450"]})


def evaluate() -> Iterator[Case]:
    yield from drawing("evaluate")
    start = ["evaluate", "{f}/dipeptide.safetensors", "--out", "{out}", "--reference"]
    for name in ("nowhere", "text.txt", "empty", "text.dcd", "samples.dcd", "butane_samples", *REFERENCES):
        yield [*start, "{f}/" + name], name if name in ("nowhere", "text.txt", "empty", "text.dcd") else ""
    yield [*start, ""], ""
    yield [*start, "{f}/" + LONG], "x" * 20


def analyze() -> Iterator[Case]:
    yield ["analyze", "{f}/nul\0l"], "null byte"
    for directory in ("nowhere", "empty", "text.txt", LONG, *(f"samples_{name}" for name in SAMPLES)):
        named = "14 atoms; got 22" if directory == "samples_generator of another" else directory[:20]
        yield ["analyze", "{f}/" + directory], named
    for name in SUMMARIES:
        yield ["analyze", "{f}/summary_" + name], "summary"
    yield ["analyze"], "DIR"
    yield ["analyze", "{f}/few", "--seed", "1"], "--seed"


def reference() -> Iterator[Case]:
    command = ["reference", "butane", "--out", "{out}"]
    yield from numbers(
        command,
        {
            "--picoseconds": [*FLOATS, "0", "0.01"],
            "--equilibration": FLOATS,
            "--hottest": [*FLOATS, "0", "200"],
            "--umbrella": [*FLOATS, "13"],
            "--timestep": [*FLOATS, "0"],
            "--hydrogen-mass": [*FLOATS, "0"],
            "--friction": [*FLOATS, "0"],
            "--temperature": [*FLOATS, "0"],
            "--ladders": [*INTEGERS, "1"],
            "--temperatures": [*INTEGERS, "1"],
            "--seed": [*INTEGERS, SEEDS],
        },
    )
    for sizes in (["--ladders", "999999999999"], ["--temperatures", "999999999"], ["--picoseconds", "1e9"]):
        yield [*command, *sizes], "GiB"
    for place in PLACES:
        yield ["reference", "butane", "--out", place], named_place(place)
    for system in ("nonsense", "", "{f}/nowhere.pdb", "{f}/text.pdb"):
        yield ["reference", system, "--out", "{out}"], system.split("/")[-1]
    yield ["reference", "butane", "--resume", "--out", "{out}"], "config.yaml is missing"
    for name in CONFIGS:
        yield ["reference", "butane", "--resume", "--out", "{f}/config_" + name], "config"
    yield ["reference"], "a molecule"


def replicas() -> Iterator[Case]:
    yield ["replicas"], "DIR"
    yield ["replicas", "{f}/few"], "at least two"
    yield ["replicas", "{f}/few", "{f}/nowhere"], "nowhere"
    yield ["replicas", "{f}/few", "{f}/text.txt"], "text.txt"
    yield ["replicas", "{f}/few", "{f}/butane_samples"], "one molecule"
    yield ["replicas", "{f}/few", "{f}/few", "--seed", "3"], "--seed"
    for name in SUMMARIES:
        yield ["replicas", "{f}/few", "{f}/summary_" + name], "summary"


def systems() -> Iterator[Case]:
    command = ["systems", "add", "{f}/good.pdb", "--name", "mine", "--library", "{out}"]
    yield from numbers(command, {"--temperature": [*FLOATS, "0"]})
    for ph in (*WORDS, "nan", "inf", "-inf", "1e300", "-1", "99"):
        yield [*command, "--hydrogens-at-ph", ph], "hydrogens-at-ph|hydrogens_at_ph"
    yield from numbers(command, {"--constraints": ["", "magic"], "--coordinates": ["{f}/good.pdb"]})
    yield [*command, "--parameters", "{f}/text.txt"], "parameters"
    for file in ("nowhere.pdb", "empty.pdb", "text.pdb", "text.txt", "text.cif", "text.psf", "text.prmtop", "d.pdb"):
        yield ["systems", "add", "{f}/" + file, "--name", "mine", "--library", "{out}"], file
    for place in ("{f}/text.txt", "/proc/nowhere", "{f}/" + LONG):
        yield ["systems", "add", "{f}/good.pdb", "--name", "mine", "--library", place], place[4:12]
    yield ["systems", "remove"], "remove"
    yield ["systems", "list", "more"], "more"
    yield ["systems", "add"], "a molecule"
    yield ["trane"], "trane"
    yield ["--nonsense"], "--nonsense"


# -- damaged files: each name is a function of what is sound ---------------------------------------

CONFIGS = {
    "binary": b"\xff\xfe\x00",
    "yaml": b"a: [1",
    "list": b"- 1\n",
    "empty": b"",
    "unversioned": b"system: butane\n",
    "newer": b"version: 2\nsystem: butane\n",
    "unknown": b"version: 1\nsystem: butane\nstepps: 3\n",
    "infinite": b"version: 1\nsystem: butane\ntemperature: .inf\n",
    "text": b"version: 1\nsystem: butane\nseed: many\n",
    "null": b"version: 1\nsystem: null\n",
    "tagged": b"!!python/object:os.system {}\n",
    "sound": b"version: 1\nsystem: butane\nseed: 7\nmethod: fab\n",
}

SUMMARIES: dict[str, Any] = {
    "cut": b"{",
    "binary": b"\xff\xfe",
    "empty": b"",
    "list": b"[1]",
    "number": b"3",
    "no_run": b"{}",
    "run_null": {"run": None},
    "run_list": {"run": [1]},
    "nan": b'{"run": {"seconds": NaN}}',
    "infinity": b'{"run": {"seconds": -Infinity}}',
    "deep": b"[" * 100_000,
    "check_null": {"run": {"collapse_check": None}},
    "check_empty": {"run": {"collapse_check": {}}},
    "check_number": {"run": {"replica_check": {"verdict": 3}}},
    "evaluation_null": {"run": {"evaluation": None}},
    "evaluation_empty": {"run": {"evaluation": {}}},
    "evaluation_part": {"run": {"evaluation": {"comparison": {"verdict": "Trust"}, "forward": None}}},
    "steps": {"run": {"stopped_early": True, "steps": "many"}},
}

SAMPLES = [
    *(f"{state} {name}" for state in ("without", "cut", "text", "folder") for name in ("dcd", "pdb", "npz")),
    *("keys", "words", "objects", "shape", "nan", "weights", "cold", "hot", "infinite", "newer", "version", "groups"),
    *("none", "short", "long", "atoms", "other molecule", "generator of another", "damaged generator", "metrics"),
]

REFERENCES = ["facts cut", "facts list", "facts ladders", "torsions cut", "torsions keys", "torsions words"]


def damage_samples(kind: str, folder: Path, files: Path) -> None:
    names = {"dcd": "samples.dcd", "pdb": "topology.pdb", "npz": "weights.npz"}
    first, _, last = kind.partition(" ")
    if last in names:
        path = folder / names[last]
        content = path.read_bytes()
        path.unlink()
        if first == "cut":
            path.write_bytes(content[: len(content) // 2])
        elif first == "text":
            path.write_text("no such thing\n")
        elif first == "folder":
            path.mkdir()
        return
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    n = len(arrays["energies"])
    changes: dict[str, dict[str, Any]] = {
        "keys": {"more": np.zeros(3)},
        "words": {"energies": np.array(["a"] * n)},
        "objects": {"energies": np.array([{}] * n)},
        "shape": {"energies": np.zeros((n, 2))},
        "nan": {"energies": np.full(n, np.nan)},
        "weights": {"log_weights": np.full(n, np.inf)},
        "cold": {"temperature": -300.0},
        "hot": {"temperature": np.array([300.0, 300.0])},
        "infinite": {"temperature": np.inf},
        "newer": {"version": 99},
        "version": {"version": "one"},
        "groups": {"groups": np.zeros(n)},
        "none": {"energies": np.zeros(0), "log_weights": np.zeros(0), "log_q": np.zeros(0)},
        "short": {"energies": np.zeros(n - 1)},
        "long": {"energies": np.zeros(n + 1), "log_weights": np.zeros(n + 1), "log_q": np.zeros(n + 1)},
    }
    if kind in changes:
        np.savez(folder / "weights.npz", **(arrays | changes[kind]))
    elif kind == "atoms":
        shutil.copy(files / "butane_samples" / "samples.dcd", folder)
    elif kind == "other molecule":
        shutil.copy(files / "butane_samples" / "topology.pdb", folder)
    elif kind == "generator of another":
        shutil.copy(files / "butane.safetensors", folder / "generator.safetensors")
    elif kind == "damaged generator":
        (folder / "generator.safetensors").write_bytes(b"\0" * 50)
    elif kind == "metrics":
        (folder / "metrics.csv").write_text("a,b\n1\n1,2,3\n")
    else:
        raise AssertionError(kind)


def damage_reference(kind: str, folder: Path) -> None:
    what, _, how = kind.partition(" ")
    if what == "facts":
        content = {"cut": '{"ladders": ', "list": "[1]", "ladders": '{"ladders": 7}'}[how]
        (folder / "reference.json").write_text(content)
        return
    path = folder / "torsions.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif how == "keys":
        np.savez(path, names=arrays["names"])
    else:
        np.savez(path, **(arrays | {"torsions_rad": np.array(["a"])}))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty").mkdir()
    (folder / "d.pdb").mkdir()
    (folder / "empty.pdb").touch()
    (folder / "zero").touch()
    for name in ("text.txt", "text.pdb", "text.cif", "text.psf", "text.prmtop", "text.dcd"):
        (folder / name).write_text("no such thing\n")
    shutil.copy(available_systems()["alanine_dipeptide"] / "topology.pdb", folder / "good.pdb")
    for name, samples in (("alanine_dipeptide", "dipeptide"), ("butane", "butane_samples")):
        system = bf.load_system(name)
        options: dict[str, Any] = {"layers": 1, "hidden": (8,), "bins": 4, "start": "plain"}
        generator = bf.BoltzmannGenerator.for_system(system, **options)
        generator.save(folder / f"{samples.removesuffix('_samples')}.safetensors")
        n = 40
        positions = np.repeat(system.positions[None], n, 0)
        weights = np.linspace(0.0, 1.0, n)
        ensemble = bf.Ensemble(positions, -weights, 300.0, weights, np.zeros(n), system.mdtraj_topology)
        ensemble.save(folder / samples)
    shutil.copy(folder / "butane_samples" / "samples.dcd", folder)
    shutil.copytree(folder / "dipeptide", folder / "few")
    few = bf.Ensemble.load(folder / "few")
    moved = few.replace(positions=few.positions + 0.1, log_q=few.log_q, absolute=True)  # other frames than those it is
    moved.save(folder / "few", overwrite=True)  # compared with
    (folder / "few" / "summary.json").write_text('{"version": 1, "run": {}}')
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_bytes(CONFIGS["sound"])
    damage_generators(folder)
    for name, content in CONFIGS.items():
        (folder / f"config_{name}").mkdir()
        (folder / f"config_{name}" / "config.yaml").write_bytes(content)
    for kind in SAMPLES:
        shutil.copytree(folder / "dipeptide", folder / f"samples_{kind}")
        damage_samples(kind, folder / f"samples_{kind}", folder)
    for name, content in SUMMARIES.items():
        shutil.copytree(folder / "dipeptide", folder / f"summary_{name}")
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / f"summary_{name}" / "summary.json").write_bytes(data)
    for kind in REFERENCES:
        shutil.copytree(available_systems()["alanine_dipeptide"] / "reference", folder / kind)
        damage_reference(kind, folder / kind)
    return folder


@pytest.fixture(scope="module")
def before(files: Path) -> dict[Path, int]:
    return listing(files)


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is refused before the work."""

    def begun(*_: object, **__: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr("boltzflow.workflows.training.train", begun)
    monkeypatch.setattr("boltzflow.workflows.reference.minimize", begun)
    monkeypatch.setattr(bf.BoltzmannGenerator, "sample", begun)


def damage_generators(folder: Path) -> None:
    content = (folder / "dipeptide.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(content[: len(content) // 2])
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])

    def write(name: str, **metadata: str) -> None:
        changed = json.dumps(header | {"__metadata__": header["__metadata__"] | metadata}).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + size :])

    write("other.safetensors", kind="something else")
    write("header.safetensors", header="{")
    write("new.safetensors", format_version="99")


CASES = [case for part in (train, sample, evaluate, analyze, reference, replicas, systems) for case in part()]


def listing(folder: Path) -> dict[Path, int]:
    return {path: 0 if path.is_dir() else path.lstat().st_mtime_ns for path in folder.rglob("*")}


# mdtraj leaves a damaged PDB file open.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("arguments", "named"), CASES, ids=[" ".join(case[0])[:90] for case in CASES])
def test_what_is_bad_is_refused_in_a_sentence(
    arguments: list[str],
    named: str,
    files: Path,
    before: dict[Path, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [argument.replace("{f}", str(files)).replace("{out}", str(tmp_path / "out")) for argument in arguments]
    result = CliRunner().invoke(app, filled)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2), result.output
    assert "Traceback" not in result.output
    assert "bug in boltzflow" not in result.output
    text = re.sub(r"[\s│]+", " ", result.stderr)  # usage errors come in a box
    assert any(name in text for name in named.split("|")), text
    if result.exit_code == 1:
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("Error: ")
        assert lines[0].endswith(".")
    assert listing(files) == before
    assert list(tmp_path.iterdir()) == []


def test_there_are_hundreds_of_kinds() -> None:
    assert len({" ".join(arguments) for arguments, _ in CASES}) > 400
