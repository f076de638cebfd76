"""Does TrAct train small networks faster? Digits, an MLP and a CNN, over learning rates, with inputs in [0, 1] and standardised.

    jaxemb train experiments/tract/digits.py                      the MLP with TrAct in [0, 1], learning rate .1
    jaxemb train experiments/tract/digits.py:mlp_unit_plain_0.1   the same without
    jaxemb train 'experiments/tract/digits.py:mlp_*' --seed 0     20 of the 40, each in its folder; `cnn_*` the others; seeds 0 to 4
    jaxemb train 'experiments/tract/digits.py:lambda_*' --seed 0  lambda against learning rate

Names: network, inputs (`unit`, `standard`), `plain` or `tract`, learning rate. Results: README.md beside this file.
"""

from typing import Any

from jaxemb import Experiment, Optim
from jaxemb.data import Digits
from jaxemb.evals import Accuracy
from jaxemb.nn import CNN, MLP
from jaxemb.objectives import Classify
from jaxemb.train.probes import Realised

RATES, LAMBDAS = (0.05, 0.1, 0.2, 0.4, 0.8), (0.01, 0.03, 0.1, 0.3, 1.0)
INPUTS = {"unit": Digits(mean=(0.0,), std=(1.0,), valid_share=0.0), "standard": Digits(valid_share=0.0)}
NETWORKS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "mlp": (MLP, {"widths": (128, 128)}, 5),
    "cnn": (CNN, {"widths": (32, 32), "sizes": (5, 3)}, 3),
}
"""Class, fields, epochs."""


def experiment(name: str, network: str, inputs: str, tract: float | None, lr: float) -> Experiment:
    """Batch 64, SGD with momentum .9, cosine to 0."""
    cls, fields, epochs = NETWORKS[network]
    return Experiment(
        name=f"tract_{name}",
        objective=Classify(encoder=cls(**fields), classes=10),
        data=INPUTS[inputs],
        optim=Optim("sgd", lr=lr, options={"momentum": 0.9}, tract=(("encoder/stem", tract),) if tract else ()),
        steps=epochs * 1437 // 64,
        batch=64,
        evals={"test": Accuracy()},
        log_every=20,
        probes={"first_layer": Realised(layer="encoder/stem")},
    )


def named(network: str, inputs: str, tract: float | None, lr: float) -> tuple[str, Experiment]:
    name = f"{network}_{inputs}_{'plain' if tract is None else 'tract'}_{lr:g}"
    return name, experiment(name, network, inputs, tract, lr)


grid = dict(named(n, i, t, lr) for n in NETWORKS for i in INPUTS for t in (None, 0.1) for lr in RATES)
robust = {
    f"lambda_{n}_{lam:g}_{lr:g}": experiment(f"lambda_{n}_{lam:g}_{lr:g}", n, "unit", lam, lr)
    for n in NETWORKS
    for lam in LAMBDAS
    for lr in RATES
}
main = grid["mlp_unit_tract_0.1"]
