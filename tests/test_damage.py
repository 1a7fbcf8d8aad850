"""Files that are damaged, or were never sound: each is refused in one sentence, none is read as something else."""

from __future__ import annotations

import copy
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

import boltzflow as bf
from boltzflow.analysis.report.summary import add_to_summaries, analyze
from boltzflow.errors import BoltzflowError, FileFormatError, MemoryShortageError
from boltzflow.generator import KIND, VERSION
from boltzflow.storage import read_json, reading
from boltzflow.tensorfile import read_tensors, write_tensors
from boltzflow.workflows.config import RunConfig
from tests.analysis.exact import chain

DEEP = "[" * 10_000 + "]" * 10_000
TRAINED = {"batch_size": 8, "compile": False, "progress": False, "checkpoint_every": 1, "optimizer": "adam"}


@pytest.fixture(scope="module")
def generator() -> bf.BoltzmannGenerator:
    return bf.BoltzmannGenerator.for_system(bf.load_system("butane"), layers=1, hidden=(8,), bins=4, start="plain")


@pytest.fixture(scope="module")
def whole(generator, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "generator.safetensors"
    generator.save(path)
    return path.read_bytes()


def told_by(load: Callable[[], object]) -> str | None:
    """The one sentence that loading ends with, if it does."""
    try:
        load()
    except BoltzflowError as error:
        told = str(error)
    else:
        return None
    assert "\n" not in told
    assert 10 < len(told) < 600
    assert told.endswith(".")
    return told


def refused(load: Callable[[], object]) -> str:
    """The one sentence that loading must end with."""
    told = told_by(load)
    assert told is not None
    return told


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def bits_of(content: bytes, n: int) -> list[int]:
    """Some bits at random, and all of the first and the last bytes."""
    total = 8 * len(content)
    ends = [*range(min(64, total)), *range(max(0, total - 64), total)]
    return sorted({*ends, *random.Random(0).sample(range(total), min(n, total))})


def test_every_flipped_bit_of_a_generator_is_noticed(whole, tmp_path) -> None:
    """So 300 K are not loaded as 301 K: 600 bits of the whole file, wherever they are."""
    path = tmp_path / "generator.safetensors"
    for bit in bits_of(whole, 600):
        path.write_bytes(flipped(whole, bit))
        refused(lambda: bf.BoltzmannGenerator.load(path))
    hotter = whole.replace(b'\\"temperature\\": 300.0', b'\\"temperature\\": 301.0')
    assert hotter != whole
    path.write_bytes(hotter)
    assert "is damaged: its content has changed since it was written" in refused(
        lambda: bf.BoltzmannGenerator.load(path)
    )


@pytest.mark.slow
def test_every_single_bit_of_the_header_of_a_generator_is_noticed(whole, tmp_path) -> None:
    path = tmp_path / "generator.safetensors"
    for bit in range(8 * (8 + int.from_bytes(whole[:8], "little"))):
        path.write_bytes(flipped(whole, bit))
        refused(lambda: bf.BoltzmannGenerator.load(path))


def test_a_generator_cut_off_anywhere_is_refused(whole, tmp_path) -> None:
    path = tmp_path / "generator.safetensors"
    header = 8 + int.from_bytes(whole[:8], "little")
    ends = {0, 1, 7, 8, 9, header - 1, header, header + 1, len(whole) - 1, *range(0, len(whole), len(whole) // 40)}
    for end in ends:
        path.write_bytes(whole[:end])
        refused(lambda: bf.BoltzmannGenerator.load(path))


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a document; of lists the first entry."""
    yield at
    for key in value if isinstance(value, dict) else range(min(1, len(value))) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


def replaced(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    if not at:
        return value
    document = copy.deepcopy(document)
    inner = document
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return document


def without_digest(tensors: dict[str, torch.Tensor], header: str) -> bytes:
    """A file as it was before there was a digest, or as somebody makes it."""
    return save(tensors, {"kind": KIND, "format_version": str(VERSION), "header": header})


def test_a_generator_that_holds_nonsense_is_refused_or_loaded_but_never_a_traceback(whole, tmp_path) -> None:
    """Each entry of the header in turn something else: another type, a huge size, nothing."""
    path = tmp_path / "generator.safetensors"
    path.write_bytes(whole)
    tensors, header = read_tensors(path, KIND, VERSION)
    loaded = []
    for at in places(header):
        for value in (None, 10**12, 10**400, "x", []):
            path.write_bytes(without_digest(tensors, json.dumps(replaced(header, at, value))))
            if told_by(lambda: bf.BoltzmannGenerator.load(path)) is None:
                loaded.append(at)
    must_fail = {("architecture", "layers"), ("architecture", "hidden", 0), ("architecture", "bins"), ("dtype",)}
    assert not must_fail & set(loaded)
    assert () not in loaded


def test_what_cannot_be_a_generator_is_refused(whole, tmp_path) -> None:
    path = tmp_path / "generator.safetensors"
    path.write_bytes(whole)
    tensors, header = read_tensors(path, KIND, VERSION)
    text = json.dumps(header)
    # Files of before there were fingerprints lack them, and load.
    name, tensor = next((n, t) for n, t in tensors.items() if not n.endswith("fingerprint"))
    deep = json.loads(text)
    deep["provenance"] = "DEEP"
    wrong = {
        "deep": without_digest(tensors, DEEP),
        "deep within": without_digest(tensors, json.dumps(deep).replace('"DEEP"', DEEP)),
        "no JSON": without_digest(tensors, text[:-1]),
        "another shape": without_digest(tensors | {name: tensor[..., None]}, text),
        "another dtype": without_digest({name: t.to(torch.complex64) for name, t in tensors.items()}, text),
        "a tensor too few": without_digest({n: t for n, t in tensors.items() if n != name}, text),
        "a tensor too many": without_digest(tensors | {"more": tensor.clone()}, text),
        "no header": save(tensors, {"kind": KIND, "format_version": str(VERSION)}),
        "no version": save(tensors, {"kind": KIND, "header": text}),
        "a digest by another name": whole.replace(b'"sha256"', b'"sha257"'),
        "a huge header": (2**62).to_bytes(8, "little") + whole[8:],
        "a deep file": len(DEEP).to_bytes(8, "little") + DEEP.encode(),
        "a huge tensor": whole.replace(b'"shape":[', b'"shape":[99999999999,', 1),
    }
    loaded = []
    for case, content in wrong.items():
        path.write_bytes(content)
        if told_by(lambda: bf.BoltzmannGenerator.load(path)) is None:
            loaded.append(case)
    assert not loaded


def test_files_of_before_there_was_a_digest_still_load(generator, whole, tmp_path) -> None:
    path = tmp_path / "generator.safetensors"
    path.write_bytes(whole)
    with safe_open(path, framework="pt") as file:
        assert len(file.metadata().pop("sha256")) == 64
        old = file.metadata()
    tensors, _ = read_tensors(path, KIND, VERSION)
    path.write_bytes(save(tensors, {name: old[name] for name in ("kind", "format_version", "header")}))
    again = bf.BoltzmannGenerator.load(path)
    assert np.array_equal(again.sample(4, seed=0).positions, generator.sample(4, seed=0).positions)

    ensemble = generator.sample(4, seed=0)
    ensemble.save(tmp_path)
    with np.load(tmp_path / "weights.npz") as stored:
        arrays = dict(stored)
    assert len(str(arrays.pop("sha256"))) == 64
    np.savez(tmp_path / "weights.npz", **arrays)
    assert np.array_equal(bf.Ensemble.load(tmp_path).log_weights, ensemble.log_weights)


def test_too_little_memory_is_no_fault_of_the_file(whole, tmp_path, monkeypatch) -> None:
    path = tmp_path / "generator.safetensors"
    path.write_bytes(whole)
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("boltzflow.generator.coordinates_from_specification", fail)
            with pytest.raises(MemoryShortageError, match=r"There is not enough memory to read .*generator\.safet"):
                bf.BoltzmannGenerator.load(path)


def test_every_flipped_bit_of_samples_is_noticed_or_means_nothing(generator, tmp_path) -> None:
    """Not noticed are, say, the bits of a time of day that zip files keep."""
    generator.sample(5, seed=0).save(tmp_path)
    ensemble = bf.Ensemble.load(tmp_path)
    noticed = dict.fromkeys(("samples.dcd", "topology.pdb", "weights.npz"), 0)
    for name in noticed:
        path = tmp_path / name
        sound = path.read_bytes()
        chosen = bits_of(sound, 120)
        for bit in chosen:
            path.write_bytes(flipped(sound, bit))
            if told_by(lambda: bf.Ensemble.load(tmp_path)) is not None:
                noticed[name] += 1
                continue
            found = bf.Ensemble.load(tmp_path)
            for part in ("positions", "energies", "log_weights", "log_q", "temperature"):
                assert np.array_equal(getattr(found, part), getattr(ensemble, part))
        path.write_bytes(sound)
        assert noticed[name] > 0.6 * len(chosen)
        assert name == "weights.npz" or noticed[name] == len(chosen)


def test_samples_that_hold_nonsense_are_refused(generator, tmp_path) -> None:
    generator.sample(5, seed=0).save(tmp_path)
    path = tmp_path / "weights.npz"
    sound = path.read_bytes()
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "sha256"}
    nonsense: list[dict[str, Any]] = [
        {"energies": np.array(["a"] * 5)},
        {"energies": np.zeros((5, 2))},
        {"energies": np.zeros(4)},
        {"energies": np.full(5, np.nan)},
        {"temperature": np.array("warm")},
        {"temperature": np.array(-1.0)},
        {"temperature": np.array([300.0, 310.0])},
        {"log_weights": np.array([None] * 5, dtype=object)},
        {"version": np.array("one")},
        {"version": np.array([])},
        {"groups": np.zeros(5)},
        {"absolute": np.zeros(5)},
    ]
    for changes in nonsense:
        np.savez(path, **(arrays | changes))
        refused(lambda: bf.Ensemble.load(tmp_path))
    for content in (b"", b"PK", sound[: len(sound) // 2], sound[:-1]):
        path.write_bytes(content)
        refused(lambda: bf.Ensemble.load(tmp_path))


def test_an_array_that_declares_more_than_it_holds_is_refused(generator, tmp_path) -> None:
    """Before memory is taken for it."""
    generator.sample(5, seed=0).save(tmp_path)
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    energies = members["energies.npy"]
    members["energies.npy"] = energies.replace(b"(5,), }         ", b"(9999999999,), }")
    assert members["energies.npy"] != energies
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    assert "declares" in refused(lambda: bf.Ensemble.load(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"run": 3}', '{"run": ["x"]}', DEEP, f'{{"run": {DEEP}}}'])
def test_a_damaged_summary_is_refused(generator, tmp_path, content) -> None:
    generator.sample(8, seed=0).save(tmp_path)
    (tmp_path / "summary.json").write_text(content, encoding="utf-8")
    assert "summary.json" in refused(lambda: analyze(tmp_path))
    assert "summary.json" in refused(lambda: add_to_summaries([tmp_path], "seconds", 1.0))


def test_a_damaged_reference_is_refused(tmp_path) -> None:
    for content in ("", DEEP, "\ud800".encode("utf-8", "surrogatepass").decode("latin1"), "[1]"):
        (tmp_path / "reference.json").write_text(content, encoding="latin1")
        refused(lambda: read_json(tmp_path / "reference.json"))


BOMB = "\n".join(
    ["version: 1", "system: &l0 [x, x]", *(f"k{n}: &l{n} [*l{n - 1}, *l{n - 1}]" for n in range(1, 60)), "layers: *l59"]
)


@pytest.mark.parametrize(
    "content",
    ["", "[", DEEP, "a: 2026-99-99", "? [a]\n: b", "!!int ''", "!!float x", "!!bool x", "\x00", "a: *b", BOMB],
)
def test_damaged_settings_are_refused(tmp_path, content) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content, encoding="utf-8")
    refused(lambda: RunConfig.read(path))


def test_a_damaged_checkpoint_is_refused_and_changes_nothing(tmp_path) -> None:
    """By each of its bits that is flipped, and by each entry of its header that is something else."""

    def make() -> bf.BoltzmannGenerator:
        return bf.BoltzmannGenerator.for_system(chain(), layers=1, hidden=(4,), bins=4, start="plain")

    bf.train(make(), directory=tmp_path, steps=2, **TRAINED)
    path, model = tmp_path / "checkpoints" / "last.safetensors", make()
    before = copy.deepcopy(model.flow.state_dict())
    sound = path.read_bytes()
    tensors, header = read_tensors(path, "boltzflow checkpoint", 1)

    def resume() -> None:
        bf.train(model, directory=tmp_path, resume=True, steps=2, **TRAINED)

    for bit in bits_of(sound, 60):
        path.write_bytes(flipped(sound, bit))
        refused(resume)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.flow.state_dict().items())
    for at in places(header):
        write_tensors(path, tensors, "boltzflow checkpoint", 1, replaced(header, at, "x"))
        told_by(resume)
    for name in ("random", "flow." + next(iter(before))):
        write_tensors(path, {n: t for n, t in tensors.items() if n != name}, "boltzflow checkpoint", 1, header)
        refused(resume)


def test_what_one_must_not_read_is_said(tmp_path) -> None:
    with (
        pytest.raises(FileFormatError, match=r"Cannot read .*nothing: No such file or directory\."),
        reading(tmp_path / "nothing", "{} is damaged"),
    ):
        (tmp_path / "nothing").read_bytes()
