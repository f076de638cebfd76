from jaxemb.train.optim import Optim
from jaxemb.train.remembered import remembered


def test_equal_arguments_give_the_same_function():
    make = remembered(lambda optim, steps: lambda: (optim, steps))
    assert make(Optim(lr=0.1, options={"b1": 0.5}), 10) is make(Optim(lr=0.1, options={"b1": 0.5}), 10)
    others = [make(Optim(lr=0.2, options={"b1": 0.5}), 10), make(Optim(lr=0.1), 10), make(Optim(lr=0.1), 11)]
    assert len({id(f) for f in others}) == 3


def test_what_has_no_hash_is_made_anew():
    make = remembered(lambda x: lambda: x)
    assert make({"a": 1})() == {"a": 1} and make({"a": 1}) is not make({"a": 1})
