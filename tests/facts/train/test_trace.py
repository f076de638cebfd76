"""Which steps can be traced, and that all else is refused."""

import jax
import pytest
from etils import epath

from jaxemb.config import ConfigError
from jaxemb.log.progress import Progress
from jaxemb.log.writer import Writer
from jaxemb.train.failures import TrainError
from jaxemb.train.report import Report
from jaxemb.train.spent import Spent
from jaxemb.train.trace import Trace, check, parse


def test_a_range_of_steps():
    assert parse("100:110") == (100, 110)
    check((0, 10), 10)


@pytest.mark.parametrize("text", ["", "5", "a:b", "5:", ":5", "-1:5", "1:2:3", "1.5:3"])
def test_what_is_no_range(text):
    with pytest.raises(ConfigError, match=f"--profile takes START:STOP, two numbers of steps, e.g. 100:110, not {text!r}"):
        parse(text)


@pytest.mark.parametrize(
    "profile, says",
    [
        ((5, 5), "profile=5:5: the trace stops before it starts; START must be at least 0 and less than STOP"),
        ((7, 5), "profile=7:5: the trace stops before it starts"),
        ((-1, 5), "profile=-1:5: the trace stops before it starts"),
        ((5, 11), "profile=5:11 is beyond the run, which has 10 steps"),
    ],
)
def test_a_range_that_the_run_does_not_pass_is_refused(profile, says):
    with pytest.raises(ConfigError, match=says):
        check(profile, 10)


def test_a_trace_that_is_being_made_already_is_named(tmp_path):
    options, spent = jax.profiler.ProfileOptions(), Spent()
    options.python_tracer_level = options.host_tracer_level = 0
    trace = Trace((3, 5), epath.Path(tmp_path), spent, Report(None, Writer(None), Progress(9, 1, shown=False), spent))
    with jax.profiler.trace(tmp_path, profiler_options=options):
        trace.begin(2)
        with pytest.raises(TrainError, match="profile=3:5: another trace is being made in this process"):
            trace.begin(3)
    trace.close()
    assert not spent.traced and not trace.ends(5)
