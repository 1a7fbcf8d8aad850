"""Differentiable upper bounds of the norms of linear maps, without internal state."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def spectral_norm_bound(weight: Tensor, squarings: int = 6) -> Tensor:
    """An upper bound of the largest singular value: the Schatten norm of order p = 2(2^squarings + 1).

    It exceeds the spectral norm by a factor of at most min(rows, columns)^(1/p). Unlike power iteration, which
    approaches the norm from below and needs vectors that follow the weights, it is an upper bound for every matrix
    (Gram iteration, Delattre et al. 2023, arXiv 2305.16173). Its gradient is exact; the second derivative is not.

    Args:
        weight: (…, rows, columns), real or complex.
        squarings: number of squarings of the Gram matrix.

    Returns:
        (…).

    >>> round(spectral_norm_bound(torch.diag(torch.tensor([3.0, 1.0]))).item(), 4)
    3.0
    """
    with torch.no_grad():
        tiny = torch.finfo(weight.dtype).tiny
        largest = weight.abs().amax((-2, -1), keepdim=True).clamp(min=tiny)
        unit = weight / largest
        wide = weight.shape[-1] > weight.shape[-2]
        gram = unit @ unit.mH if wide else unit.mH @ unit
        # power = gram^(2^k) / exp(log_scale)
        power, log_scale = gram, torch.zeros_like(largest)
        for k in range(squarings):
            # A trace of 1 decreases to n⁻⁷ at worst in three squarings, far from underflow.
            if k % 3 == 0:
                size = power.diagonal(dim1=-2, dim2=-1).real.sum(-1)[..., None, None].clamp(min=tiny)
                power = power / size
                log_scale = log_scale + size.log()
            power = power @ power
            log_scale = 2.0 * log_scale
        trace = (gram.conj() * power).real.sum((-2, -1), keepdim=True)
        norm = largest * ((trace.log() + log_scale) / (2.0 * (2.0**squarings + 1.0))).exp()
        slope = power @ unit if wide else unit @ power
        inner = (slope.conj() * weight).real.sum((-2, -1), keepdim=True)
        # Rounding must not reduce the bound below the norm.
        slope = slope * (norm / inner.clamp(min=tiny) * (1.0 + 8.0 * torch.finfo(weight.dtype).eps))
    # Norms are homogeneous, ⟨∂‖W‖/∂W, W⟩ = ‖W‖: one product gives value and gradient.
    return (slope.conj() * weight).real.sum((-2, -1))


def convolution_norm_bound(kernel: Tensor, squarings: int = 6) -> Tensor:
    """An upper bound of the spectral norm of a zero-padded convolution with stride 1, for images of every size.

    The norm is at most the maximum norm of the kernel's Fourier symbol. The symbol is a trigonometric polynomial of
    degree d = (size − 1)/2, whose maximum exceeds that on N equispaced frequencies by a factor of at most 1/cos(πd/N)
    (Ehlich & Zeller 1964, DOI 10.1007/BF01111276).

    Args:
        kernel: (out, in, height, width), of odd height and width.
        squarings: see `spectral_norm_bound`.

    Returns:
        A scalar.
    """
    with torch.no_grad():
        excess, waves = 1.0, []
        for size in kernel.shape[2:]:
            degree = (size - 1) // 2
            count = 4 * size if degree else 1
            excess /= math.cos(math.pi * degree / count)
            phase = torch.outer(torch.arange(count), torch.arange(size)) * (2.0 * math.pi / count)
            waves.append(torch.polar(torch.ones_like(phase), phase).to(kernel.device, kernel.dtype.to_complex()))
        # A real kernel has conjugate symbols at opposite frequencies: half of them are enough.
        waves[0] = waves[0][: len(waves[0]) // 2 + 1]
        symbols = torch.einsum("oihw,fh,gw->fgoi", kernel.to(waves[0].dtype), *waves)
        index = spectral_norm_bound(symbols, squarings).flatten().argmax()
        row, column = index // len(waves[1]), index % len(waves[1])
        wave = torch.outer(waves[0].index_select(0, row[None])[0], waves[1].index_select(0, column[None])[0])
    return excess * spectral_norm_bound((kernel * wave).sum((2, 3)), squarings)


def induced_norm_bound(
    weight: Tensor, domain: float | Tensor, codomain: float | Tensor, sizes: tuple[int, int]
) -> Tensor:
    """An upper bound of ‖W‖ from p-norm to q-norm, by Riesz–Thorin interpolation.

    Exact for 1 → q and p → ∞ of a matrix; between those and 2 → 2 the logarithm of the bound is linear in
    (1/p, 1/q), so that the orders can be learned.

    Args:
        weight: (out, in) matrix, or (out, in, height, width) kernel of a zero-padded convolution.
        domain: 1/p in [0, 1], a number or a scalar tensor.
        codomain: 1/q in [0, 1].
        sizes: the numbers of inputs and outputs, for q < p.

    Returns:
        A scalar.

    >>> weight = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    >>> [induced_norm_bound(weight, t, t, (2, 2)).item() for t in (1.0, 0.0)]
    [5.0, 3.0]
    """
    spectral = spectral_norm_bound if weight.dim() == 2 else convolution_norm_bound
    size = weight.abs()
    rows, columns = size.flatten(1), size.transpose(0, 1).flatten(1)
    if not isinstance(domain, Tensor) and not isinstance(codomain, Tensor):
        if domain == codomain == 0.5:
            return spectral(weight)
        if domain == 1.0:
            return _norms(columns, 1.0 / codomain if codomain else math.inf).amax()
        if codomain == 0.0:
            return _norms(rows, 1.0 / (1.0 - domain)).amax()
    a, b = torch.as_tensor(domain).to(weight), torch.as_tensor(codomain).to(weight)
    norms = torch.stack([rows.sum(1).amax(), spectral(weight), columns.sum(1).amax(), size.amax()])
    log_norms = norms.clamp(min=torch.finfo(weight.dtype).tiny).log()

    def on_diagonal(t: Tensor) -> Tensor:
        """The bound for p = q = 1/t: from ∞ through 2 to 1."""
        to_infinity, to_one = (1.0 - 2.0 * t).clamp(min=0.0), (2.0 * t - 1.0).clamp(min=0.0)
        shares = torch.stack([to_infinity, 1.0 - to_infinity - to_one, to_one])
        return (shares * log_norms[:3]).sum()

    # For q > p on the line from the diagonal to 1 → ∞, whose norm is the largest entry; for q < p one of the two
    # vectors is measured in the other's norm.
    up, down = (a - b).clamp(min=0.0), (b - a).clamp(min=0.0)
    log_bounds = []
    for t, count in zip((b, a), sizes, strict=True):
        foot = torch.where(up > 0.0, b / (1.0 - up).clamp(min=torch.finfo(weight.dtype).eps), t)
        log_bounds.append((1.0 - up) * on_diagonal(foot) + up * log_norms[3] + down * math.log(count))
    return torch.minimum(*log_bounds).exp()


def _norms(rows: Tensor, order: float) -> Tensor:
    out: Tensor = torch.linalg.vector_norm(rows, order, dim=1)
    return out
