"""Can RankMe choose a hyper-parameter without labels? Two sweeps on digits, one method each, with runs that are broken on purpose.

    jaxemb train experiments/jepa/model_selection.py:simclr_t0.1           every name below, seeds 0, 1, 2
    jaxemb compare runs/simclr_* --pick rank/rankme --oracle few/top1
    jaxemb compare runs/vicreg_* --pick rank/rankme --oracle few/top1

An MLP and a projector; RankMe is of the projector's output, the accuracy of the encoder's: five labels a class, since with all
labels every setting is as good as another. The last runs of a sweep learn with a hundredfold rate, or lack what keeps features
apart.
"""

from jaxemb import Experiment, Optim
from jaxemb.contrastive import NTXent, VICRegLoss
from jaxemb.data import Digits
from jaxemb.evals import Collapse, FewShot, RankMe, Ridge
from jaxemb.layers import Projector
from jaxemb.nn import MLP
from jaxemb.objectives import SimCLR, VICReg
from jaxemb.views import CropViews

encoder = MLP((128, 128, 64))
projector = Projector((128, 128))
# Half a pixel to two of shift and size, contrast and brightness: a digit stays one. No mirror images.
views = CropViews(scale=(0.6, 1.0), flip=0.0, grey=0.0, brightness=0.3, contrast=0.3, saturation=0.0, mean=(0.305,), std=(0.376,))


def experiment(name: str, objective: SimCLR | VICReg, lr: float = 2e-3) -> Experiment:
    """The same encoder and budget."""
    return Experiment(
        name=name,
        objective=objective,
        data=Digits(valid_share=0.0),
        optim=Optim("adamw", lr=lr, lr_final=0.0, warmup=0.05, decay=1e-4),
        steps=400,
        batch=256,
        evals={
            "few": FewShot(),
            "probe": Ridge(),
            "rank": RankMe(of="project"),
            "rank_features": RankMe(),
            "collapse": Collapse(of="project"),
        },
    )


def simclr(temperature: float) -> SimCLR:
    return SimCLR(encoder=encoder, projector=projector, views=views, contrast=NTXent(temperature))


def vicreg(covariance: float, variance: float = 25.0) -> VICReg:
    contrast = VICRegLoss(covariance_weight=covariance, variance_weight=variance)
    return VICReg(encoder=encoder, projector=projector, views=views, contrast=contrast)


TEMPERATURES, COVARIANCES = (0.02, 0.1, 0.5, 3.0, 10.0), (0.0, 0.1, 1.0, 16.0)
swept = {f"simclr_t{t:g}": experiment(f"simclr_t{t:g}", simclr(t)) for t in TEMPERATURES}
swept |= {f"vicreg_c{c:g}": experiment(f"vicreg_c{c:g}", vicreg(c)) for c in COVARIANCES}
swept |= {
    "simclr_fast": experiment("simclr_fast", simclr(0.1), lr=0.2),
    "vicreg_fast": experiment("vicreg_fast", vicreg(1.0), lr=0.2),
    "vicreg_no_variance": experiment("vicreg_no_variance", vicreg(1.0, variance=0.0)),
    "vicreg_invariance_alone": experiment("vicreg_invariance_alone", vicreg(0.0, variance=0.0)),
}
main = swept["simclr_t0.1"]
