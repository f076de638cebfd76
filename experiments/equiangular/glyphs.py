"""Can fixed class vectors replace a trained softmax layer? 200 written signs of 20 training images each.

    jaxemb train experiments/equiangular/glyphs.py:softmax          a trained layer, `Classify`
    jaxemb train experiments/equiangular/glyphs.py:cosine_64        cosines with trained vectors, same temperature
    jaxemb train experiments/equiangular/glyphs.py:equiangular_64   fixed vectors, no two of which are close
    jaxemb train experiments/equiangular/glyphs.py:random_64        fixed vectors as they are drawn
    jaxemb compare runs/glyphs_*

And with 16, 32 and 128 in place of 64. Results: README.md beside this file.
"""

from jaxemb import Experiment, Optim
from jaxemb.data import Glyphs
from jaxemb.evals import KNN, Accuracy
from jaxemb.experiment import replace
from jaxemb.nn import CNN
from jaxemb.objectives import Classify, Equiangular

CLASSES, DIMS = 200, (16, 32, 64, 128)
encoder = CNN(widths=(32, 64), sizes=(3, 3))
main = Experiment(
    name="glyphs_softmax",
    objective=Classify(encoder=encoder, classes=CLASSES, smoothing=0.1),
    data=Glyphs(classes=CLASSES),
    optim=Optim("adamw", lr=2e-3, lr_final=2e-5, warmup=0.05, decay=0.01),
    steps=1_200,
    batch=128,
    evals={"head": Accuracy(every=300), "knn": KNN()},
)
softmax = main


def vectors(kind: str, dims: int) -> Experiment:
    """The same with class vectors of `dims` numbers."""
    objective = Equiangular(encoder=encoder, classes=CLASSES, smoothing=0.1, dims=dims, fixed=kind)
    return replace(main, name=f"glyphs_{'cosine' if kind == 'trained' else kind}_{dims}", objective=objective)


arms = [vectors(kind, dims) for kind in ("equiangular", "random") for dims in DIMS] + [vectors("trained", 64)]
by_name = {e.name.removeprefix("glyphs_"): e for e in arms}
