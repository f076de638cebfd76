"""Folders come first; hub ids go through huggingface_hub, whose faults are said in words. Nothing is downloaded."""

import sys
import types

import pytest

from jaxemb.hub import HubError, resolve
from jaxemb.io.tensors import TensorFiles
from jaxemb.tensor_file import WeightsError

huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
errors = pytest.importorskip("huggingface_hub.errors")


@pytest.fixture
def asked(monkeypatch):
    """What the library is asked for; it gives `answer`, or raises it."""
    calls = types.SimpleNamespace(every=[], answer="/cache/folder")

    def download(name, **options):
        calls.every.append((name, options))
        if isinstance(calls.answer, Exception):
            raise calls.answer
        return calls.answer

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


def test_a_folder_is_taken_as_it_is_though_an_id_could_be_called_so(tmp_path, monkeypatch, asked):
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert str(resolve("org/name")) == "org/name" and resolve(tmp_path) == tmp_path and not asked.every
    with pytest.raises(HubError, match="revision='main' is for models of the hub"):
        resolve("org/name", "main")


def test_an_id_is_downloaded_without_other_frameworks_copies(asked):
    assert str(resolve("org/some-name_1.5", "v2")) == "/cache/folder"
    ((name, options),) = asked.every
    assert (name, options["revision"]) == ("org/some-name_1.5", "v2")
    assert "*.safetensors" in options["allow_patterns"] and "*.json" in options["allow_patterns"]
    assert "*.bin" in options["ignore_patterns"] and "onnx/*" in options["ignore_patterns"]


@pytest.mark.parametrize("name", ["minilm", "a/b/c", "../x/y", "/tmp/nowhere/x", "org/", "-x/y", ""])
def test_what_is_neither_a_folder_nor_an_id(asked, name):
    with pytest.raises(HubError, match="there is no folder .* written org/name"):
        resolve(name)
    assert not asked.every


@pytest.mark.parametrize("name", ["org/na--me", "org/name.", "org/na..me"])
def test_names_that_the_hub_refuses(name):
    """Said by the library itself, before it asks anybody."""
    with pytest.raises(HubError, match="there is no folder org/na.*, and it is no id of the Hugging Face hub: "):
        resolve(name)


@pytest.mark.parametrize("inner", ["", "2_Dense"])
def test_weights_that_are_a_pickle_alone_stay_there_and_are_told_of(tmp_path, monkeypatch, inner):
    folder = tmp_path / "models--org--some-name_1.5" / "snapshots" / "abc" / inner
    folder.mkdir(parents=True)
    asked = []

    def listed(self, name, revision):
        asked.append((name, revision))
        return ["config.json", "pytorch_model.bin", "2_Dense/pytorch_model.bin", "other/model.onnx"]

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", listed)
    with pytest.raises(WeightsError, match=r"holds its weights as a pickle \(pytorch_model.bin\), which can run any code"):
        TensorFiles(folder)
    assert asked == [("org/some-name_1.5", "abc")]
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *a, **k: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(WeightsError, match="holds no weights: neither"):
        TensorFiles(folder)


def test_a_file(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(HubError, match="is a file; name the folder"):
        resolve(tmp_path / "model.safetensors")


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r"there is no folder org/name; .* `pip install 'jaxemb\[hub\]'`"):
        resolve("org/name")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (errors.LocalEntryNotFoundError("x"), "is not in the cache of the hub .* .hf download org/name --local-dir FOLDER"),
        (errors.OfflineModeIsEnabled("x"), "is not in the cache of the hub"),
        (ConnectionError("no route"), "the hub cannot be reached: no route"),
        (errors.GatedRepoError.__new__(errors.GatedRepoError), "accepted its terms"),
        (errors.RevisionNotFoundError.__new__(errors.RevisionNotFoundError), "no revision 'v2' of it"),
        (
            errors.RepositoryNotFoundError.__new__(errors.RepositoryNotFoundError),
            "no folder org/name here and no such model",
        ),
    ],
)
def test_what_the_hub_does_not_give(asked, answer, says, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    asked.answer = answer
    with pytest.raises(HubError, match=says):
        resolve("org/name", "v2")


def test_offline_as_the_library_itself_says_it(tmp_path, monkeypatch):
    """The library unpatched, with an empty cache and told to stay offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubError, match="org/name is not in the cache of the hub .*, and HF_HUB_OFFLINE is set. Where there is a"):
        resolve("org/name")
