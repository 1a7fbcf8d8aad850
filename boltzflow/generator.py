"""The Boltzmann generator: a flow, its internal coordinates, and the molecule."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from boltzflow.architecture import ACCEPTANCE, Architecture, build_flow, check_sizes, checked_range
from boltzflow.coordinates import MolecularCoordinates, coordinates_from_specification
from boltzflow.core import Flow, StochasticFlow
from boltzflow.core.compilation import compile_method
from boltzflow.core.precision import Precision
from boltzflow.energies import BoltzmannTarget, Potential, PulledBackTarget, pullback
from boltzflow.ensemble import Ensemble
from boltzflow.errors import OptionError, ShapeError, TopologyError
from boltzflow.molecules import MolecularSystem
from boltzflow.molecules.informed import bonded_tables, sampled_tables, tabulated_base, with_puckers
from boltzflow.molecules.symmetry import Copies, label_orders
from boltzflow.presets import DEFAULT, PresetName, flow_settings
from boltzflow.storage import reading
from boltzflow.tensorfile import read_tensors, write_tensors
from boltzflow.units import Temperature, checked_temperature
from boltzflow.version import __version__

KIND = "boltzflow generator"
VERSION = 3

_ADAPTED_WITH = 64  # samples


class BoltzmannGenerator:
    """Samples molecular structures, each with its exact weight in the Boltzmann distribution.

    Create one with `for_system`, train it with `boltzflow.train`, and sample with `sample`.

    Args:
        system: the molecule.
        flow: a density over the internal coordinates. Stochastic layers use the path from its base to the molecule's
            Boltzmann density.
        coordinates: the transform between internal coordinates and positions.
        architecture: the options from which the flow is rebuilt.
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
        """An untrained generator whose base distribution comes from the force field, one coordinate at a time.

        Args:
            system: the molecule.
            preset: "quick", "standard" or "best": sets `layers` and `hidden` unless they are given, as
                `boltzflow train` does. `boltzflow.train` with the same preset sets the rest.
            lengths: bond lengths in an interval ("bounded") or on the real line ("unbounded").
            coordinates: internal coordinates of the system, such as `system.coordinates(core="backbone")`; excludes
                `lengths`.
            backend: of the potential: "torch", "openmm", or "auto" for the first that works.
            options: of the flow, such as `layers`, `temperatures` or `stochastic`: see `Architecture`. They override
                the preset. Temperatures may be Quantities.

        Raises:
            OptionError: if an option is invalid, both coordinates and `lengths` are given, the system's temperature is
                outside the range, or the range exceeds 1200 K.
            ShapeError: if the coordinates have another number of atoms.

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
            raise OptionError("Expected either `coordinates` or `lengths`; got both.")
        elif coordinates.data_domain.shape[0] != system.n_atoms:
            atoms = coordinates.data_domain.shape[0]
            raise ShapeError(f"Expected coordinates of {system.n_atoms} atoms; got coordinates of {atoms}.")
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
        """Replace the base by one from the force field."""
        system, coordinates = self.system, self.coordinates
        orders = label_orders(system.bond_graph, torch.from_numpy(system.positions), coordinates)
        kelvin = self.temperature if self.temperatures is None else self.temperatures[1]
        tables = bonded_tables(system.openmm_system, coordinates, orders, kelvin, system.energies_along)
        puckers = with_puckers(coordinates, tables)
        if self.architecture.start == "sampled":
            seed = self.architecture.seed
            puckers = [sampled_tables(one, self.potential, coordinates, kelvin, seed) for one in puckers]
        self.flow.base.load_state_dict(tabulated_base(coordinates, puckers).state_dict())

    def _adapt(self, acceptance: float) -> None:
        """Adapt the step sizes of stochastic layers to an acceptance, over all temperatures together."""
        assert isinstance(self.flow, StochasticFlow)
        low, high = self.temperatures or (self.temperature, self.temperature)
        kelvins = low * (high / low) ** torch.linspace(0.0, 1.0, _ADAPTED_WITH)
        random = torch.Generator().manual_seed(self.architecture.seed)
        context, n = self.context(kelvins), _ADAPTED_WITH
        self.flow.adapt_step_sizes(n, context, target_acceptance=acceptance, iterations=30, generator=random)

    @property
    def temperature(self) -> float:
        """The temperature of the target in K; for a temperature range, the default temperature."""
        return self.system.temperature

    @property
    def temperatures(self) -> tuple[float, float] | None:
        """The lowest and highest temperature in K of a generator for a range; None for a single temperature."""
        return self.architecture.temperatures

    def internal_target(self, temperature: float | None = None) -> PulledBackTarget:
        """The Boltzmann density in internal coordinates, at a temperature in K (by default the generator's own)."""
        kelvin = self.temperature if temperature is None else temperature
        return pullback(BoltzmannTarget(self.potential, kelvin), self.coordinates)

    def context(self, temperatures: Tensor) -> Tensor | None:
        """The flow's context for samples at temperatures in K (n,): (n, 1), or None if it does not use temperatures.

        Couplings of a generator for a temperature range are conditioned on it; stochastic layers use the density at
        each temperature.
        """
        asked_for = self.temperatures is not None or self.flow.transform.stochastic_layers
        return temperatures[:, None] if asked_for else None

    @property
    def like(self) -> Tensor:
        """A tensor of the generator's dtype on its device, for ``generator.log_prob(x.to(generator.like))``."""
        return self.flow.like

    @property
    def evaluations(self) -> int:
        """The number of energy evaluations so far."""
        return self.potential.evaluations

    @property
    def widths(self) -> Tensor:
        """The spread of each internal coordinate (D,); infinite if it is unrestricted."""
        return self.coordinates.widths

    @property
    def identity(self) -> list[Any]:
        """Identifies the molecule and its coordinates; JSON-serialisable.

        It includes the temperature range and stochastic layers, which change the target but not the parameters.
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
        """Compile the layers of the flow and the coordinates, in place; the code is generated for the first batch."""
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
        """Sample structures with their weights.

        Args:
            n: number of samples.
            temperature: in K or a Quantity; by default the generator's own. Any other temperature must lie within the
                range of a generator for a temperature range.
            seed: of the random numbers; None uses a random seed.
            batch_size: number of samples at a time; limits the memory.
            progress: called after each batch with the number of samples so far.

        Returns:
            An ensemble at that temperature: positions in nm, energies in kJ/mol, and exact log-weights. Samples without
            a finite weight get energy +inf and weight zero; `Ensemble.failed` counts them.

        Raises:
            OptionError: if n or batch_size is not positive, or the generator does not cover the temperature.
        """
        if n < 1 or batch_size < 1:
            raise OptionError(f"Expected a positive n and a positive batch_size; got {n} and {batch_size}.")
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
            # All batches have one shape, for which code may have been compiled; surplus samples are cut off.
            internals, log_q = self.flow.sample(batch_size, context, generator=random)
            positions, log_volume = self.coordinates(internals)
            energies = self.potential.energy(positions)
            log_q = log_q - log_volume
            log_weights = -target.reduced(energies) - log_q
            # Samples without a finite weight count as failed: energy +inf, weight zero.
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
        """The probability that the coordinates' bounds cut off at a temperature; see `MolecularSystem.cut_off`."""
        kelvin = self.temperature if temperature is None else checked_temperature(temperature)
        if kelvin not in self._cut_off:
            self._cut_off[kelvin] = self.system.cut_off(self.coordinates, kelvin)
        return self._cut_off[kelvin]

    def log_prob(self, positions: Tensor, *, temperature: Temperature | None = None) -> Tensor:
        """log q of given structures, in the Cartesian measure with rigid motion integrated out.

        Args:
            positions: (batch, N, 3) in nm; position and orientation of the molecule are arbitrary.
            temperature: as in `sample`.

        Returns:
            (batch,); −inf where a structure lies outside the domain of the coordinates.

        Raises:
            OptionError: if the generator does not cover the temperature.
            IntractableDensityError: if it has stochastic layers.
        """
        kelvin = self.checked_temperature(temperature)
        internals, log_ratio = self.coordinates.inverse(positions)
        log_q = self.flow.log_prob(internals, self.context(internals.new_full((len(internals),), kelvin)))
        return torch.where(log_q.isneginf(), log_q, log_q + log_ratio)

    def fold(self, positions: Tensor) -> Tensor:
        """Relabel equivalent atoms of frames (n, N, 3), in nm, so that the frames lie in the coordinates' domain.

        In a hot simulation a methyl may exchange two hydrogens: the same structure with other labels, outside the
        domain. Frames that no permutation brings into the domain stay as they are, and so do all frames if the copies
        of the domain cannot be counted.
        """
        return positions if self._copies is None else self._copies.fold(positions)[0]

    @cached_property
    def _copies(self) -> Copies | None:
        try:
            return self.system.symmetry().copies(self.coordinates)
        except TopologyError:
            return None

    def checked_temperature(self, temperature: Temperature | None = None) -> float:
        """A temperature in K that this generator covers, by default its own.

        Raises:
            OptionError: if the generator does not cover it.
        """
        if temperature is None:
            return self.temperature
        kelvin = checked_temperature(temperature)
        low, high = self.temperatures or (self.temperature, self.temperature)
        if not low <= kelvin <= high:
            covered = f"{low:g} to {high:g} K" if self.temperatures else f"only {low:g} K"
            raise OptionError(f"Expected a temperature that this generator covers ({covered}); got {kelvin:g} K.")
        return kelvin

    def save(self, path: str | Path, *, weights: Precision = "float32") -> None:
        """Write the generator and its molecule to one safetensors file, atomically and without pickle.

        Args:
            path: of the file.
            weights: precision of the networks' weight matrices. "float32" leaves them as they are. "bfloat16" halves
                the file; the loaded generator has rounded weights, hence a slightly different density, with exact
                weights of its samples as ever. Measure its effective sample size before you rely on it.

        Raises:
            OptionError: if the precision is neither.
        """
        if weights not in get_args(Precision):
            raise OptionError(f"Expected weights in one of {', '.join(get_args(Precision))}; got {weights!r}.")
        header = {
            "boltzflow": __version__,
            "system": self.system.specification,
            "coordinates": self.coordinates.specification,
            "architecture": self.architecture.header,
            "dtype": str(self.like.dtype).removeprefix("torch."),
            "provenance": self.provenance,
        }
        tensors = self.flow.state_dict()
        if weights == "bfloat16":
            matrices = [name for name, p in self.flow.named_parameters() if p.dim() == 2]
            tensors |= {name: tensors[name].bfloat16() for name in matrices}
        write_tensors(Path(path), tensors, KIND, VERSION, header)

    @classmethod
    def load(cls, path: str | Path, *, backend: Literal["auto", "torch", "openmm"] = "auto") -> BoltzmannGenerator:
        """Load a generator from its file.

        Raises:
            MissingFileError: if the file does not exist.
            FileFormatError: if it is damaged, of another type, or in a newer format.
            MemoryShortageError: if there is not enough memory to load it.
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
