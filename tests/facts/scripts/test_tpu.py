"""scripts/tpu/tpu against a stand-in for gcloud, whose hosts are folders: commands, quoting, preemption, refusals."""

import os
import pathlib
import re
import shlex
import shutil
import stat
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).parents[3]
JOB = ["train", "experiments/jepa/shapes.py", "--set", 'mesh={"data": -1}', "--set", 'name=it\'s a "$HOME"  `x`\n']
RUN = ["--run", "gs://bucket/shapes"]
TOOLS = {
    "hostname": 'echo "$HOST"',
    # What setup calls: an environment appears, whose jaxemb writes its words down and ends as $CLOUD/job says.
    "python3": 'mkdir -p "$HOME/.local/bin" && ln -sf "$CLOUD/bin/uv" "$HOME/.local/bin/uv"',
    "uv": 'mkdir -p venv/bin && ln -sf "$CLOUD/bin/python" "$CLOUD/bin/jaxemb" venv/bin/',
    "python": "exit 0",
    "jaxemb": 'printf "%s\\0" "$@" >"$HOME/words"; echo said; . "$CLOUD/job"',
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A small git checkout: what is copied to the hosts."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "constraints.txt").write_text("jax\n")
    git = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return folder


class Cloud:
    """The stand-in, and `tpu(...)`, the script that is tested."""

    def __init__(self, folder, checkout, hosts):
        self.folder, self.hosts = folder, hosts
        (folder / "bin").mkdir()
        shutil.copy(ROOT / "tests/facts/scripts/gcloud", folder / "bin/gcloud")
        for name, body in TOOLS.items():
            path = folder / "bin" / name
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.write(hosts=f"{hosts}\n", new="ACTIVE\n", job="exit 0\n")
        self.env = {"PATH": f"{folder}/bin:/usr/bin:/bin", "HOME": str(folder), "CLOUD": str(folder), "TPU_CODE": str(checkout)}
        self.env |= {"TPU_PROJECT": "my-project", "TPU_ZONE": "us-west4-a", "TPU_NAME": "slice", "TPU_POLL": "0.02"}
        self.env |= {"TPU_TYPE": "v5litepod-8" if hosts == 1 else f"v5p-{8 * hosts}", "TPU_RETRIES": "3"}

    def write(self, **files):
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def tpu(self, *words, status=0, **env):
        command = ["sh", str(ROOT / "scripts/tpu/tpu"), *words]
        done = subprocess.run(command, env=self.env | env, capture_output=True, text=True, cwd=self.folder, timeout=60)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def calls(self):
        """The words of each call of gcloud so far, which are forgotten."""
        path = self.folder / "calls"
        found = path.read_text().split("\0\n")[:-1] if path.exists() else []
        path.unlink(missing_ok=True)
        return [call.split("\0") for call in found]

    def verbs(self):
        return [call[3] for call in self.calls()]

    def words(self, worker=0):
        """That the job got on a host."""
        path = self.folder / f"worker-{worker}/words"
        for _ in range(200):
            if path.exists() and path.read_text():
                return path.read_text().split("\0")[:-1]
            time.sleep(0.01)
        raise AssertionError("the job did not start")


@pytest.fixture
def cloud(tmp_path, checkout):
    made = []

    def make(hosts=1):
        made.append(Cloud(tmp_path, checkout, hosts))
        return made[-1]

    yield make
    for one in made:
        subprocess.run(
            [ROOT / "tests/facts/scripts/gcloud", "compute", "tpus", "queued-resources", "delete"], env=one.env, capture_output=True
        )


# ---- all goes well ---------------------------------------------------------------------------------------------------------------


def test_from_the_request_to_the_results(cloud):
    c = cloud(hosts=2)
    c.write(new="WAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE\n", job="sleep 60\n")
    c.tpu("create")
    assert "PROVISIONING" in c.tpu("wait").stderr
    assert c.tpu("setup").stdout == "worker-0 ready\nworker-1 ready\n"
    assert c.tpu("run", *JOB, *RUN).stdout == "worker-0 started\nworker-1 started\n"
    assert c.words() == c.words(1) == [*JOB, *RUN, "--distributed"]
    assert c.tpu("status").stdout.splitlines()[1:] == ["worker-0 running", "worker-1 running"]
    assert "runs there already" in c.tpu("run", *JOB, *RUN, status=1).stderr
    assert c.tpu("stop").stdout == "worker-0 stopped\nworker-1 stopped\n"
    assert "worker-1 stopped" in c.tpu("status").stdout
    c.tpu("logs", "logs")
    assert (c.folder / "logs/worker-1.log").read_text().startswith("said\n")
    c.tpu("fetch", "gs://bucket/shapes", "runs/shapes")
    c.tpu("delete")
    calls = c.calls()
    create = "slice --node-id=slice --accelerator-type=v5p-16 --runtime-version=v2-alpha-tpuv5 --spot"
    assert calls[0] == ["compute", "tpus", "queued-resources", "create", *create.split(), *calls[0][-3:]]
    assert calls[0][-3:] == ["--project=my-project", "--zone=us-west4-a", "--quiet"]
    assert calls[-2] == ["storage", "rsync", "--recursive", "gs://bucket/shapes", "runs/shapes"]
    assert calls[-1][3:6] == ["delete", "slice", "--force"]


def test_what_a_dry_run_prints_is_what_is_run(cloud):
    """As a shell reads it, word for word, quotes and line breaks included; and it runs nothing."""
    c = cloud()
    verbs = [
        ["create"],
        ["wait"],
        ["setup"],
        ["run", *JOB],
        ["stop"],
        ["fetch", "runs/a b", "here"],
        ["ssh", "all", "ls  'a b'"],
        ["delete"],
    ]
    dry = ""
    for words in verbs:
        dry += c.tpu("--dry-run", *words).stdout
    assert c.calls() == [] and not (c.folder / "states").exists() and not (c.folder / ".cache").exists()
    for words in verbs[:5]:
        c.tpu(*words)
    (c.folder / "worker-0/code/runs/a b").mkdir(parents=True)
    printed = [shlex.split(line)[1:] for line in shell_lines(dry) if line.startswith("gcloud")]
    assert c.calls() == printed[:-3]
    assert printed[-3] == "compute tpus tpu-vm scp --recurse".split() + [
        "slice:code/runs/a b",
        "here",
        "--worker=0",
        *printed[0][-3:],
    ]
    assert printed[-2][4:7] == ["slice", "--worker=all", "--command=ls  'a b'"]


def shell_lines(text):
    """Commands of a script: a line that ends within quotes goes on."""
    line = ""
    for part in text.splitlines():
        line += part
        try:
            shlex.split(line)
        except ValueError:
            line += "\n"
            continue
        yield line
        line = ""


def test_the_dry_run_of_a_watch_can_be_pasted(cloud):
    """The whole of it, by a shell, with the stand-in as gcloud: the job then runs with its words."""
    c = cloud()
    dry = c.tpu("--dry-run", "watch", *JOB, *RUN).stdout
    subprocess.run(["sh", "-e"], input=dry, text=True, env=c.env, check=True, capture_output=True, cwd=c.folder)
    assert c.words() == [*JOB, *RUN]


def test_a_dry_run_needs_no_gcloud(cloud):
    c = cloud()
    (c.folder / "bin/gcloud").unlink()
    (c.folder / "bin/all").mkdir()
    for tool in ("sed", "date", "mktemp", "rm", "awk", "cat", "tr"):
        (c.folder / "bin/all" / tool).symlink_to(shutil.which(tool))
    env = {"PATH": f"{c.folder}/bin/all"}
    command = ["/bin/sh", str(ROOT / "scripts/tpu/tpu")]
    asked = subprocess.run([*command, "create"], env=c.env | env, capture_output=True, text=True)
    assert asked.returncode == 1 and "gcloud is not installed" in asked.stderr
    asked = subprocess.run([*command, "--dry-run", "create"], env=c.env | env, capture_output=True, text=True)
    assert asked.returncode == 0 and "--spot" in asked.stdout


def test_code_is_copied_as_it_is_and_runs_stay(cloud, checkout):
    c = cloud()
    c.tpu("create")
    c.tpu("setup")
    (c.folder / "worker-0/code/runs/a").mkdir(parents=True)
    (checkout / "constraints.txt").write_text("changed\n")
    (checkout / "new.py").write_text("")
    assert "git does not know" in c.tpu("setup").stderr
    assert (c.folder / "worker-0/code/constraints.txt").read_text() == "changed\n"
    assert (c.folder / "worker-0/code/runs/a").exists() and not (c.folder / "worker-0/code/new.py").exists()
    (checkout / "new.py").unlink()
    (checkout / "constraints.txt").write_text("jax\n")


def test_a_wheel_is_installed_instead(cloud):
    c = cloud()
    c.write(**{"jaxemb-1-py3-none-any.whl": ""})
    c.tpu("create")
    c.tpu("setup", TPU_WHEEL="jaxemb-1-py3-none-any.whl")
    assert any(call[-4:-3] == ["--command=sh worker.sh setup 3.12 jaxemb-1-py3-none-any.whl"] for call in c.calls())
    assert "no file other.whl" in c.tpu("setup", TPU_WHEEL="other.whl", status=1).stderr


# ---- watch -----------------------------------------------------------------------------------------------------------------------


def test_a_preempted_slice_is_made_anew_and_the_same_command_goes_on(cloud):
    c = cloud(hosts=2)
    c.write(new="PROVISIONING\nACTIVE\nACTIVE\nSUSPENDED\n")
    # The first start runs until it is taken away, the second one ends.
    c.write(
        job='[ -e "$CLOUD/once$HOST" ] && exit 0; : >"$CLOUD/once$HOST"; cp "$CLOUD/last" "$CLOUD/new"; sleep 60\n', last="ACTIVE\n"
    )
    done = c.tpu("watch", "--delete", *JOB, *RUN)
    assert "SUSPENDED" in done.stderr and "ended well" in done.stderr
    verbs = c.verbs()
    assert [v for v in verbs if v in ("create", "delete")] == ["create", "delete", "create", "delete"]
    assert verbs.count("scp") == 2


@pytest.mark.parametrize(
    "job, status, said, starts",
    [
        ("exit 2", 1, "the job failed", 1),
        ('[ -e "$CLOUD/once" ] && exit 0; : >"$CLOUD/once"; exit 70', 0, "a host was lost", 2),
        ("exit 70", 1, "3 times in a row (TPU_RETRIES)", 3),
        ("sleep 0.4; exit 139", 1, "or its job was killed, 3 times in a row", 3),  # it runs for some looks each time, never 20
    ],
)
def test_a_job_that_ends_badly(cloud, job, status, said, starts):
    c = cloud()
    c.write(job=f"{job}\n")
    assert said in c.tpu("watch", *JOB, *RUN, status=status).stderr
    assert sum(" start " in word for call in c.calls() for word in call) == starts


def test_what_an_earlier_job_left_does_not_end_a_watch(cloud):
    c = cloud()
    for words in (["create"], ["setup"], ["run", "train", "other.py"]):
        c.tpu(*words)
    c.words()
    assert "ended well" in c.tpu("watch", *JOB, *RUN).stderr
    assert c.words() == [*JOB, *RUN]


def test_a_watch_ends_when_the_job_is_stopped(cloud):
    c = cloud()
    c.write(job="sleep 60\n")
    watch = subprocess.Popen(
        ["sh", str(ROOT / "scripts/tpu/tpu"), "watch", *JOB, *RUN],
        env=c.env,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert any("running" in line for line in iter(watch.stderr.readline, ""))
    c.tpu("stop")
    assert "was stopped" in watch.communicate()[1] and watch.returncode == 1


# ---- what goes wrong -------------------------------------------------------------------------------------------------------------


def test_a_host_that_does_not_answer(cloud):
    c = cloud(hosts=2)
    c.tpu("create")
    c.tpu("setup")
    c.write(broken="1\n", job="sleep 60\n")
    done = c.tpu("run", *JOB, *RUN, status=1)
    assert "started on 1 of 2 hosts: worker-0" in done.stderr and "wait for the others in vain" in done.stderr
    c.write(broken="")
    assert c.tpu("status").stdout.splitlines()[1:] == ["worker-0 ended 143", "worker-1 absent"]
    c.write(broken="0\n")
    assert c.tpu("setup", status=1).stderr.count("does not answer yet") == 2


@pytest.mark.parametrize(
    "said, hint",
    [
        ("RESOURCE_EXHAUSTED: Quota limit 'TPUV5sLitepodPerProjectPerZoneForTPUAPI' has been exceeded", "docs/tpu.md, Quota"),
        ("INVALID_ARGUMENT: Accelerator type v5litepod-8 is not found in zone us-west4-a", "accelerator-types list"),
        ("INVALID_ARGUMENT: Runtime version x not found", "versions list"),
        ("ALREADY_EXISTS: Resource already exists", "another TPU_NAME"),
        ("PERMISSION_DENIED: Cloud TPU API has not been used in project", "services enable tpu.googleapis.com"),
        ("PERMISSION_DENIED: Permission tpu.nodes.create denied", "TPU Admin"),
        ("Please run: $ gcloud auth login", "hint: gcloud auth login"),
    ],
)
def test_a_refused_request_says_what_to_do(cloud, said, hint):
    c = cloud()
    c.write(refuse=f"create ERROR: {said}\n")
    done = c.tpu("create", status=1)
    assert said in done.stderr and hint in done.stderr


def test_a_request_that_is_never_met_or_refused_is_given_up(cloud):
    c = cloud()
    c.write(new="FAILED\n")
    c.tpu("create")
    assert "not coming" in c.tpu("wait", status=1).stderr
    assert "3 times in a row" in c.tpu("watch", *JOB, *RUN, status=1).stderr
    c.tpu("delete")
    c.write(refuse="create ERROR: quota\n")
    assert "cannot be created" in c.tpu("watch", *JOB, *RUN, status=1).stderr
    c.write(refuse="describe ERROR: PERMISSION_DENIED\n")
    assert "TPU Admin" in c.tpu("status", status=1).stderr


@pytest.mark.parametrize(
    "words, env, said",
    [
        ([], {}, "what is to be done?"),
        (["paint"], {}, "unknown verb: paint"),
        (["--wet"], {}, "unknown option: --wet"),
        (["--settings"], {}, "--settings needs a file"),
        (["run"], {}, "the arguments of jaxemb are missing"),
        (["watch", "--delete"], {}, "the arguments of jaxemb are missing"),
        (["create", "now"], {}, "create takes no arguments, not: now"),
        (["tail", "1", "2"], {}, "number of a worker"),
        (["fetch", "gs://a"], {}, "fetch takes two arguments"),
        (["logs"], {}, "logs takes one argument"),
        (["--settings", "none.sh", "create"], {}, "no settings: none.sh"),
        (["create"], {"TPU_PROJECT": ""}, "TPU_PROJECT is empty"),
        (["create"], {"TPU_ZONE": ""}, "TPU_ZONE is empty"),
        (["create"], {"TPU_NAME": ""}, "TPU_NAME is empty"),
        (["create"], {"TPU_NAME": "My slice"}, "small letters"),
        (["create"], {"TPU_ZONE": "us"}, "is no zone"),
        (["create"], {"TPU_SPOT": "yes"}, "TPU_SPOT is 1"),
        (["create"], {"TPU_TYPE": "v5e-8"}, "gcloud calls v5e-8 v5litepod-8"),
        (["create"], {"TPU_TYPE": "tpu7x-8"}, "Kubernetes"),
        (["create"], {"TPU_TYPE": "v9-8"}, "accelerator-types list"),
        (["create"], {"TPU_TYPE": "v4"}, "accelerator-types list"),
        (["run", *JOB], {"TPU_TYPE": "v5litepod-64"}, "--run (none): every host"),
        (["watch", *JOB, "--run=runs/a"], {}, "--run runs/a: every host"),
        (["setup"], {"TPU_CODE": "/"}, "no git checkout"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_name(cloud, words, env, said):
    status = 2 if any(x in said for x in ("done?", "unknown", "needs a", "missing", "takes", "number of")) else 1
    assert said in cloud().tpu(*words, status=status, **env).stderr


def test_settings_come_from_a_file_and_the_environment_wins(cloud):
    c = cloud()
    c.write(**{"mine.sh": ': "${TPU_NAME:=from-file}" "${TPU_PROJECT:=from-file}" "${TPU_SPOT:=0}"\n. "$CLOUD/all.sh"\n'})
    shutil.copy(ROOT / "scripts/tpu/settings.sh", c.folder / "all.sh")
    del c.env["TPU_NAME"]
    call = shlex.split(c.tpu("--dry-run", "--settings", "mine.sh", "create").stdout)
    assert "from-file" in call and "--project=my-project" in call and "--spot" not in call


@pytest.mark.parametrize(
    "kind, hosts", [("v5litepod-8", 1), ("v5litepod-64", 16), ("v6e-4", 1), ("v6e-256", 64), ("v5p-64", 8), ("v4-8", 1)]
)
def test_the_number_of_hosts(cloud, kind, hosts):
    dry = cloud().tpu("--dry-run", "logs", "here", TPU_TYPE=kind).stdout
    assert dry.count("scp") == hosts


def test_the_commands_of_the_guide_are_understood(cloud):
    c = cloud()
    page = (ROOT / "docs/tpu.md").read_text()
    found = re.findall(r"(?:^    |`)(scripts/tpu/tpu [^`\n]+)", page, re.M)
    assert len(found) > 12
    for command in found:
        words = shlex.split(command.replace("BUCKET", "bucket"))
        c.tpu("--dry-run", *words[1:], TPU_TYPE="v5litepod-64")


def test_the_scripts_are_plain_shell():
    shellcheck = shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("shellcheck is not installed")
    scripts = [ROOT / "scripts/tpu" / name for name in ("tpu", "worker.sh")]
    done = subprocess.run([shellcheck, "-x", "-s", "sh", *scripts], capture_output=True, text=True, cwd=ROOT, env=dict(os.environ))
    assert done.returncode == 0, done.stdout
