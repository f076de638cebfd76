"""Does TrAct train a ResNet-18 on CIFAR-10 in fewer epochs? SGD and Adam, budgets of so many epochs, inputs standardised.

    jaxemb train experiments/tract/cifar10_resnet.py                             TrAct with SGD, 4 epochs
    jaxemb train 'experiments/tract/cifar10_resnet.py:sgd_*' --seed 0            with and without, 1, 2 and 4 epochs; seeds 0 to 2
    jaxemb train 'experiments/tract/cifar10_resnet.py:paper_sgd_*'               full width, 100 and 200 epochs: for a GPU
    python scripts/speedup.py 'SGD=runs/tract_sgd_plain_*,runs/tract_sgd_tract_*' --epoch 390           epochs to equal accuracy

Names: optimiser, `plain` or `tract`, epochs. Results: README.md beside this file. As in the paper: batches of 128, cosine to 0, a
crop after padding by 4 (mirrored, there zeros), a flip; a 3x3 first convolution without bias, then a max-pool; the rates of
the network without TrAct. For two cores the network has 16 channels instead of 64.
"""

from jaxemb import Experiment, Optim
from jaxemb.data import Flip, Images, PadCrop
from jaxemb.evals import Accuracy
from jaxemb.experiment import replace
from jaxemb.nn import ResNet
from jaxemb.objectives import Classify
from jaxemb.train.probes import Realised

EPOCH = 50_000 // 128
OPTIMS = {"sgd": Optim("sgd", lr=0.08, options={"momentum": 0.9}), "adam": Optim("adam", lr=1e-2)}
LAMBDA = 0.1


def experiment(optim: str, tract: float | None, epochs: int, width: int, prefix: str = "") -> Experiment:
    """Batch 128, cosine to 0 over the budget, accuracy on the whole test split after every epoch."""
    return Experiment(
        name=f"tract_{prefix}{optim}_{'plain' if tract is None else 'tract'}_{epochs}",
        objective=Classify(encoder=ResNet(18, "cifar_pool", width=width), classes=10),
        data=Images("cifar10", size=32, valid_share=0.0, augment=(PadCrop(4), Flip())),
        optim=replace(OPTIMS[optim], tract=(("encoder/stem", tract),) if tract else ()),
        steps=epochs * EPOCH,
        batch=128,
        evals={"test": Accuracy(test=10_000, every=EPOCH)},
        save_every=epochs * EPOCH,
        probes={"first_layer": Realised(layer="encoder/stem")},
    )


def grid(budgets: tuple[int, ...], width: int, prefix: str = "") -> dict[str, Experiment]:
    """Every optimiser, with and without, for so many epochs."""
    found = [experiment(o, t, n, width, prefix) for o in OPTIMS for t in (None, LAMBDA) for n in budgets]
    return {e.name.removeprefix("tract_"): e for e in found}


small = grid((1, 2, 4), width=16)
paper = grid((100, 200), width=64, prefix="paper_")
main = small["sgd_tract_4"]
