"""Variational autoencoders whose posterior is transformed by a flow."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from boltzflow.core.distributions import Density
from boltzflow.core.layer import Layer
from boltzflow.errors import DomainError, OptionError


class FlowVAE(nn.Module):
    """A latent-variable model p(z)·p(x | z) whose approximate posterior q(z | x) is transformed by a flow.

    Kingma & Welling 2014, arXiv 1312.6114; Rezende & Mohamed 2015, arXiv 1505.05770. The flow gets the flattened x
    as context. With a conditional flow the shape of the posterior depends on x; an unconditional flow ignores x.

    Args:
        prior: p(z): a distribution or a flow.
        encoder: q₀(z₀ | x): a density with x as context, such as `ConditionalNormal`.
        decoder: p(x | z): a density with z as context, such as `ConditionalNormal` or `ConditionalBernoulli`.
        flow: maps z₀ to z; None for z = z₀.

    Raises:
        DomainError: if the domains of encoder, flow and prior do not match.

    >>> from boltzflow.core import Domain
    >>> from boltzflow.core.distributions import ConditionalBernoulli, ConditionalNormal, DiagonalNormal
    >>> latent, data = Domain.real(2), Domain.real(64)
    >>> vae = FlowVAE(
    ...     DiagonalNormal(latent),
    ...     ConditionalNormal(latent, nn.Linear(64, 4)),
    ...     ConditionalBernoulli(data, nn.Linear(2, 64)),
    ... )
    >>> x = torch.randint(2, (5, 64)).float()
    >>> vae.elbo(x).shape, vae.importance_weighted_bound(x, num_samples=10).shape
    (torch.Size([5]), torch.Size([5]))
    """

    def __init__(self, prior: Density, encoder: Density, decoder: Density, flow: Layer | None = None) -> None:
        start, end = (encoder.domain,) * 2 if flow is None else (flow.latent_domain, flow.data_domain)
        if encoder.domain != start:
            raise DomainError(
                f"FlowVAE: expected an encoder on {start}, the flow's latent domain; got {encoder.domain}."
            )
        if prior.domain != end:
            raise DomainError(f"FlowVAE: expected a prior on {end}, the posterior's domain; got {prior.domain}.")
        super().__init__()
        self.prior = prior
        self.encoder = encoder
        self.decoder = decoder
        self.flow = flow

    def forward(
        self, x: Tensor, num_samples: int = 1, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latent states of the posterior, with the two log-densities of their weights.

        Args:
            x: (batch, *data shape).
            num_samples: the number of samples S for each x.
            generator: the random number generator.

        Returns:
            z (batch, S, *latent shape); log q(z | x) (batch, S); log p(x, z) (batch, S).

        Raises:
            OptionError: if S is below 1.
        """
        z, log_q, log_prior, log_likelihood = self._terms(x, num_samples, generator)
        return z, log_q, log_prior + log_likelihood

    def elbo(
        self, x: Tensor, num_samples: int = 1, *, beta: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """The evidence lower bound (batch,): the mean of log p(x | z) + β·[log p(z) − log q(z | x)].

        At β = 1 it is a lower bound of log p(x); a smaller β early in training prevents posterior collapse.
        """
        _, log_q, log_prior, log_likelihood = self._terms(x, num_samples, generator)
        return (log_likelihood + beta * (log_prior - log_q)).mean(1)

    def importance_weighted_bound(
        self, x: Tensor, num_samples: int, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """log of the mean weight p(x, z)/q(z | x) of S samples (batch,): a lower bound of log p(x), tighter with S.

        Burda et al. 2016, arXiv 1509.00519.
        """
        _, log_q, log_p = self(x, num_samples, generator=generator)
        bound: Tensor = (log_p - log_q).logsumexp(1) - math.log(num_samples)
        return bound

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """New data: x (n, *data shape), and the z (n, *latent shape) from which they came."""
        z, _ = self.prior.sample(n, generator=generator)
        x, _ = self.decoder.sample(n, z, generator=generator)
        return x, z

    def _terms(
        self, x: Tensor, num_samples: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if num_samples < 1:
            raise OptionError(f"FlowVAE: expected at least one sample; got {num_samples}.")
        repeated = x.repeat_interleave(num_samples, 0)
        z, log_q = self.encoder.sample(len(repeated), repeated, generator=generator)
        if self.flow is not None:
            z, log_ratio = self.flow(z, repeated.flatten(1), generator=generator)
            log_q = log_q - log_ratio
        log_prior, log_likelihood = self.prior.log_prob(z), self.decoder.log_prob(repeated, z)
        rows = (len(x), num_samples)
        return z.reshape(*rows, *z.shape[1:]), log_q.view(rows), log_prior.view(rows), log_likelihood.view(rows)
