"""Fingerprints in state dicts, which prevent loading into a different module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from boltzflow.core.domain import Domain

_KEY = "fingerprint"
_KINDS = {"real": 0.0, "interval": 1.0, "circle": 2.0}
_ROWS = ("domains", "masks or orders", "seams, bounds or scales")
_ROUNDING = 1e-6  # relative tolerance, for buffers computed on another machine or stored in single precision


class Fingerprinted(nn.Module):
    """A module whose state dict contains a fingerprint of everything that the constructor fixes.

    A state dict contains parameters, but not the domains, masks, orders, seams and bounds with which they were learned.
    Without a fingerprint it could be loaded into a module with another seed, and would give a different density. The
    fingerprint is computed from the domains and all non-persistent buffers, including those of submodules. Loading a
    different fingerprint raises torch's RuntimeError. Older state dicts without a fingerprint are loaded without this
    check. A module without parameters and persistent buffers has no fingerprint.

    >>> from boltzflow.core import Domain, recipes
    >>> one, other = (recipes.spline_flow(Domain.circle(4), layers=2, hidden=(8,), seed=seed) for seed in (0, 2))
    >>> other.load_state_dict(one.state_dict())
    Traceback (most recent call last):
    RuntimeError: Error(s) in loading state_dict for Flow:
    ...
    """

    def fingerprint(self) -> Tensor:
        """Weighted sums (3, 3) of domains, integer and floating buffers: with cosines, with sines, and the norm."""
        domains = [number for domain in self._domains() for number in _numbers(domain)]
        buffers = list(_fixed(self))
        rows = (
            [torch.tensor(domains, dtype=torch.float64)],
            [b for b in buffers if not b.is_floating_point()],
            [b for b in buffers if b.is_floating_point()],
        )
        return torch.stack([_weighted_sums(row) for row in rows]).to(next(state_of(self)).device)

    def _domains(self) -> list[Domain]:
        return [value for value in vars(self).values() if isinstance(value, Domain)]

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if _carries(self):
            destination[prefix + _KEY] = self.fingerprint()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        found = state_dict.get(prefix + _KEY)
        if found is None or not _carries(self):
            return
        if prefix + _KEY in unexpected_keys:
            unexpected_keys.remove(prefix + _KEY)
        own = self.fingerprint()
        difference = (found.to(own) - own)[:, :2].abs().amax(1)
        others = [name for name, d, size in zip(_ROWS, difference, own[:, 2], strict=True) if not d <= _ROUNDING * size]
        if others:
            error_msgs.append(
                f"{prefix.removesuffix('.') or type(self).__name__}: expected the state dict of a module with the same "
                f"{' and '.join(others)}; got that of a module with another seed or other options."
            )


def state_of(module: nn.Module) -> Iterator[Tensor]:
    """The tensors of a module's state dict: parameters and persistent buffers."""
    yield from module.parameters()
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False):
            if name not in part._non_persistent_buffers_set:
                yield buffer


def _carries(module: nn.Module) -> bool:
    """Whether a module saves a fingerprint: only if it has parameters or persistent buffers."""
    return isinstance(module, Fingerprinted) and any(True for _ in state_of(module))


def _fixed(module: nn.Module) -> Iterator[Tensor]:
    """The non-persistent buffers of a module, and of its submodules without their own fingerprint."""
    for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
        if name in module._non_persistent_buffers_set:
            yield buffer
    for child in module.children():
        if not _carries(child):
            yield from _fixed(child)


def _weighted_sums(tensors: list[Tensor]) -> Tensor:
    """Σ xᵢ cos i, Σ xᵢ sin i and the norm of x: (3,) float64, where x joins the numbers of all tensors."""
    if not tensors:
        return torch.zeros(3, dtype=torch.float64)
    numbers = torch.cat([t.detach().cpu().flatten().double() for t in tensors]).nan_to_num(posinf=3.0, neginf=-3.0)
    at = torch.arange(1.0, len(numbers) + 1.0, dtype=torch.float64)
    return torch.stack([numbers @ at.cos(), numbers @ at.sin(), numbers.norm()])


def _numbers(domain: Domain) -> Iterator[float]:
    """Kinds and bounds of a flat domain; none for an array, whose coordinates are all real."""
    if len(domain.shape) == 1:
        for c in domain:
            yield from (_KINDS[c.kind], *((c.low, c.high) if c.kind != "real" else ()))
