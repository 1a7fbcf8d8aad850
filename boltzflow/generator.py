"""The Boltzmann generator: a flow, the coordinates that it lives in, and the molecule that it learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from boltzflow.architecture import ACCEPTANCE, Architecture, build_flow, check_sizes, checked_range
from boltzflow.coordinates import MolecularCoordinates, coordinates_from_specification
from boltzflow.core import Flow, StochasticFlow
from boltzflow.core.compilation import compile_method
from boltzflow.energies import BoltzmannTarget, Potential, PulledBackTarget, pullback
from boltzflow.ensemble import Ensemble
from boltzflow.errors import OptionError, ShapeError
from boltzflow.molecules import MolecularSystem
from boltzflow.molecules.informed import bonded_tables, sampled_tables, tabulated_base
from boltzflow.molecules.symmetry import label_orders
from boltzflow.presets import DEFAULT, PresetName, flow_settings
from boltzflow.storage import reading
from boltzflow.tensorfile import read_tensors, write_tensors
from boltzflow.units import Temperature, checked_temperature
from boltzflow.version import __version__

KIND = "boltzflow generator"
VERSION = 3

_ADAPTED_WITH = 64  # samples


class BoltzmannGenerator:
    """Draws molecular structures, each with its exact weight in the Boltzmann distribution.

    Use `for_system` to make a new one, `boltzflow.train` to train it, `sample` to draw.

    Args:
        system: the molecule.
        flow: a density over the internal coordinates. Stochastic layers are bound to the path from its base to the
            molecule's Boltzmann density.
        coordinates: internal coordinates ↔ positions.
        architecture: what rebuilds the flow for these coordinates.
        backend: of the potential (see `MolecularSystem.potential`).
    """

    def __init__(
        self,
        system: MolecularSystem,
        flow: Flow,
        coordinates: MolecularCoordinates,
        architecture: Architecture,
        backend: Literal["auto", "torch", "openmm"] = "auto",
    ) -> None:
        self.system = system
        self.coordinates = coordinates
        self.architecture = architecture
        self.potential: Potential = system.potential(backend=backend)
        self.provenance: dict[str, Any] = {}
        self.flow = flow
        self._cut_off: dict[float, dict[str, float]] = {}
        if flow.transform.stochastic_layers:
            self.flow = StochasticFlow(flow.base, flow.transform, self.internal_target())

    @classmethod
    def for_system(
        cls,
        system: MolecularSystem,
        *,
        preset: PresetName = DEFAULT,
        lengths: Literal["bounded", "unbounded"] = "bounded",
        coordinates: MolecularCoordinates | None = None,
        backend: Literal["auto", "torch", "openmm"] = "auto",
        **options: Any,
    ) -> BoltzmannGenerator:
        """An untrained generator that starts from what the force field says of each coordinate alone.

        Args:
            system: the molecule.
            preset: "quick", "standard" or "best": chooses `layers` and `hidden` where they are not given, as
                `boltzflow train` does; `boltzflow.train` with the same one does the rest.
            lengths: bond lengths in an interval ("bounded") or on the real line ("unbounded").
            coordinates: of the system, such as `system.coordinates(core="backbone")`; instead of `lengths`.
            backend: of the potential: "torch", "openmm", or "auto" for the first that works.
            options: of the flow, such as `layers`, `temperatures` or `stochastic`: see `Architecture`. They go before
                the preset. Temperatures may be Quantities.

        Raises:
            OptionError: if an option is impossible, or coordinates come with `lengths`; if the system's temperature is
                outside the range, or the range goes beyond 1200 K.
            ShapeError: if the coordinates are those of another number of atoms.

        >>> import boltzflow as bf
        >>> generator = bf.BoltzmannGenerator.for_system(bf.load_system("alanine_dipeptide"), layers=2, hidden=(16,))
        >>> len(generator.flow.domain)
        60
        """
        if options.get("temperatures") is not None:
            options["temperatures"] = checked_range(options["temperatures"], system.temperature)
        Architecture.of(**options)  # what is impossible is said before coordinates are made
        if coordinates is None:
            coordinates = system.coordinates(lengths=lengths)
        elif lengths != "bounded":
            raise OptionError("Expected lengths of the coordinates that are made here; got coordinates ready.")
        elif coordinates.data_domain.shape[0] != system.n_atoms:
            atoms = coordinates.data_domain.shape[0]
            raise ShapeError(f"Expected coordinates of {system.n_atoms} atoms; got those of {atoms}.")
        architecture = Architecture.of(**flow_settings(preset, len(coordinates.domain)) | options)
        generator = cls._build(system, coordinates, architecture, backend)
        if architecture.start != "plain":
            generator._inform()
        if architecture.stochastic is not None:
            generator._adapt(ACCEPTANCE[architecture.stochastic])
        return generator

    @classmethod
    def _build(
        cls,
        system: MolecularSystem,
        coordinates: MolecularCoordinates,
        architecture: Architecture,
        backend: Literal["auto", "torch", "openmm"] = "auto",
    ) -> BoltzmannGenerator:
        return cls(system, build_flow(coordinates, architecture), coordinates, architecture, backend)

    def _inform(self) -> None:
        """Put what the force field says into the base."""
        system, coordinates = self.system, self.coordinates
        orders = label_orders(system.bond_graph, torch.from_numpy(system.positions), coordinates)
        kelvin = self.temperature if self.temperatures is None else self.temperatures[1]
        tables = bonded_tables(system.openmm_system, coordinates, orders, kelvin, system.energies_along)
        if self.architecture.start == "sampled":
            tables = sampled_tables(tables, self.potential, coordinates, kelvin, self.architecture.seed)
        self.flow.base.load_state_dict(tabulated_base(coordinates, tables).state_dict())

    def _adapt(self, acceptance: float) -> None:
        """Give stochastic layers steps that are accepted as often as is wanted, over all temperatures together."""
        assert isinstance(self.flow, StochasticFlow)
        low, high = self.temperatures or (self.temperature, self.temperature)
        kelvins = low * (high / low) ** torch.linspace(0.0, 1.0, _ADAPTED_WITH)
        random = torch.Generator().manual_seed(self.architecture.seed)
        context, n = self.context(kelvins), _ADAPTED_WITH
        self.flow.adapt_step_sizes(n, context, target_acceptance=acceptance, iterations=30, generator=random)

    @property
    def temperature(self) -> float:
        """The temperature of the target, in K; of a generator for a range the one that is meant if none is named."""
        return self.system.temperature

    @property
    def temperatures(self) -> tuple[float, float] | None:
        """The lowest and the highest temperature in K of a generator for a range; None for one temperature alone."""
        return self.architecture.temperatures

    def internal_target(self, temperature: float | None = None) -> PulledBackTarget:
        """The Boltzmann density in internal coordinates, at a temperature in K (by default the generator's own)."""
        kelvin = self.temperature if temperature is None else temperature
        return pullback(BoltzmannTarget(self.potential, kelvin), self.coordinates)

    def context(self, temperatures: Tensor) -> Tensor | None:
        """What the flow is given for samples at temperatures in K (n,): (n, 1), or None if it has no use for them.

        Couplings of a generator for a range are shown them; stochastic layers follow the density at them.
        """
        asked_for = self.temperatures is not None or self.flow.transform.stochastic_layers
        return temperatures[:, None] if asked_for else None

    @property
    def like(self) -> Tensor:
        """A tensor of the generator's dtype on its device, for ``generator.log_prob(x.to(generator.like))``."""
        return self.flow.like

    @property
    def evaluations(self) -> int:
        """How many energies have been evaluated so far."""
        return self.potential.evaluations

    @property
    def widths(self) -> Tensor:
        """How widely each internal coordinate is spread (D,); infinite means anywhere."""
        return self.coordinates.widths

    @property
    def identity(self) -> list[Any]:
        """What tells this molecule and its coordinates from any other, JSON-able.

        A range of temperatures and stochastic layers count too: they change what is learned, and not the parameters.
        """
        header = self.architecture.header
        ours = [header[name] for name in ("temperatures", "stochastic") if name in header]
        return [self.system.specification, self.coordinates.specification, *ours]

    def evaluate(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Volume element log|det ∂x/∂z| (n,) of internal coordinates (n, D), and U/kT (n,)."""
        positions, log_volume = self.coordinates(z)
        return log_volume, self.internal_target().target.reduced(self.potential.energy(positions))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> BoltzmannGenerator:
        """Move everything to a device or a dtype, in place; returns itself."""
        for part in (self.flow, self.coordinates, self.potential):
            part.to(device=device, dtype=dtype)
        return self

    def compile(self) -> None:
        """Compile the layers of the flow and the coordinates, in place; code is built when a batch first comes."""
        self.flow.compile_layers()
        compile_method(self.coordinates, "forward", dynamic=False)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        temperature: Temperature | None = None,
        seed: int | None = None,
        batch_size: int = 1024,
        progress: Callable[[int], None] | None = None,
    ) -> Ensemble:
        """Draw structures with their weights.

        Args:
            n: how many.
            temperature: in K or a Quantity; by default the generator's own. Another one needs a generator for a range
                of temperatures, and lies in it.
            seed: of the random numbers; None takes a fresh one.
            batch_size: how many at a time; bounds the memory.
            progress: called after each batch with the number drawn so far.

        Returns:
            An ensemble at that temperature: positions in nm, energies in kJ/mol, and exact
            log-weights. Structures that the potential cannot evaluate have weight zero and are counted.

        Raises:
            OptionError: if n or batch_size is not positive, or the generator is not made for the temperature.
        """
        if n < 1 or batch_size < 1:
            raise OptionError(f"Expected positive numbers of samples and of samples in a batch; got {n}, {batch_size}.")
        kelvin = self.checked_temperature(temperature)
        context = self.context(self.like.new_full((batch_size,), kelvin))
        random = torch.Generator(self.like.device)
        if seed is None:
            random.seed()
        else:
            random.manual_seed(seed)
        target = BoltzmannTarget(self.potential, kelvin)
        parts: list[tuple[Tensor, ...]] = []
        for start in range(0, n, batch_size):
            # Batches have one shape, for which code may have been compiled; what is too many is cut off.
            internals, log_q = self.flow.sample(batch_size, context, generator=random)
            positions, log_volume = self.coordinates(internals)
            energies = self.potential.energy(positions)
            log_q = log_q - log_volume
            log_weights = -target.reduced(energies) - log_q
            # Whatever cannot be weighed counts as failed: energy +inf, weight zero.
            sound = log_weights.isfinite()
            energies = torch.where(sound, energies, torch.inf)
            log_weights = torch.where(sound, log_weights, -torch.inf)
            parts.append(tuple(t[: n - start].cpu() for t in (positions, energies, log_weights, log_q)))
            if progress is not None:
                progress(min(n, start + batch_size))
        positions, energies, log_weights, log_q = (torch.cat(column) for column in zip(*parts, strict=True))
        ensemble = Ensemble(
            positions=positions.numpy(),
            energies=energies.numpy(),
            temperature=kelvin,
            log_weights=log_weights.numpy(),
            log_q=None if self.flow.transform.stochastic_layers else log_q.numpy(),
            topology=self.system.mdtraj_topology,
            absolute=True,
        )
        ensemble.cut_off = self.cut_off(kelvin)
        return ensemble

    def cut_off(self, temperature: Temperature | None = None) -> dict[str, float]:
        """What the coordinates' bounds cut off at a temperature, by default its own; see `MolecularSystem.cut_off`."""
        kelvin = self.temperature if temperature is None else checked_temperature(temperature)
        if kelvin not in self._cut_off:
            self._cut_off[kelvin] = self.system.cut_off(self.coordinates, kelvin)
        return self._cut_off[kelvin]

    def log_prob(self, positions: Tensor, *, temperature: Temperature | None = None) -> Tensor:
        """log q of given structures, in the Cartesian measure with rigid motion integrated out.

        Args:
            positions: (batch, N, 3) in nm, in any place and orientation.
            temperature: as in `sample`.

        Returns:
            (batch,); −inf where a structure lies outside the domain of the coordinates.

        Raises:
            OptionError: if the generator is not made for the temperature.
            IntractableDensityError: if it has stochastic layers.
        """
        kelvin = self.checked_temperature(temperature)
        internals, log_ratio = self.coordinates.inverse(positions)
        log_q = self.flow.log_prob(internals, self.context(internals.new_full((len(internals),), kelvin)))
        return torch.where(log_q.isneginf(), log_q, log_q + log_ratio)

    def checked_temperature(self, temperature: Temperature | None = None) -> float:
        """A temperature in K that this generator is made for, by default its own.

        Raises:
            OptionError: if it is another one.
        """
        if temperature is None:
            return self.temperature
        kelvin = checked_temperature(temperature)
        low, high = self.temperatures or (self.temperature, self.temperature)
        if not low <= kelvin <= high:
            made_for = f"{low:g} to {high:g} K" if self.temperatures else f"{low:g} K alone"
            raise OptionError(f"Expected a temperature that this generator is made for, {made_for}; got {kelvin:g} K.")
        return kelvin

    def save(self, path: str | Path) -> None:
        """Write everything, the molecule included, to one safetensors file; atomically, without pickle."""
        header = {
            "boltzflow": __version__,
            "system": self.system.specification,
            "coordinates": self.coordinates.specification,
            "architecture": self.architecture.header,
            "dtype": str(self.like.dtype).removeprefix("torch."),
            "provenance": self.provenance,
        }
        write_tensors(Path(path), self.flow.state_dict(), KIND, VERSION, header)

    @classmethod
    def load(cls, path: str | Path, *, backend: Literal["auto", "torch", "openmm"] = "auto") -> BoltzmannGenerator:
        """A generator from its file.

        Raises:
            MissingFileError: if there is no such file.
            FileFormatError: if it is damaged, of another kind or of a newer format.
            MemoryShortageError: if there is not enough memory for what it holds.
            UnsupportedForceError: if its Hamiltonian would run code.
        """
        tensors, header = read_tensors(Path(path), KIND, VERSION)
        with reading(Path(path), f"{{}} is an incomplete {KIND}"):
            architecture = Architecture.from_header(header["architecture"])
            check_sizes(architecture, tensors.values())
            system = MolecularSystem.from_specification(header["system"])
            coordinates = coordinates_from_specification(header["coordinates"])
            generator = cls._build(system, coordinates, architecture, backend)
            generator.to(dtype=getattr(torch, header["dtype"]))
            generator.flow.load_state_dict(tensors)
            generator.provenance = dict(header["provenance"])
        return generator
