"""How far do whitened pixels go? The honest baseline of what is learnt: nothing but a mean and a matrix, in seconds.

jaxemb train experiments/jepa/baselines.py:digits_whitened
jaxemb train experiments/jepa/baselines.py:digits_pca
jaxemb compare runs/digits_whitened runs/digits_pca
"""

from jaxemb.data import Digits, Shapes
from jaxemb.evals import KNN, Ridge
from jaxemb.experiment import Recipe, replace
from jaxemb.train.recipe import FitInputs
from jaxemb.transforms import Whitening

evals = {"knn": KNN(), "probe": Ridge()}
digits_whitened = Recipe(name="digits_whitened", fit=FitInputs(Whitening(components=32)), data=Digits(valid_share=0.0), evals=evals)
digits_pca = replace(digits_whitened, name="digits_pca", fit=FitInputs(Whitening(components=32, power=0.0)))
shapes_whitened = replace(digits_whitened, name="shapes_whitened", data=Shapes(), fit=FitInputs(Whitening(components=256)))
main = digits_whitened
