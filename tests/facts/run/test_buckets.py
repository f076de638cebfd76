"""Run folders in buckets: who trains there, files that grow, and what is said where a bucket cannot be reached."""

import json
import os
import subprocess
import sys

import pytest
from etils import epath
from etils.epath import backend

from jaxemb.files import FileError, is_regular
from jaxemb.log.writer import Writer
from jaxemb.run import claim as claims
from jaxemb.run import files
from jaxemb.run.claim import STALE, Claim
from jaxemb.run.files import Growing, RunError, walked
from jaxemb.run.folder import Run
from jaxemb.run.manifest import difference, entries
from jaxemb.run.metrics import changed

FOLDER = epath.Path("gs://any/runs/a")


def claim(now=1000.0):
    return Claim(FOLDER / "claim.json", clock=lambda: now, settle=0.0)


def other(cloud, **facts):
    """Another process's claim."""
    doc = {"host": "node07", "processes": "pid:[1]", "pid": 12, "time": 1000.0, "name": "other"} | facts
    file = cloud.path_of(FOLDER / "claim.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(doc))


def here(pid):
    return {"host": claims.socket.gethostname(), "processes": claims._processes(), "pid": pid}


def test_a_claim_holds_until_its_end(cloud):
    with claim():
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()} on"):
            claim()
    assert not cloud.path_of(FOLDER / "claim.json").exists()
    with claim():
        pass


def test_a_claim_of_another_machine_ends_when_it_is_silent(cloud, caplog):
    other(cloud)
    with pytest.raises(BlockingIOError, match="process 12 on node07, last seen 179 s ago: a claim ends 180 s after its process"):
        claim(1000 + STALE - 1)
    with claim(1000 + STALE):
        pass
    assert "gs://any/runs/a: taken over from process 12 on node07, which no longer runs" in caplog.text


def test_a_process_of_this_machine_that_has_ended_holds_nothing(cloud):
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    other(cloud, **here(ended.pid))
    with claim():
        pass
    other(cloud, **here(os.getppid()))
    with pytest.raises(BlockingIOError, match=f"process {os.getppid()} on"):
        claim()
    other(cloud, **here(os.getpid()))  # a container that was started again gives the same numbers
    with claim():
        pass


def test_of_two_that_start_together_the_last_one_written_counts(cloud, monkeypatch):
    monkeypatch.setattr(claims.time, "sleep", lambda seconds: other(cloud))
    with pytest.raises(BlockingIOError, match="process 12 on node07, which started at the same time"):
        claim()


def test_a_claim_is_renewed(cloud, monkeypatch):
    now = [1000.0]
    with Claim(FOLDER / "claim.json", clock=lambda: now[0], settle=0.0) as held:
        now[0] += 100
        held.renew()
        assert json.loads(cloud.path_of(FOLDER / "claim.json").read_text())["time"] == 1100.0


def test_a_claimed_folder_is_refused_by_name(cloud, tmp_path):
    other(cloud, time=claims.time.time())
    with pytest.raises(RunError, match=r"training in gs://any/runs/a \(process 12 on node07, last seen"), Run(FOLDER)._locked():
        pass


def test_an_object_that_grows_is_written_now_and_then(cloud):
    now = [0.0]
    lines = Growing(FOLDER / "log.txt", clock=lambda: now[0])
    there = cloud.path_of(FOLDER / "log.txt")
    lines.begin("a\n")
    lines.add("b\n")
    assert there.read_text() == "a\n"
    now[0] += files.EVERY
    lines.add("c\n")
    assert there.read_text() == "a\nb\nc\n"
    lines.add("d\n")
    assert there.read_text() == "a\nb\nc\n"
    lines.flush()
    lines.flush()
    assert there.read_text() == "a\nb\nc\nd\n" and len(cloud.written) == 3
    Growing(FOLDER / "log.txt", clock=lambda: now[0]).add("e\n")  # another start
    assert there.read_text() == "a\nb\nc\nd\ne\n"


def test_a_checkpoint_comes_after_the_lines_before_it(cloud):
    writer = Writer(FOLDER)
    writer.resume(None)
    writer.write(1, {"loss": 0.5})
    tally = writer.tally()
    assert changed(FOLDER, 1, tally) is None and len(cloud.path_of(FOLDER / "metrics.jsonl").read_text().splitlines()) == 1
    writer.write(2, {"loss": 0.4})  # lost with its process: the checkpoint is at step 1
    again = Writer(FOLDER)
    again.resume(1)
    again.write(2, {"loss": 0.4})
    again.close()
    assert [json.loads(line)["step"] for line in cloud.path_of(FOLDER / "metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_manifests_of_a_bucket(cloud):
    for name in ("step/x.txt", "step/below/y.txt"):
        (FOLDER / name).write_text(name)
    assert walked(FOLDER / "step") == [FOLDER / "step/below/y.txt", FOLDER / "step/x.txt"]
    found = {name: list(entry) for name, entry in entries(FOLDER / "step").items()}
    assert set(found) == {"x.txt", "below/y.txt"} and difference(FOLDER / "step", found) is None
    (FOLDER / "step/x.txt").write_text("step/X.txt")
    assert difference(FOLDER / "step", found) == "the bytes of x.txt have changed"


def failing(error):
    def get(self, name):
        raise error

    return get


@pytest.mark.parametrize(
    "path, error, said",
    [
        ("gs://any/run", ImportError("Please install gcsfs"), r"needs gcsfs: pip install 'jaxemb\[gcs\]'"),
        ("s3://any/run", ImportError("Install s3fs"), r"needs s3fs: pip install 'jaxemb\[s3\]'"),
        ("gs://any/run", PermissionError("Forbidden: b/any"), "is refused: Forbidden: b/any; credentials: gcloud auth"),
        ("s3://any/run", RuntimeError("Unable to locate credentials"), "is refused: Unable to .*; credentials: aws configure"),
    ],
)
def test_a_bucket_out_of_reach(path, error, said, monkeypatch):
    monkeypatch.setattr(backend._FileSystemSpecBackend, "_get_filesystem", failing(error))
    with pytest.raises(FileError, match=f"{path}.* {said}"):
        is_regular(epath.Path(path) / "config.json")
    if path.startswith("gs"):
        with pytest.raises(FileError, match=said), Run(path)._locked():
            pass


def test_where_no_checkpoint_can_lie():
    for path in ("s3://any/run", "s3://any/run@5", "ftp://any/run"):
        with pytest.raises(RunError, match=f"{path}: a run folder is on a file system or in gs://, where Orbax can write"):
            Run(path)
