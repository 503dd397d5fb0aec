r"""Ridge and L2-SP in the linear-Gaussian model.

The model, used by every function here:

    y = X theta + eps,     eps ~ N(0, sigma2 I_n) independent of X,
    rows of X independent with second moment Sigma = E[x x'] = V diag(s) V'.

The estimator, for a strength lam >= 0 and a centre c (the pretrained parameters; c = 0 is ridge):

    theta_hat = argmin  (1/n) ||y - X theta||^2 + lam ||theta - c||^2
              = c + (X'X/n + lam I)^{-1} X'(y - X c)/n.

No intercept is fitted: put a column of ones into X, or centre X and y, before you call.
"L2-SP" is the name of Li, Grandvalet and Davoine, "Explicit inductive bias for transfer learning
with convolutional networks", ICML 2018.

Three rooms, by what is held fixed when an expectation is taken:

- `fixed`: X is given, only eps is random.
- `random`: X and eps are both random.
- `posterior`: the data are given, theta is random (a prior around the centre).
"""

from medxfer_lab.methods.linear_gaussian.fixed import Decomposition, fixed_design, l2sp
from medxfer_lab.methods.linear_gaussian.posterior import (
    Posterior,
    bayes_strength,
    posterior,
    prior_sample_size,
    shrinkage,
)
from medxfer_lab.methods.linear_gaussian.random import (
    RandomDesign,
    effective_regularisation,
    plug_in,
    power_law,
    random_design,
)
from medxfer_lab.methods.linear_gaussian.strength import Optimum, optimal_strength

__all__ = [
    "Decomposition",
    "Optimum",
    "Posterior",
    "RandomDesign",
    "bayes_strength",
    "effective_regularisation",
    "fixed_design",
    "l2sp",
    "optimal_strength",
    "plug_in",
    "posterior",
    "power_law",
    "prior_sample_size",
    "random_design",
    "shrinkage",
]
