"""`jaxemb search`: texts, vectors and images are found, and what cannot be searched is named."""

import io
import json
from argparse import Namespace

import jax
import numpy as np
import pytest
from PIL import Image
from pretrained import bert, chain

from jaxemb.cli import main
from jaxemb.cli.search_bench import drawn, nearest, recall
from jaxemb.cli.search_rows import as_texts, asker, mesh_of
from jaxemb.index import Binary, Exact
from jaxemb.io.embedder import Embedder
from jaxemb.io.searchable import load_searchable
from jaxemb.pooling.late_interaction import LateInteraction
from jaxemb.preprocess.hf_images import PretrainedImages
from jaxemb.preprocess.texts_and_images import TextsAndImages

TEXTS = ["the cat sat", "a dog ran", "the big red mat", "on on on", "query : a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return chain(bert(tmp_path_factory.mktemp("st")), ("Pooling", {"pooling_mode": "mean"}), prompts={"query": "query : "})


@pytest.fixture(scope="module")
def model(folder):
    return Embedder.from_pretrained(folder)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join([TEXTS[0], "", *TEXTS[1:]]) + "\n")
    rows = [{"_id": f"d{i}", "title": "the", "text": t, "year": 1990 + i, "topics": ["x", t[0]]} for i, t in enumerate(TEXTS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("# the cat\n\n" + "the cat sat " * 10 + "\n\n## a dog\na dog ran\n")
    (tmp_path / "notes" / "b.txt").write_text("\n\non the mat\n")
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return tmp_path


def hits(*args):
    """What a search writes: the hits of each query."""
    assert main(["search", *map(str, args), "--out", "hits.jsonl"]) == 0
    with open("hits.jsonl") as file:
        return [json.loads(line) for line in file]


# ---- what is searched ------------------------------------------------------------------------------------------------------------


def test_the_lines_of_a_file_are_found_by_cosine_with_the_prompt_of_queries(folder, model, here, capsys):
    (found,) = hits(folder, "texts.txt", "--query", "the dog", "--k", 3)
    q, z = model.encode_query(["the dog"])[0], model.encode_document(TEXTS)
    cosine = z @ q / np.linalg.norm(z, axis=1) / np.linalg.norm(q)
    best = np.argsort(-cosine)[:3]
    np.testing.assert_allclose([h["score"] for h in found["hits"]], cosine[best], atol=1e-5)
    assert [(h["row"], h["text"]) for h in found["hits"]] == [(i, TEXTS[i]) for i in best]
    assert [h["where"] for h in found["hits"]] == [f"texts.txt:{i + 1 + (i > 0)}" for i in best]  # the second line is empty
    said = capsys.readouterr().out
    assert "1 of 6 without text left out" in said and "5 rows of texts.txt, Exact()" in said
    assert f"{cosine[best[0]]:7.3f}  texts.txt:" in said and TEXTS[best[0]] in said


def test_k_above_the_rows_gives_all_of_them(folder, here):
    (found,) = hits(folder, "texts.txt", "--query", "the dog", "--k", 99)
    assert sorted(h["row"] for h in found["hits"]) == [0, 1, 2, 3, 4]


def test_rows_have_title_text_id_and_tags(folder, model, here, capsys):
    (found,) = hits(folder, "rows.jsonl", "--query", "a", "--k", 9, "--where", "year>=1991", "--where", "topics!=o")
    assert {h["where"] for h in found["hits"]} == {"d1", "d2", "d4"}
    assert {h["text"] for h in found["hits"]} == {f"the {TEXTS[i]}" for i in (1, 2, 4)}
    (found,) = hits(folder, "rows.jsonl", "--column", "text", "--query", "a", "--where", "topics=x", "--where", "year<1991")
    assert [h["text"] for h in found["hits"]] == [TEXTS[0]]
    (found,) = hits(folder, "rows.jsonl", "--query", "a", "--where", "year>2000")
    assert found["hits"] == [] and "nothing that --where allows" in capsys.readouterr().out


def test_passages_of_a_folder_have_file_and_line(folder, here):
    (found,) = hits(folder, "notes", "--query", "the mat", "--k", 9)
    assert {h["where"] for h in found["hits"]} == {"notes/a.md:1", "notes/a.md:5", "notes/b.txt:3"}
    assert {h["text"] for h in found["hits"] if h["where"] == "notes/a.md:5"} == {"## a dog\na dog ran"}
    (found,) = hits(folder, "notes", "--query", "the mat", "--where", "file=b.txt")
    assert [h["text"] for h in found["hits"]] == ["on the mat"]


def test_a_file_of_queries_and_an_index_that_is_named(folder, model, here):
    (here / "q.csv").write_text("id,question\n1,the dog\n2,a cat\n")
    found = hits(folder, "texts.txt", "q.csv", "--index", 'binary(query="int8")', "--k", 2)
    assert [f["query"] for f in found] == ["the dog", "a cat"]
    scores, ids = Binary(query="int8").build(model.encode_document(TEXTS)).search(model.encode_query(["the dog", "a cat"]), 2)
    np.testing.assert_allclose([[h["score"] for h in f["hits"]] for f in found], scores, atol=1e-5)


def test_an_index_that_was_saved_finds_the_same_without_its_corpus(folder, here, capsys):
    before = hits(folder, "texts.txt", "--query", "the dog", "--save", "kept", "--query-prompt", "a ")
    assert hits(folder, "kept", "--query", "the dog") == before
    assert "has changed" not in capsys.readouterr().out
    (here / "texts.txt").write_text("another\n")
    assert hits(folder, "kept", "--query", "the dog") == before
    assert "texts.txt has changed since kept was made of it" in " ".join(capsys.readouterr().out.split())
    (here / "texts.txt").unlink()
    assert hits(folder, "kept", "--query", "the dog") == before
    assert hits(folder, "kept", "--query", "the dog", "--query-prompt", "on ") != before
    assert load_searchable("kept").origin["query_prompt"] == "a "


def test_without_queries_they_are_read(folder, here, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("the dog\n\na cat\n"))
    assert [f["query"] for f in hits(folder, "texts.txt")] == ["the dog", "a cat"]

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    answers = iter(["0", "twelve", "4", ""])  # a question that cannot be answered does not end the others
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    found = hits("x.npy", "texts.txt", "--k", 2)
    assert [f["hits"][0]["row"] for f in found] == [0, 4]  # a row is nearest to itself
    assert "'twelve': without a model a query is the number of a row, 0 to 4" in capsys.readouterr().err


def test_vectors_among_vectors_and_beside_texts(folder, model, here):
    x = np.load("x.npy")
    np.save("q.npy", x[[3, 1]])
    assert [f["hits"][0]["where"] for f in hits("q.npy", "x.npy")] == ["row 3", "row 1"]
    assert [f["hits"][0]["text"] for f in hits("x.npy", "texts.txt", "q.npy")] == [TEXTS[3], TEXTS[1]]
    np.save("z.npy", model.encode_document(TEXTS))
    (found,) = hits(folder, "z.npy", "--texts", "texts.txt", "--query", "the dog")
    assert hits(folder, "texts.txt", "--query", "the dog") == [found]
    np.save("one.npy", x[2])
    assert [f["hits"][0]["where"] for f in hits("one.npy", "x.npy")] == ["row 2"]


def test_a_model_is_needed_for_what_a_model_does(here, capsys):
    for args, message in (
        (["x.npy", "texts.txt", "texts.txt"], "texts.txt: texts need a model to become vectors, and x.npy is none"),
        (["x.npy", "texts.txt", "--query-prompt", "a"], "--query-prompt: x.npy has vectors already, which have no use for it"),
        (["x.npy", "x.npy", "x.npy"], "x.npy are the queries, as x.npy has vectors itself: there is no room for others"),
        (["x.npy", "texts.txt", "--query", "5"], "'5': without a model a query is the number of a row, 0 to 4"),
        (["nowhere.npy", "texts.txt", "--query", "5"], "CORPUS nowhere.npy: no array can be read"),
    ):
        assert main(["search", *args]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_questions_up_to_a_length_are_asked_of_one_function(folder, caplog):
    ask = asker(Embedder.from_pretrained(folder, pooling="max"), None, None)  # no other test has compiled this one
    ask(["a"])
    with jax.log_compiles():
        ask(["the big red mat sat on a dog"])
        assert "Compiling" not in caplog.text
        jax.jit(lambda x: x * 3)(np.ones(3, np.float32))
        assert "Compiling" in caplog.text  # it would be seen


def test_rows_that_are_queries_do_not_count_themselves():
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    cosines = x @ x.T / np.linalg.norm(x, axis=1)
    np.fill_diagonal(cosines, -2)
    np.testing.assert_array_equal(nearest(Exact().build(x), x[[1, 5]], 4, np.array([1, 5])), np.argsort(-cosines[[1, 5]])[:, :4])
    assert nearest(Exact().build(x), x[:3], 4)[:, 0].tolist() == [0, 1, 2]
    assert recall(np.array([[1, 2], [3, -1]]), np.array([[2, 5], [3, -1]])) == 0.75


def test_rows_that_are_queries_are_drawn():
    assert drawn(3, 8).tolist() == [0, 1, 2] and drawn(100, 5).tolist() == drawn(100, 5).tolist()
    assert len(set(drawn(100, 5))) == 5 and drawn(100, 5).max() > 5 and (np.diff(drawn(100, 5)) > 0).all()


def test_bench_measures_recall_speed_and_bytes(here, capsys, monkeypatch):
    monkeypatch.setattr("jaxemb.cli.search_bench.SECONDS", 0.01)
    np.save("many.npy", np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32))
    np.save("q.npy", np.load("many.npy")[:3] + 0.01)
    assert main(["search", "q.npy", "many.npy", "--bench", "--index", "binary", "--out", "b.csv", "--k", "4"]) == 0
    exact, binary = [line.split(",") for line in (here / "b.csv").read_text().splitlines()[1:]]
    assert exact[0] == "Exact()" and float(exact[1]) == 1 and float(exact[5]) == 64
    assert binary[0] == "Binary()" and 0 < float(binary[1]) <= 1 and float(binary[5]) == 4 * (40 + 16) / 40
    assert all(float(n) > 0 for row in (exact, binary) for n in row[2:5])
    assert "40 rows, 3 queries" in capsys.readouterr().out
    for index in ("exact", "binary"):
        hits("q.npy", "many.npy", "--index", index, "--save", index)
    assert main(["search", "q.npy", "exact", "--bench", "--out", "c.csv", "--k", "4"]) == 0
    assert (here / "c.csv").read_text().splitlines()[1].startswith("Exact(),1,")
    assert main(["search", "q.npy", "binary", "--bench"]) == 2
    assert "binary keeps codes (Binary()), no vectors to build others of" in " ".join(capsys.readouterr().err.split())


def test_a_vector_a_token_is_compared_by_late_interaction(folder, here, capsys):
    late = ["--set", "pooling=jaxemb.pooling.late_interaction:LateInteraction()"]
    model = Embedder.from_pretrained(folder, pooling=LateInteraction())
    (found,) = hits(folder, "texts.txt", "--query", "the dog", *late, "--save", "kept")
    scores = model.similarity(model.encode_query(["the dog"]), model.encode_document(TEXTS))[0]
    assert [h["row"] for h in found["hits"]] == np.argsort(-scores).tolist()
    assert hits(folder, "kept", "--query", "the dog", *late) == [found]
    assert "LateInteraction()" in capsys.readouterr().out


class Colours:
    """A model of images, and of texts that name colours."""

    similarity_fn_name, how_matrices, max_length, prompts = "cosine", ("cosine", "sum"), None, {}

    def __init__(self, both):
        self.both, images = both, PretrainedImages(size=4, mean=(0.0,) * 3, std=(1.0,) * 3)
        self.preprocess = TextsAndImages(images=images) if both else images

    def matrices(self):
        return False

    def encode_document(self, items, **options):  # as an Embedder has it
        known = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
        of = lambda item: getattr(self.preprocess, "images", self.preprocess)([item])["images"][0].mean((0, 1))  # noqa: E731
        return np.array([known.get(i, (1, 1, 1)) if self.both and isinstance(i, str) else of(i) for i in items], np.float32)

    encode_query = encode_document


@pytest.mark.parametrize("both", [False, True])
def test_images_are_found_by_images_and_by_texts_where_the_model_knows_both(both, here, monkeypatch, capsys):
    monkeypatch.setattr("jaxemb.cli.search.opened", lambda args: Colours(both))
    (here / "photos").mkdir()
    for name, colour in (("a", (250, 9, 9)), ("b", (9, 250, 9)), ("c", (9, 9, 250))):
        Image.new("RGB", (6, 6), colour).save(here / "photos" / f"{name}.png")
    names = lambda found: [f["hits"][0]["where"].rpartition("/")[2] for f in found]  # noqa: E731
    assert names(hits("model", "photos", "--query", "photos/b.png", "--save", "kept")) == ["b.png"]
    assert names(hits("model", "kept", "photos")) == ["a.png", "b.png", "c.png"]
    assert "text" not in hits("model", "kept", "--query", "photos/b.png")[0]["hits"][0]
    if both:
        (here / "q.txt").write_text("blue\nred\n")
        assert names(hits("model", "photos", "q.txt")) == ["c.png", "a.png"]


# ---- what is refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, message",
    [
        (["nowhere.txt"], "CORPUS: there is no file or folder nowhere.txt"),
        (["texts.txt", "--k", "0"], "k=0: at least 1 row is looked for"),
        (["texts.txt", "--index", "binry"], "there is no index 'binry'; did you mean 'Binary'? valid: B"),
        (["texts.txt", "--index", "MUVERA()"], "the model gives a vector a row, for which there are B"),
        (["texts.txt", "--index", "binary(querry=1)"], "Binary has no field 'querry'"),
        (["texts.txt", "--index", "binary", "--index", "pq"], "one --index is searched; with --bench several are compared"),
        (["rows.jsonl", "--column", "body"], "rows.jsonl, line 1: 'body' is missing; there are '_id', 'title'"),
        (["rows.jsonl", "--where", "yeer=3"], "the rows have no tag 'yeer'; did you mean 'year'? valid: topics, year"),
        (["rows.jsonl", "--where", "year"], "'year' is no condition: write tag=value"),
        (["rows.jsonl", "--where", "year=new"], "the tag has numbers, and 'new' is none"),
        (["rows.jsonl", "--where", "topics>b"], "'topics' has sets of names: ask for = or !="),
        (["texts.txt", "--column", "text"], "texts.txt has no columns"),
        (["texts.txt", "q.npy"], "q.npy: queries of 4 numbers, and the rows of this index have 8"),
        (["texts.txt", "nan.npy"], "nan.npy: query rows with entries that are not finite: 1"),
        (["nan.npy"], "nan.npy: rows with entries that are not finite: 1"),
        (["zero.npy"], "zero.npy: rows of zeros, which are near to nothing: 1, 2"),
        (["none.npy"], "none.npy: an index of no rows: there is nothing to find"),
        (["q.npy", "--texts", "texts.txt"], "texts.txt has 6 texts, and q.npy 3 rows"),
        (["codes.npy"], "codes.npy holds codes (int8), not the numbers of vectors: encode in float32"),
        (["deep.npy"], "deep.npy: vectors are an array of two axes, rows and numbers, not one of shape (3, 4, 1)"),
        (["texts.txt", "empty.txt"], "empty.txt is empty: there is no text in it"),
        (["texts.txt", "--texts", "texts.txt"], "--texts says what the rows of an .npy are"),
        (["empty.txt"], "empty.txt is empty: there is no text in it"),
        (["latin.txt"], "latin.txt, line 2: this is no UTF-8"),
        (["bad.jsonl"], "bad.jsonl, line 2: this is no JSON"),
        (["latin.jsonl"], "latin.jsonl, line 2: this is no UTF-8"),
        (["two.csv"], "two.csv, line 2: which value is the text? --column names it; there are 'a', 'b'"),
        (["notes", "--files", "py"], "notes has no text files at any depth (.py)"),
        (["texts.txt", "--out", "hits.csv"], "--out must be the name of a .jsonl file"),
        (["texts.txt", "texts.txt", "--query", "a"], "QUERIES and --query: give one of them"),
        (["texts.txt", "--bench", "--where", "a=b"], "--where: --bench measures whole indexes, which have no use for it"),
        (["notes", "--save", "notes"], "notes holds other things than an index"),
        (["texts.txt", "--save", "texts.txt"], "texts.txt holds other things than an index"),
        (["texts.txt", "--out", "texts.txt/hits.jsonl"], "texts.txt/hits.jsonl cannot be written"),
        (["rows.jsonl", "--where", "_id=d1"], "'_id' is no tag: it is what the rows are called; valid: topics, year"),
        (["texts.txt", "--files", ".py"], "--files says which files of a folder are texts, and texts.txt is no folder"),
        (["texts.txt", "--query-column", "a"], "--query-column names a column of the file QUERIES, and there is none"),
        (["texts.txt", "q.npy", "--query-column", "a"], "--query-column names a column of the file QUERIES, and q.npy has vectors"),
        (["texts.txt", "--chars", "-5"], "--chars must be at least 1, not -5"),
        (["texts.txt", "--query", " "], "--query: an empty query asks for nothing"),
        (["texts.txt", "--query", "k\udce4se"], "--query k\\udce4se: this is no UTF-8"),
        (["q.npy", "--column", "text"], "--column: q.npy has vectors and no columns"),
        (["texts.txt", "none.npy"], "none.npy has no row: there is nothing to ask"),
        (["texts.txt", "rows.jsonl", "--query-column", "body"], "rows.jsonl, line 1: 'body' is missing"),
        (["texts.txt", "--index", "PQ(parts=7)"], "PQ.parts=7 does not divide vectors of 8 numbers"),
        (["texts.txt", "--index", "ivf", "--devices", "8"], "--devices 8: IVF keeps its lists on one device"),
        (["a.png"], "a.png is an image, and"),
    ],
)
def test_refused(folder, here, capsys, monkeypatch, args, message):
    x = np.ones((3, 4), np.float32)
    np.save("q.npy", x)
    np.save("none.npy", x[:0])
    np.save("nan.npy", np.where(np.arange(3)[:, None] == 1, np.nan, x))
    np.save("zero.npy", np.where(np.arange(3)[:, None] >= 1, 0, x))
    np.save("codes.npy", x.astype(np.int8))
    np.save("deep.npy", x[..., None])
    (here / "empty.txt").write_text("\n \n")
    (here / "latin.txt").write_bytes(b"a\nk\xe4se\n")
    (here / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (here / "latin.jsonl").write_bytes(b'{"text": "a"}\n{"text": "k\xe4se"}\n')
    (here / "two.csv").write_text("a,b\nx,y\n")
    (here / "a.png").write_bytes(b"\x89PNG")
    monkeypatch.setattr(Embedder, "encode_document", lambda *args, **options: pytest.fail("nothing is encoded before all is right"))
    queries = [] if "--query" in args or args[1:2] and not args[1].startswith("--") else ["--query", "a"]
    assert main(["search", str(folder), *args, *queries]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (here / "hits.csv").exists()


def test_a_folder_names_the_files_that_it_leaves_out(folder, here, capsys):
    (here / "notes" / "c.txt").write_bytes(b"a\n\nk\xe4se\n")
    (found,) = hits(folder, "notes", "--query", "the mat", "--k", 9)
    assert len(found["hits"]) == 3
    assert "notes/c.txt, line 3: this is no UTF-8: invalid continuation byte; left out" in capsys.readouterr().out


@pytest.mark.parametrize("file", ["index.json", "index.safetensors", "texts.jsonl", "search.json"])
@pytest.mark.parametrize("how", ["cut", "edited", "gone"])
def test_a_saved_index_that_is_damaged_is_refused(here, capsys, file, how):
    np.save("q.npy", np.load("x.npy"))
    kept = here / f"kept-{how}"
    assert main(["search", "x.npy", "texts.txt", "q.npy", "--save", str(kept)]) == 0
    content = (kept / file).read_bytes()
    (kept / file).unlink()
    if how != "gone":
        (kept / file).write_bytes(content[:-9] if how == "cut" else content.replace(b"a", b"b"))
    assert main(["search", "q.npy", str(kept)]) == 2
    assert str(kept) in capsys.readouterr().err


def test_an_index_is_searched_with_its_model_alone(folder, here, tmp_path, capsys):
    hits(folder, "texts.txt", "--query", "a", "--save", "kept")
    other = chain(bert(tmp_path / "other", seed=1), ("Pooling", {"pooling_mode": "mean"}), prompts={"query": "query : "})
    assert main(["search", str(other), "kept", "--query", "a"]) == 2
    assert "other gives other vectors: no distance means a thing" in " ".join(capsys.readouterr().err.split())
    assert main(["search", str(other), "kept", "--query", "a", "--query-prompt", "on "]) == 2  # also with another prompt
    assert "other gives other vectors" in " ".join(capsys.readouterr().err.split())
    assert main(["search", str(folder), "kept", "--query", "a", "--index", "pq"]) == 2
    assert "--index: kept is an index already; give what it was made of" in " ".join(capsys.readouterr().err.split())


def test_what_is_piped_is_utf_8_or_named_and_the_others_are_answered(here, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"k\xe4se\n3\nseven\n\n1\n"), errors="surrogateescape"))
    assert main(["search", "x.npy", "texts.txt", "--out", "hits.jsonl"]) == 2
    assert [json.loads(line)["query"] for line in (here / "hits.jsonl").read_text().splitlines()] == ["3", "1"]
    said = capsys.readouterr().err
    assert "standard input, line 1: this is no UTF-8" in said and "'seven': without a model" in said
    assert "2 of 4 questions were not answered" in said


def test_the_file_that_is_wrong_is_named(folder, here, capsys):
    np.save("nan.npy", np.where(np.arange(5)[:, None] == 1, np.nan, np.load("x.npy")))
    assert main(["search", "nan.npy", "texts.txt", "--query", "1"]) == 2
    assert "nan.npy: " in capsys.readouterr().err
    assert main(["search", str(folder), "texts.txt", "--query", "a", "--index", 'BEBR(path="nowhere")']) == 2
    assert "error: no binariser can be read from nowhere" in capsys.readouterr().err
    assert main(["search", "texts.txt", "rows.jsonl", "--query", "a"]) == 2
    assert "MODEL: texts.txt is neither a model (" in capsys.readouterr().err


def test_a_name_with_an_end_of_line_stays_in_its_line(here, capsys):
    (here / "notes" / "b\nc.txt").write_text("cat\n")
    np.save("x.npy", np.load("x.npy")[:4])
    hits("x.npy", "notes", "--query", "2", "--k", "4")
    assert "notes/b\\nc.txt:1" in capsys.readouterr().out


def test_devices_share_the_rows(here):
    expected = hits("x.npy", "texts.txt", "--query", "3")
    (found,) = hits("x.npy", "texts.txt", "--query", "3", "--devices", "8", "--save", "kept")
    assert [h["row"] for h in found["hits"]] == [h["row"] for h in expected[0]["hits"]]
    np.save("q.npy", np.load("x.npy")[3:4])
    ((found,), built) = hits("q.npy", "kept", "--devices", "8"), load_searchable("kept", mesh=mesh_of(Namespace(devices=8))).built
    assert [h["row"] for h in found["hits"]] == [h["row"] for h in expected[0]["hits"]] and built.kept.mesh.size == 8


def test_of_a_folder_of_images_and_texts_what_is_more_is_taken_and_the_rest_said(here, monkeypatch, capsys):
    for i in range(2):
        Image.new("RGB", (6, 6), (250, 9, 9)).save(here / "notes" / f"{i}.png")
    (here / "notes" / "b.txt").unlink()
    args, both, text = Namespace(files=None, run="model"), Colours(True), Colours(True)
    text.preprocess = Namespace(spec={"tokens": None})
    assert not as_texts(both, "notes", args)
    assert "notes: of its images alone; left out: 1 text files; --files takes them" in capsys.readouterr().out
    assert as_texts(both, "notes", Namespace(files=".md", run="model")) and as_texts(text, "notes", args)
    assert capsys.readouterr().out.count("notes: of its text files alone; left out: 2 images") == 2
