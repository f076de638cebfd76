"""Losses against files of reference values and gradients, whose cases have their options in their names."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from jaxemb.contrastive.base import NOTHING


def number(case, tag):
    """0.05 of "..._tau0p05"; None where the tag is not there."""
    found = re.search(rf"{tag}(\d+(?:p\d+)?)(?:_|$)", case)
    return float(found[1].replace("p", ".")) if found else None


def names(file, prefix):
    found = sorted({k.partition("__")[0] for k in file if k.startswith(prefix) and "__loss" in k})
    assert found, f"no case {prefix}* in the file"
    return found


def own_places(n):
    """Where `flat` has the hard negatives (b k d) of each query among all candidates."""
    b, k = n.shape[:2]
    return jnp.arange(b * k).reshape(b, k) + b


def flat(p, n):
    """The candidates: all positives, then all hard negatives."""
    return jnp.concatenate([p, n.reshape(-1, p.shape[-1])])


def of_rows(loss, known=NOTHING):
    """A loss as a function of the file's arrays: `n`, if there is one, holds hard negatives (b k d)."""

    def value(q, p, n=None):
        if n is None:
            return loss(q, p, known=known).value
        n = n[:, None] if n.ndim == 2 else n
        return loss(q, flat(p, n), known=known._replace(own=own_places(n))).value

    return value


def check(file, values, **renamed):
    """Of each case its value, and the gradient of each array that the file has one of, in the order of the function's arguments.

    `renamed`: the arrays that are called otherwise than their gradients.
    """
    file = {**file, "n0": file["n"][:, 0]}
    wrt = {case: [k.partition("__grad_")[2] for k in file if k.startswith(f"{case}__grad_")] for case in values}
    assert all(wrt.values()), "a case without gradients"
    arrays = {case: [jnp.asarray(file[renamed.get(name, name)]) for name in of] for case, of in wrt.items()}

    @jax.jit  # all of them at once: to compile is nearly all that this costs
    def found(arrays):
        return {case: jax.value_and_grad(f, tuple(range(len(wrt[case]))))(*arrays[case]) for case, f in values.items()}

    for case, (got, grads) in found(arrays).items():
        np.testing.assert_allclose(got, file[f"{case}__loss"], rtol=1e-7, atol=1e-9, err_msg=case)
        for name, grad in zip(wrt[case], grads, strict=True):
            np.testing.assert_allclose(grad, file[f"{case}__grad_{name}"], rtol=1e-7, atol=1e-9, err_msg=f"{case} {name}")
