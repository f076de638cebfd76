from fakes import Fake

from jaxemb.evals.throughput import Throughput


def test_calls_once_more_than_it_measures(clusters):
    sizes = []

    def encode(arrays):
        sizes.append(arrays["images"].shape)
        return arrays["images"]

    assert Throughput(examples=7, rounds=3).run(Fake(encode), clusters)["per_second"] > 0
    assert sizes == [(7, 5)] * 4
