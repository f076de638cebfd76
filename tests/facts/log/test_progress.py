"""Rates and times, as a bar on a terminal and as lines elsewhere."""

import io

import pytest
from rich.console import Console

from jaxemb.log.progress import Progress, clock, show


@pytest.fixture
def now(monkeypatch):
    """A clock that the test sets."""
    time = [100.0]
    monkeypatch.setattr("jaxemb.log.progress.time.perf_counter", lambda: time[0])
    return time


def console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, highlight=False)


def test_a_line_has_step_loss_rates_and_time_left(now):
    progress = Progress(200, 64, console=console(False))
    progress.start(0)
    progress.measure(1)
    now[0] += 5
    assert progress.measure(11) == pytest.approx(2.0)
    line = progress.line(11, 0.12345)
    assert line == "step  11/200  loss 0.1235  2.0 steps/s  128 images/s  1:34 left"
    assert progress.console.file.getvalue() == line + "\n"


def test_speed_of_several_devices_whose_peak_is_known(now):
    progress = Progress(200, 64, devices=8, console=console(False))
    assert progress.speed(200.0) == "200 steps/s  12,800 images/s (1,600 a device)"
    progress.least = 0.002
    assert progress.speed(200.0) == "200 steps/s  12,800 images/s (1,600 a device)  MFU 40%"


def test_the_first_step_has_no_rate_because_it_waited_for_data(now):
    progress = Progress(200, 64, unit="examples", console=console(False))
    progress.start(0)
    now[0] += 50
    assert progress.measure(1) == 0
    assert progress.line(1, 1.0) == "step   1/200  loss 1.0000"


def test_evaluations_and_saves_do_not_count(now):
    progress = Progress(100, 1, console=console(False))
    progress.start(0)
    progress.measure(1)
    now[0] += 1
    with progress.aside():
        now[0] += 1000
    now[0] += 1
    assert progress.measure(5) == pytest.approx(2.0)


def test_a_terminal_gets_a_bar_and_lines_above_it():
    progress = Progress(20, 4, console=console(True))
    progress.start(5)
    progress.step(6, 0.5)
    progress.say("step 6  knn/top1 0.4")
    line = progress.line(6, 0.5)
    progress._bar.refresh()
    progress.close()
    shown = progress.console.file.getvalue()
    assert "6/20" in shown and "loss 0.5" in shown and "knn/top1 0.4" in shown
    assert line not in shown  # the bar shows it already


def test_silent_processes(capsys):
    progress = Progress(20, 4, console=console(False), shown=False)
    progress.start(0)
    progress.say("nothing")
    progress.line(1, 0.5)
    assert progress.console.file.getvalue() == ""


@pytest.mark.parametrize("seconds, text", [(0.0, "0:00"), (59.6, "1:00"), (75.0, "1:15"), (3675.0, "1:01:15")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_figures_in_a_line():
    assert show({"knn/top1": 0.41234, "rankme": 34.0}) == "knn/top1 0.4123  rankme 34"
