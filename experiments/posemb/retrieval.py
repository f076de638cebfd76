"""A rotary encoder trained on 128 tokens: does it find a key's value in 256, 512 or 1024, and which rescaling helps? No tuning.

    jaxemb train experiments/posemb/retrieval.py
    jaxemb eval runs/retrieval --set 'objective.encoder.pos=jaxemb.posemb.self_extend:SelfExtend(group=9, window=64, original=128)'

The answer hides at a random depth, after its key; other values are decoys. The figures in README.md beside this file come from
`extend.sh`, which reads one trained run with every scheme.
"""

from jaxemb import Experiment, Optim
from jaxemb.data import KeyValue
from jaxemb.evals import Accuracy, Extrapolate
from jaxemb.layers import FeedForward
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.objectives import Classify
from jaxemb.pooling import Token
from jaxemb.posemb import Rotary

block = Block(Attention(2, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
data = KeyValue(length=128)
encoder = Transformer(
    stem=Tokens(data.vocabulary),
    pos=Rotary(),
    width=64,
    depth=2,
    blocks=(block,),
    causal=True,
)
main = Experiment(
    name="retrieval",
    objective=Classify(encoder=encoder, pooling=Token(last=True), classes=data.values, inputs="tokens"),
    data=data,
    optim=Optim("adamw", lr=2e-3, warmup=100, decay=0.01, clip=1.0),
    steps=1_500,
    batch=64,
    evals={"longer": Extrapolate(of=Accuracy(test=1_000), field="length", factors=(1.0, 2.0, 4.0, 8.0))},
    save_every=500,
)
