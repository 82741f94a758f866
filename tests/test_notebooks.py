"""The notebooks: executed with what the machine has and with less, and committed with outputs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
ARTICLE = "01_the_article.ipynb"
OWN = "02_your_own_definition.ipynb"
ALL = "03_all_70000.ipynb"
REVIEW = "05_review_and_retrain.ipynb"
PLANTED = "07_planted_truth.ipynb"
LEFT_OUT = {
    "MNIST": "- MNIST, which is not on this machine",
    "weights": "- the article's weights",
    "recipe": "- training by the article's own recipe",
    "ten digits": "Left out: these are digits of MNIST.",
    "comparison": "Left out: comparing the lists of two networks",
}
PLACES = ("AMBIGMNIST_DATA", "AMBIGMNIST_ARTICLE_MODEL")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|Users|mnt|opt|usr|var)\b")


def execute(name, folder, *places):
    """The notebook after a run in `folder`, which is its home, too, knowing `places` only."""
    for file in (name, "seed_curve.json"):
        shutil.copy(NOTEBOOKS / file, folder)
    hidden = {*PLACES, "AMBIGMNIST_FULL", "KERAS_HOME"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {place: str(Path(os.environ[place]).resolve()) for place in places}
    environment |= {
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "MPLCONFIGDIR": matplotlib.get_cachedir(),  # its list of fonts takes long to make
    }
    # In a process of its own, so that warnings inside Jupyter are not taken for ours.
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "tools" / "run_notebook.py", folder / name],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(folder / name, as_version=4)


def outputs(notebook):
    return [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]


def texts(notebook):
    """All that the outputs say in words."""
    said = []
    for output in outputs(notebook):
        said.append(output.get("text", ""))
        said += [str(v) for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return "\n".join(said)


def pictures(notebook):
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def left_out(notebook):
    said = texts(notebook)
    return {what for what, words in LEFT_OUT.items() if words in said}


def check_outputs(notebook):
    """Complete, without errors, warnings and progress bars, and from nowhere in particular."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not [output.text for output in outputs(notebook) if output.get("name") == "stderr"]
    assert "Warning" not in texts(notebook)
    assert not MACHINE_PATH.search(texts(notebook))


def check_article_figures(said):
    """What the article's own weights must give."""
    rows = re.findall(r"The article's weights +(train|test) +(\S+) +(\S+) +(\d+)", said)
    assert rows == [("train", "0.99605", "0.016569", "237"), ("test", "0.99260", "0.028537", "74")]
    assert "**The article's weights**: 63 of these 100 are read as they are labelled." in said


# ---- executed ----


@pytest.mark.slow
def test_article_with_the_embedded_digits(tmp_path):
    notebook = execute(ARTICLE, tmp_path)
    check_outputs(notebook)
    assert left_out(notebook) == set(LEFT_OUT)
    assert pictures(notebook) == 6
    assert "Dataset('digits', 899 images" in texts(notebook)
    assert "of these 44 are read as they are labelled." in texts(notebook)


@pytest.mark.mnist
@pytest.mark.slow
def test_article_with_mnist(tmp_path):
    notebook = execute(ARTICLE, tmp_path, "AMBIGMNIST_DATA")
    check_outputs(notebook)
    assert left_out(notebook) == {"weights", "recipe", "comparison"}
    assert pictures(notebook) == 7
    assert "10,000 images, 5 seconds each: 13.9 hours" in texts(notebook)


@pytest.mark.mnist
@pytest.mark.slow
def test_article_with_mnist_and_its_weights(tmp_path):
    if not os.environ.get("AMBIGMNIST_ARTICLE_MODEL"):
        pytest.skip("machine: the article's model is not here; set AMBIGMNIST_ARTICLE_MODEL")
    notebook = execute(ARTICLE, tmp_path, *PLACES)
    check_outputs(notebook)
    assert left_out(notebook) == {"recipe"}
    assert pictures(notebook) == 11
    check_article_figures(texts(notebook))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("places", "data"),
    [
        pytest.param((), "digits", id="digits"),
        pytest.param(PLACES[:1], "mnist", id="mnist", marks=pytest.mark.mnist),
    ],
)
def test_own_definition(tmp_path, places, data):
    notebook = execute(OWN, tmp_path, *places)
    check_outputs(notebook)
    assert f"Dataset('{data}'" in texts(notebook)
    assert ("No MNIST on this machine" in texts(notebook)) == (data == "digits")
    assert pictures(notebook) == 4
    assert re.search(r"^odd_and_undecided +min of both shares", texts(notebook), re.M)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("places", "data", "images"),
    [
        pytest.param((), "digits", "1,797", id="digits"),
        pytest.param(PLACES[:1], "mnist", "7,000", id="mnist", marks=pytest.mark.mnist),
    ],
)
def test_all_images(tmp_path, places, data, images):
    """A tenth of MNIST, or the embedded digits."""
    notebook = execute(ALL, tmp_path, *places)
    check_outputs(notebook)
    said = texts(notebook)
    assert f"Dataset('{data}', {images.replace(',', '')} images" in said
    assert "10 networks in " in said
    assert ("A tenth of MNIST" in said) == (data == "mnist")
    assert re.search(rf"estimated wrong labels: \d+ of {images}", said)
    assert pictures(notebook) == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("places", "data", "images"),
    [
        pytest.param((), "digits", 1797, id="digits"),
        pytest.param(PLACES[:1], "mnist", 7021, id="mnist", marks=pytest.mark.mnist),
    ],
)
def test_planted_truth(tmp_path, places, data, images):
    """A tenth of MNIST and the article's digits, or the embedded digits."""
    notebook = execute(PLANTED, tmp_path, *places)
    check_outputs(notebook)
    said = texts(notebook)
    assert f"Dataset('{data}', {images} images" in said
    assert ("A tenth of MNIST" in said) == (data == "mnist")
    assert ("Left out: these are digits of MNIST." in said) == (data == "digits")
    assert ("| 4761 | 9 | stumped |" in said) == (data == "mnist")
    assert f"planted {images // 40} wrong labels; estimated from the confident joint" in said
    assert pictures(notebook) >= 10  # one more for every verdict that there is


def test_review_and_retrain(tmp_path):
    """The embedded digits: corrected, taken back, and better for it."""
    notebook = execute(REVIEW, tmp_path)
    check_outputs(notebook)
    said = texts(notebook)
    assert "MNIST is not on this machine" in said
    assert "applied twice, the same: True" in said
    assert "taken back, as before: True" in said
    before, after = map(int, re.search(r"wrong labels: (\d+) before, (\d+) after", said).groups())
    assert after < before / 2
    accuracy = dict(re.findall(r"^\| ([^|]+?) \| ([\d.]+) %", said, re.M))
    assert float(accuracy["as planted"]) < float(accuracy["reviewed"])


# ---- committed ----


@pytest.mark.parametrize("name", [ARTICLE, OWN, ALL, REVIEW, PLANTED])
def test_committed_with_outputs(name):
    path = NOTEBOOKS / name
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    check_outputs(notebook)
    assert path.stat().st_size < 700_000
    assert notebook.metadata["language_info"] == {"name": "python"}  # and no version
    assert not [cell.id for cell in notebook.cells if "execution" in cell.metadata]
    assert not MACHINE_PATH.search("\n".join(cell.source for cell in notebook.cells))


def test_committed_figures_are_those_of_mnist():
    article = nbformat.read(NOTEBOOKS / ARTICLE, as_version=4)
    assert left_out(article) == {"recipe"}
    assert pictures(article) == 11
    check_article_figures(texts(article))
    own = nbformat.read(NOTEBOOKS / OWN, as_version=4)
    assert "Dataset('mnist'" in texts(own)
    assert pictures(own) == 4
    everything = nbformat.read(NOTEBOOKS / ALL, as_version=4)
    assert "Dataset('mnist', 70000 images" in texts(everything)
    assert "15 networks in " in texts(everything)
    assert pictures(everything) == 8
    review = texts(nbformat.read(NOTEBOOKS / REVIEW, as_version=4))
    assert "of 60,000 digits looked at" in review
    assert re.findall(r"\| ([\d.]+) % \|", review) == ["97.05", "99.11", "99.17", "99.17", "99.32"]
    planted = nbformat.read(NOTEBOOKS / PLANTED, as_version=4)
    assert "Dataset('mnist', 70000 images" in texts(planted)
    assert texts(planted).count("networks agree") > 24
    assert pictures(planted) == 13


def test_recorded_curve_is_what_the_text_says_of_it():
    recorded = json.loads((NOTEBOOKS / "seed_curve.json").read_text())
    curve = recorded["history"]
    stopped = len(curve["loss"])
    assert {len(values) for values in curve.values()} == {stopped}
    best = curve["val_loss"].index(min(curve["val_loss"])) + 1
    assert stopped == best + 5  # the article's early stopping
    assert 81 - stopped == 10
    assert recorded["wrong"] - 74 == 4
    assert recorded["test_accuracy"] == 1 - recorded["wrong"] / 10_000
    assert curve["val_loss"][0] < curve["loss"][0]
