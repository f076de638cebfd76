"""SIGReg and LeJEPA's losses against independent float64 values (core_sigreg.npz): every array of the file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.objectives.lejepa import LeJEPA, invariance
from jaxemb.ops.sigreg import epps_pulley, sigreg
from jaxemb.views.crops import CropViews


@pytest.fixture
def arrays(load):
    return load("core_sigreg.npz")


@pytest.fixture
def fields(arrays):
    return {"t_max": float(arrays["t_max"]), "points": int(arrays["points"])}


def test_statistic_and_its_gradient(arrays, fields, precision):
    z = precision.array(arrays["views"].reshape(-1, arrays["views"].shape[-1]))
    directions = precision.array(arrays["directions"])
    precision.check(epps_pulley(z @ directions, **fields), arrays["per_slice"], "per_slice")
    value, g = jax.value_and_grad(lambda z: sigreg(z, directions, **fields))(z)
    precision.check(value, arrays["sigreg"], "sigreg")
    precision.check(g, arrays["grad_sigreg"], "grad_sigreg")
    collapsed = jnp.zeros_like(z[: arrays["views"].shape[1]])
    precision.check(sigreg(collapsed, directions, **fields), arrays["collapsed_sigreg"], "collapsed_sigreg")


def test_losses_and_gradient(arrays, fields, precision):
    views, directions = precision.array(arrays["views"].swapaxes(0, 1)), precision.array(arrays["directions"])
    count, weight = int(arrays["n_global"]), float(arrays["weight"])
    precision.check(invariance(views, count), arrays["invariance"], "invariance")
    # A case may hold one global view and several local ones, which are views of their own to the model.
    local = CropViews(count=views.shape[1] - count) if views.shape[1] > count else None
    model = LeJEPA(views=CropViews(count=count), local=local, weight=weight, **fields)
    value, g = jax.value_and_grad(lambda z: model.join(z, directions).value)(views)
    precision.check(value, arrays["total"], "total")
    if "grad_total" in arrays:
        precision.check(g.swapaxes(0, 1), arrays["grad_total"], "grad_total")
    convex = model.clone(convex=True).join(views, directions).value
    precision.check(convex, arrays["invariance_convex_total"], "invariance_convex_total")


@pytest.fixture
def one_global(arrays):
    """The same arrays with one view as the centre, by the formulas, in numpy."""
    z, weight = arrays["views"].astype(np.float64), float(arrays["weight"])
    agree, normal = np.square(z[:1] - z).mean(), float(arrays["sigreg"])
    known = {
        "invariance": agree,
        "total": agree + weight * normal,
        "invariance_convex_total": (1 - weight) * agree + weight * normal,
    }
    given = {k: v for k, v in arrays.items() if k != "grad_total"}
    return {**given, "n_global": np.asarray(1), **known}


def test_one_global_view_and_several_local_ones(one_global, fields, precision):
    test_losses_and_gradient(one_global, fields, precision)
