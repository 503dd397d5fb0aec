"""Curvature of the mean log loss: products, eigenvalues, their density, trace, Fisher diagonal.

Any ``torch.nn.Module`` that maps inputs (n, ...) to logits (n,) or (n, K); parameters are a dict
name -> tensor, all of them or a `block`. Nothing here changes the network.

    operator = hessian_operator(network, inputs, labels)
    top = top_eigenvalues(operator, operator.dimension, 3, seed=0)
    trace = hutch_plus_plus_trace(operator, operator.dimension, products=60, seed=0)
    fisher = fisher_diagonal(network, inputs, labels="exact")
"""

from medxfer_lab.methods.curvature.density import SpectralDensity, spectral_density
from medxfer_lab.methods.curvature.fisher import fisher_diagonal
from medxfer_lab.methods.curvature.functional import block
from medxfer_lab.methods.curvature.lanczos import Eigenvalues, Lanczos, lanczos, top_eigenvalues
from medxfer_lab.methods.curvature.products import (
    Operator,
    gauss_newton_operator,
    gauss_newton_vector_product,
    hessian_operator,
    hessian_vector_product,
)
from medxfer_lab.methods.curvature.trace import Trace, hutch_plus_plus_trace, hutchinson_trace

__all__ = [
    "Eigenvalues",
    "Lanczos",
    "Operator",
    "SpectralDensity",
    "Trace",
    "block",
    "fisher_diagonal",
    "gauss_newton_operator",
    "gauss_newton_vector_product",
    "hessian_operator",
    "hessian_vector_product",
    "hutch_plus_plus_trace",
    "hutchinson_trace",
    "lanczos",
    "spectral_density",
    "top_eigenvalues",
]
