"""Learning-rate, weight-decay and EMA schedules against I-JEPA's (core_schedules.npz)."""

import re

import jax.numpy as jnp
import numpy as np

from jaxemb.train.optim import Optim
from jaxemb.train.step import momentum_at


def test_every_case(load, precision):
    arrays = load("core_schedules.npz")
    cases = sorted({m[1] for k in arrays if (m := re.fullmatch(r"(s\d+)_cfg", k))})
    assert cases, "core_schedules.npz holds no case"
    for case in cases:
        per_epoch, epochs, warm_epochs, scale = arrays[f"{case}_cfg"]
        steps = int(per_epoch * epochs)
        # The README gives the end points: 2e-4 -> 1e-3 -> 1e-6, decay .04 -> .4, momentum .996 -> 1.
        optim = Optim(
            lr=1e-3, lr_start=2e-4, lr_final=1e-6, warmup=int(warm_epochs * per_epoch), decay=(0.04, 0.4), stretch=float(scale)
        )
        t = jnp.arange(1, steps + 1)
        precision.check(optim.lr_at(t, steps), arrays[f"{case}_lr"], f"{case}_lr")
        precision.check(optim.decay_at(t, steps), arrays[f"{case}_wd"], f"{case}_wd")
        ours = momentum_at(t - 1, (0.996, 1.0), float(scale) * steps)
        precision.check(ours, arrays[f"{case}_ema"], f"{case}_ema")
        assert np.asarray(arrays[f"{case}_lr"]).shape == (steps,)
