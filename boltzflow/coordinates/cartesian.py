"""Cartesian coordinates without rigid motion, along the principal axes of a molecule's fluctuations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from boltzflow.coordinates.geometry import cross
from boltzflow.coordinates.molecular import MolecularCoordinates
from boltzflow.core.domain import Coordinate, Domain
from boltzflow.errors import InsufficientDataError, NonFiniteError, ShapeError, TopologyError

_NARROWEST = 1e-4  # nm: below it, rounding of positions matters
_FRAMES = 2  # minimum number of frames per coordinate to estimate a covariance
_SUPERPOSITIONS = 10  # iterations of superposing a trajectory on its mean


class CartesianCoordinates(MolecularCoordinates):
    """Amplitudes of 3N−6 modes (latent) ↔ positions (data); the Eckart conditions remove rigid motion.

    Positions are x₀ + Σ axes·w: the centred reference structure plus displacements along axes that are orthogonal to
    its translations and infinitesimal rotations (C. Eckart, Phys. Rev. 47, 552 (1935),
    doi 10.1103/PhysRev.47.552, here without masses). Such structures are superposed on the reference in the
    least-squares sense. With A = Σᵢ yᵢ x₀ᵢᵀ and M(y) = tr(A) 1 − A the volume element is exactly

        |axes| · N^{3/2} det M(y) / √det M(x₀).

    If M is not positive definite, another rotation superposes y better. Then log_ratio is −∞, so that each shape is
    counted once. Mirror images are not separated: only the energy determines chirality.

    `forward` places the centre at the origin. `inverse` accepts positions in any place and orientation and superposes
    them (W. Kabsch, Acta Cryst. A 32, 922 (1976), doi 10.1107/S0567739476001873). Both are differentiable.

    Args:
        reference: (N, 3), nm, N ≥ 3 atoms that are not collinear.
        covariance: (3N, 3N) of the displacements, nm²; rigid motion is projected out. Its principal axes become the
            modes, each scaled to unit variance, widest first.

    Raises:
        ShapeError: if there are fewer than three atoms or the shapes do not match.
        NonFiniteError: if a number is not finite.
        TopologyError: if all atoms are collinear.

    >>> water = torch.tensor([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0]])
    >>> coordinates = CartesianCoordinates(water, 1e-4 * torch.eye(9))
    >>> coordinates.domain.names
    ('mode 1', 'mode 2', 'mode 3')
    >>> x, log_ratio = coordinates(torch.zeros(1, 3))
    >>> torch.allclose(torch.cdist(x[0], x[0]), torch.cdist(water, water))
    True
    """

    kind = "Cartesian"
    _reference: Tensor
    _axes: Tensor
    _log_scale: Tensor

    def __init__(self, reference: Any, covariance: Any) -> None:
        reference = _double(reference)
        covariance = _double(covariance)
        n = len(reference)
        if reference.shape != (n, 3) or n < 3 or covariance.shape != (3 * n, 3 * n):
            raise ShapeError(
                "Expected a reference (N, 3) with N ≥ 3 and a covariance (3N, 3N); "
                f"got {tuple(reference.shape)} and {tuple(covariance.shape)}."
            )
        if not torch.isfinite(reference).all() or not torch.isfinite(covariance).all():
            raise NonFiniteError("Expected a finite reference and covariance; got NaN or infinity.")
        reference = reference - reference.mean(0)
        basis = internal_basis(reference)
        variances, vectors = torch.linalg.eigh(basis.T @ covariance @ basis)
        scales = variances.flip(0).clamp(min=_NARROWEST**2).sqrt()
        self._build(reference, basis @ vectors.flip(1) * scales)

    def _build(self, reference: Tensor, axes: Tensor) -> None:
        n, size = len(reference), axes.shape[1]
        domain = Domain.of([Coordinate("real", name=f"mode {i}") for i in range(1, size + 1)])
        super().__init__(domain, Domain.real((n, 3)))
        self._plain = reference.tolist(), axes.tolist()  # double precision, even if the buffers are cast
        log_scale = torch.linalg.svdvals(axes).log().sum() + 1.5 * math.log(n)
        log_scale = log_scale - 0.5 * torch.linalg.slogdet(_moment(reference.T[..., None], reference)[..., 0])[1]
        for name, value in (
            ("centers", torch.zeros(size, dtype=torch.float64)),
            ("widths", torch.ones(size, dtype=torch.float64)),
            ("_reference", reference),
            ("_axes", axes),
            ("_log_scale", log_scale),
        ):
            self.register_buffer(name, value, persistent=False)

    @classmethod
    def from_frames(cls, positions: Any) -> CartesianCoordinates:
        """Coordinates with the mean of superposed frames as the reference, and with their covariance.

        Args:
            positions: (n, N, 3) in nm, in any place and orientation; they should include all states to be sampled.

        Raises:
            ShapeError: if the positions have another shape.
            InsufficientDataError: if there are fewer than two frames for each of the 3N−6 coordinates.
            NonFiniteError, TopologyError: as for the class.
        """
        frames = _double(positions)
        n = frames.shape[1] if frames.ndim == 3 else 0
        is_shaped = frames.ndim == 3 and frames.shape[2] == 3
        if not is_shaped or len(frames) < _FRAMES * (3 * n - 6):
            kind = InsufficientDataError if is_shaped else ShapeError
            raise kind(
                f"Expected frames (n, N, 3), at least {_FRAMES} for each of the 3N − 6 coordinates; "
                f"got {tuple(frames.shape)}."
            )
        if not torch.isfinite(frames).all():
            raise NonFiniteError("Expected finite positions; got NaN or infinity in the trajectory.")
        frames = frames - frames.mean(1, keepdim=True)
        mean = frames[0]
        for _ in range(_SUPERPOSITIONS):
            frames = superposed(frames, mean)
            mean = frames.mean(0)
        frames = superposed(frames, mean)
        return cls(mean, (frames - mean).flatten(1).T.cov())

    @property
    def specification(self) -> dict[str, Any]:
        return {"kind": self.kind, "reference": self._plain[0], "axes": self._plain[1]}

    @classmethod
    def from_specification(cls, specification: Mapping[str, Any]) -> CartesianCoordinates:
        """Rebuild from `specification`."""
        made = cls.__new__(cls)
        made._build(_double(specification["reference"]), _double(specification["axes"]))
        return made

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Amplitudes (batch, 3N−6) → positions (batch, N, 3) in nm, log_ratio (batch,).

        Raises:
            ShapeError: if z has another shape.
        """
        self.latent_domain.check(z, "CartesianCoordinates.forward")
        reference = self._reference.to(z)
        x = reference + (z @ self._axes.to(z).T).view(-1, *reference.shape)
        return x, self._log_volume(x.permute(2, 1, 0))

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Positions (batch, N, 3) in nm → amplitudes (batch, 3N−6), log_ratio (batch,).

        Raises:
            ShapeError: if x has another shape.
        """
        self.data_domain.check(x, "CartesianCoordinates.inverse")
        reference = self._reference.to(x)
        y = superposed(x - x.mean(1, keepdim=True), reference).permute(2, 1, 0)
        # The superposition is computed without gradient; one Newton step of negligible size adds the gradient.
        torque = cross(reference.T[..., None], y, 0).sum(1)
        m = _moment(y, reference)
        adjugate = torch.stack([cross(m[1], m[2], 0), cross(m[2], m[0], 0), cross(m[0], m[1], 0)], 1)
        turn = -(adjugate * torque).sum(1) / (m[0] * adjugate[:, 0]).sum(0)
        y = y + cross(turn[:, None].expand_as(y), y, 0)
        z = (y.permute(2, 1, 0) - reference).flatten(1) @ torch.linalg.pinv(self._axes).T.to(x)
        return z, -self._log_volume(y)

    def extra_repr(self) -> str:
        """Size, for printing."""
        return f"{len(self._reference)} atoms"

    def _log_volume(self, y: Tensor) -> Tensor:
        """log of the volume element (batch,) of centred positions (3, N, batch); −∞ outside the slice."""
        m = _moment(y, self._reference.to(y))
        first, second = m[0, 0], m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
        determinant = (m[0] * cross(m[1], m[2], 0)).sum(0)
        inside = (first > 0) & (second > 0) & (determinant > 0)
        log_volume = torch.where(inside, determinant, 1.0).log() + self._log_scale.to(y)
        return torch.where(inside | determinant.isnan(), log_volume, -torch.inf)


def internal_basis(reference: Tensor) -> Tensor:
    """An orthonormal basis (3N, 3N−6) of displacements of a centred structure (N, 3) without rigid motion.

    Raises:
        TopologyError: if all atoms are collinear.
    """
    n = len(reference)
    unit = torch.eye(3, dtype=reference.dtype)
    shifts = unit[:, None].expand(3, n, 3)
    turns = torch.linalg.cross(unit[:, None].expand(3, n, 3), reference.expand(3, n, 3))
    rigid = torch.cat([shifts, turns]).flatten(1).T
    if torch.linalg.matrix_rank(rigid, rtol=1e-6) < 6:
        raise TopologyError(f"Expected atoms that are not all collinear; got {n} collinear atoms.")
    basis: Tensor = torch.linalg.qr(rigid, mode="complete")[0][:, 6:]
    return basis


def superposed(x: Tensor, reference: Tensor) -> Tensor:
    """Centred frames (n, N, 3) superposed on a centred structure (N, 3); the rotation has no gradient."""
    with torch.no_grad():
        covariance = torch.einsum("bna,nc->bac", x, reference)
        sound = covariance.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
        u, _, v = torch.linalg.svd(torch.where(sound, covariance, 0.0))
        v = torch.cat([v[:, :2], v[:, 2:] * torch.linalg.det(u @ v)[:, None, None].sign()], 1)
    turned: Tensor = x @ (u @ v)
    return turned


def _moment(y: Tensor, reference: Tensor) -> Tensor:
    """tr(A) 1 − A with A = Σ y x₀ᵀ: (3, 3, batch) of centred positions (3, N, batch)."""
    a = torch.einsum("anb,nc->acb", y, reference)
    return torch.eye(3, dtype=y.dtype, device=y.device)[..., None] * (a[0, 0] + a[1, 1] + a[2, 2]) - a


def _double(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64).detach().cpu()
