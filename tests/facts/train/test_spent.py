"""The accounts of a run's time, by a clock that the test sets."""

import threading

import jax
import numpy as np
import pytest

from jaxemb.train.compilations import BUILT, STAGES, Compilation, Recompiled, listening, named, no_compilation
from jaxemb.train.spent import WINDOW, Spent


@pytest.fixture
def now(monkeypatch):
    time = [100.0]
    monkeypatch.setattr("jaxemb.train.spent.time.perf_counter", lambda: time[0])
    return time


@pytest.fixture
def spent(now):
    return Spent()


def pay(spent, now, account, seconds, *parts):
    with spent.on(account, *parts):
        now[0] += seconds


def test_a_moment_belongs_to_the_innermost_account_and_all_sum_to_the_wall_time(spent, now):
    now[0] += 1
    with spent.on("host"):
        now[0] += 2
        with spent.on("evaluation"):
            now[0] += 4
            pay(spent, now, "device", 8)
        now[0] += 16
    now[0] += 32
    assert spent.whole() == 63
    assert {k: v for k, v in spent.seconds.items() if v} == {"rest": 33, "host": 18, "evaluation": 4, "device": 8}
    assert spent.summary() == {"seconds": spent.seconds, "recompiled": []}


def test_an_account_closes_on_an_error(spent, now):
    with pytest.raises(ValueError), spent.on("saving"):
        raise ValueError
    now[0] += 5
    assert spent.whole() == spent.seconds["rest"] == 5


def test_the_table(spent, now):
    now[0] += 1
    pay(spent, now, "input", 6)
    pay(spent, now, "device", 13)
    assert spent.lines() == [
        "time        seconds  share",
        "device         13.0    65%  waiting for the step",
        "input           6.0    30%  waiting for a batch while no step ran",
        "rest            1.0     5%  before the first step and after the last",
        "all            20.0",
    ]
    assert spent.input_share() == pytest.approx(6 / 19)


def test_a_window_of_steps_that_waited_for_batches_is_told_and_the_next_one_is_its_own(spent, now):
    def steps(waited):
        found = []
        for _ in range(WINDOW):
            pay(spent, now, "input", waited)
            pay(spent, now, "device", 0.1)
            pay(spent, now, "evaluation", 9)
            found.append(spent.step())
        assert not any(found[:-1])
        return found[-1]

    assert steps(0.3) == pytest.approx(0.75) and steps(0.0) == 0


def test_seconds_that_say_nothing_are_not_judged(spent, now):
    for _ in range(WINDOW):
        pay(spent, now, "input", 0.01)
        assert spent.step() == 0
    assert spent.input_share() == 0


# ---- compilation -----------------------------------------------------------------------------------------------------------------


def fresh(name):
    """A jitted function that was never called."""

    def f(x):
        return jax.jit(lambda x: 2 * x)(x) + 1

    f.__name__ = name
    return jax.jit(f)


X = np.ones(3, np.float32)


def test_stages_are_told_without_those_inside_them_and_of_this_thread_alone():
    found, stage = [], f"{STAGES}jaxpr_trace_duration"
    tell = jax.monitoring.record_event_time_span
    with listening(lambda seconds, compilation: found.append((seconds, compilation))):
        for start, end in ((11.0, 12.0), (13.0, 15.0), (10.0, 16.0), (16.0, 20.0)):
            tell(stage, start, end, fun_name="f")
        tell(BUILT, 20.0, 20.5, fun_name="jit(f)")
        tell("/jax/other", 1.0, 2.0)
        other = threading.Thread(target=tell, args=(BUILT, 30.0, 31.0), kwargs={"fun_name": "jit(f)"})
        other.start()
        other.join()
    assert found == [(1.0, None), (2.0, None), (3.0, None), (4.0, None), (0.5, Compilation("jit(f)", 0.5))]


def test_what_is_told_moves_from_the_open_account(spent, now):
    with spent, spent.on("evaluation"):
        now[0] += 10
        jax.monitoring.record_event_time_span(BUILT, 20.0, 24.0, fun_name="jit(f)")
        now[0] += 1
    assert spent.seconds["evaluation"] == 7 and spent.seconds["compiling"] == 4


def test_compiling_is_taken_out_of_the_account_in_which_it_happens():
    with Spent() as spent, spent.on("evaluation"):
        fresh("one")(X)
    whole = spent.whole()
    assert 0 < spent.seconds["compiling"] < whole and min(spent.seconds.values()) >= 0
    assert sum(spent.seconds.values()) == pytest.approx(whole)


def test_what_compiles_for_the_first_time_is_no_surprise_and_what_compiles_again_is(monkeypatch):
    monkeypatch.delenv("JAXEMB_RECOMPILATION", raising=False)
    with Spent() as spent:
        for account, parts in (
            ("device", ()),
            ("evaluation", ("knn",)),
            ("saving", ("checkpoint",)),
            ("compiling", ()),
            ("rest", ()),
        ):
            with spent.on(account, *parts):
                fresh("f")(X)
        assert spent.surprise() is None
        with spent.on("evaluation", "knn", "probe"):  # one of them is new
            fresh("f")(X)
        assert spent.surprise() is None
        with spent.on("evaluation", "knn"):
            fresh("again")(X)
        assert spent.surprise().startswith("compiled 1 function again: jit(again), took ") and spent.surprise() is None
        spent.step()
        spent.step()
        for account in ("device", "host", "compiling", "rest"):
            with spent.on(account):
                fresh(account)(X)
    assert [c.name for c in spent.recompiled] == ["jit(again)", "jit(device)", "jit(host)"]
    assert spent.surprise().startswith("compiled 2 functions again: jit(device), jit(host), took ")
    assert spent.lines()[-1].startswith("compiled after the warm-up: jit(again), jit(device), jit(host), took ")


def test_it_is_an_error_where_the_environment_says_so(monkeypatch):
    monkeypatch.setenv("JAXEMB_RECOMPILATION", "error")
    with Spent() as spent:
        spent.step()
        spent.step()
        with spent.on("host"):
            fresh("late")(X)
    with pytest.raises(Recompiled, match=r"compiled after the warm-up: jit\(late\), took"):
        spent.surprise()


def test_nothing_is_heard_afterwards():
    with Spent() as spent:
        spent.step()
        spent.step()
    with spent.on("host"):
        fresh("later")(X)
    assert spent.recompiled == [] and spent.seconds["compiling"] == 0


def test_a_block_without_compilation():
    f = fresh("shapes")
    f(X)
    with no_compilation():
        f(X)
    with pytest.raises(Recompiled, match=r"compiled again: jit\(shapes\), took"), no_compilation():
        f(np.ones(4, np.float32))


def test_functions_are_named_once():
    found = [Compilation("jit(add)", 0.5), Compilation("jit(step)", 2.0), Compilation("jit(add)", 0.6)]
    assert named(found) == "2 x jit(add), jit(step), took 3.1 s"
