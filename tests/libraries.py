"""Stand-ins for hnswlib, faiss and usearch: what the adapters call, by comparing all rows. With a filter they look at the `ef`
nearest rows alone, as graphs do, and so find too few where few pass."""

import contextlib
import importlib.util
import io
import sys
import types

import numpy as np
import pytest


def near(metric, x, q, k, seen=None):
    """(distances, ids) (b k), the nearest first; inf and -1 where there is nothing."""
    s = q @ x.T
    d = 1 - s if metric in ("ip", "cos") else (q * q).sum(1, keepdims=True) - 2 * s + (x * x).sum(1)[None]
    ids = np.argsort(d, axis=1, kind="stable")
    near = np.take_along_axis(d, ids, 1)
    if seen is not None:
        allow, ef = seen
        near = np.where(allow[ids] & (np.arange(len(x)) < ef), near, np.inf)
        order = np.argsort(near, axis=1, kind="stable")
        near, ids = np.take_along_axis(near, order, 1), np.take_along_axis(ids, order, 1)
    more = ((0, 0), (0, max(k - len(x), 0)))
    near, ids = np.pad(near, more, constant_values=np.inf)[:, :k], np.pad(ids, more)[:, :k]
    return near.astype(np.float32), np.where(np.isinf(near), -1, ids)


class Rows:
    """What they share."""

    def load(self, x, *more):
        self.x, self.more = x, more

    def dump(self):
        file = io.BytesIO()
        np.savez(file, x=self.x, more=np.array(self.more))
        return np.frombuffer(file.getvalue(), np.uint8)

    @staticmethod
    def read(data):
        found = np.load(io.BytesIO(bytes(data)))
        return found["x"], found["more"].tolist()


def hnswlib():
    class Index(Rows):
        def __init__(self, space, dim):
            self.space, self.dim, self.ef = space, dim, 10

        def init_index(self, max_elements, M, ef_construction, random_seed):
            self.load(np.zeros((0, self.dim), np.float32))
            self.most = max_elements

        def resize_index(self, most):
            self.most = most

        def get_current_count(self):
            return len(self.x)

        def add_items(self, x, ids, num_threads):
            assert x.dtype == np.float32 and ids[0] == len(self.x)
            self.x = np.concatenate([self.x, x])
            assert len(self.x) <= self.most

        def set_ef(self, ef):
            self.ef = ef

        def knn_query(self, q, k, num_threads, filter=None):
            assert filter is None or num_threads == 1
            seen = None if filter is None else (np.array([filter(i) for i in range(len(self.x))]), self.ef)
            distances, ids = near(self.space, self.x, q, k, seen)
            if (ids < 0).any():
                raise RuntimeError("Cannot return the results in a contiguous 2D array. Probably ef or M is too small")
            return ids.astype(np.uint64), distances

        def get_items(self, ids, return_type):
            return self.x[ids]

        def save_index(self, path):
            self.dump().tofile(path)

        def load_index(self, path):
            self.load(self.read(np.fromfile(path, np.uint8))[0])

        def index_file_size(self):
            return len(self.dump())

    return {"hnswlib": module("hnswlib", Index=Index)}


def faiss():
    class Base(Rows):
        def __init__(self, metric, d):
            self.metric, self.d, self.is_trained = metric, d, False
            self.load(np.zeros((0, d), np.float32))
            self.hnsw = types.SimpleNamespace()

        ntotal = property(lambda self: len(self.x))

        def train(self, x):
            if len(x) < 4:
                raise RuntimeError(
                    "Error in train at /faiss/Clustering.cpp:66: Error: 'nx >= k' failed: Number of training points (3)"
                )

        def add(self, x):
            self.x = np.concatenate([self.x, x])

        def reset(self):
            self.x = self.x[:0]

        def make_direct_map(self):
            pass

        def search(self, q, k, params=None):
            params = params or Params()
            seen = None if params.sel is None else (params.sel.allow[: len(self.x)], params.ef)
            distances, ids = near(self.metric, self.x, q, k, seen)
            return (1 - distances if self.metric == "ip" else distances), ids

        def reconstruct_batch(self, ids):
            if type(self) is IndexOther:
                raise RuntimeError("Error in reconstruct at /faiss/Index.cpp:64: reconstruct not implemented")
            return self.x[ids]

    class IndexHNSW(Base):
        pass

    class IndexIVF(Base):
        pass

    class IndexFlat(Base):
        pass

    class IndexOther(Base):
        pass

    class IndexPreTransform(Base):
        index = property(lambda self: self)

    class Params:
        def __init__(self, sel=None, efSearch=10**9, nprobe=10**9, index_params=None):
            self.sel, self.ef = (sel, efSearch) if index_params is None else (index_params.sel, index_params.ef)

    class Bitmap:
        def __init__(self, bits):
            self.allow = np.unpackbits(bits, bitorder="little").astype(bool)

    kinds = {"HNSW": IndexHNSW, "IVF": IndexIVF, "Flat": IndexFlat, "Other": IndexOther, "OPQ": IndexPreTransform}

    def factory(d, name, metric):
        for start, kind in kinds.items():
            if name.startswith(start):
                return kind(metric, d)
        raise RuntimeError(f"Error in index_factory at /faiss/index_factory.cpp:1228: could not parse index string {name}")

    def dump(it):
        it.more = (it.metric, next(start for start, kind in kinds.items() if type(it) is kind))
        return it.dump()

    def load(data):
        x, (metric, name) = Rows.read(data)
        it = factory(x.shape[1], name, metric)
        it.load(x)
        return it

    own = {kind.__name__: kind for kind in kinds.values()}
    params = ("SearchParameters", "SearchParametersHNSW", "SearchParametersIVF", "SearchParametersPreTransform")
    return {
        "faiss": module(
            "faiss",
            **own,
            **dict.fromkeys(params, Params),
            METRIC_L2="l2",
            METRIC_INNER_PRODUCT="ip",
            IDSelectorBitmap=Bitmap,
            index_factory=factory,
            serialize_index=dump,
            deserialize_index=load,
            clone_index=lambda it: load(dump(it)),
            downcast_index=lambda it: IndexHNSW(it.metric, it.d),
            omp_set_num_threads=lambda n: None,
        )
    }


def usearch():
    class Index(Rows):
        def __init__(self, ndim=0, metric="cos", **_):
            self.ndim, self.metric = ndim, metric
            self.load(np.zeros((0, ndim), np.float32))

        def __len__(self):
            return len(self.x)

        def add(self, keys, x, threads):
            assert keys[0] == len(self.x)
            self.x = np.concatenate([self.x, x])

        def search(self, q, k, threads):
            distances, keys = near(self.metric, self.x, q, k)
            found = {"keys": np.maximum(keys, 0).astype(np.uint64), "distances": np.where(keys < 0, np.nan, distances)}
            if len(q) == 1:
                there = keys[0] >= 0
                return types.SimpleNamespace(**{name: a[0, there] for name, a in found.items()})
            return types.SimpleNamespace(**found, counts=(keys >= 0).sum(1))

        def get(self, keys, dtype):
            return self.x[keys]

        def save(self):
            self.more = (self.metric,)
            return bytearray(self.dump().tobytes())

        @staticmethod
        def restore(data):
            x, (metric,) = Rows.read(data)
            it = Index(x.shape[1], metric)
            it.load(x)
            return it

        serialized_length = property(lambda self: len(self.save()))

    inner = module("usearch.index", Index=Index)
    return {"usearch": module("usearch", index=inner), "usearch.index": inner}


def module(name, **own):
    found = types.ModuleType(name)
    vars(found).update(own)
    return found


STAND_INS = {"hnswlib": hnswlib, "faiss": faiss, "usearch": usearch}


@contextlib.contextmanager
def standing_in(*names):
    """Stand-ins for these libraries; by default for those that are not installed."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names or [name for name in STAND_INS if importlib.util.find_spec(name) is None]:
            for part, found in STAND_INS[name]().items():
                patch.setitem(sys.modules, part, found)
        yield
