"""Label Studio: images as tasks with the model's reading, and annotations back as a review."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from ambigmnist import __version__
from ambigmnist._files import PathLike, as_path, atomic_write, read_bytes
from ambigmnist.datasets import Dataset
from ambigmnist.errors import ArgumentError, DataError
from ambigmnist.evidence import Evidence, as_evidence
from ambigmnist.ranking import Ranking
from ambigmnist.review.file import LONGEST_NOTE, Decision, Pin, Review, label_numbers

__all__ = ["from_label_studio", "label_studio_config", "to_label_studio"]

UNREADABLE = "(unreadable)"


def label_studio_config(classes: Any) -> str:
    """The labelling interface for `to_label_studio`: several choices are two readings.

    Examples
    --------
    >>> import ambigmnist as am
    >>> print(am.interop.label_studio_config(["cat", "dog"]))
    <View>
      <Image name="image" value="$image"/>
      <Choices name="label" toName="image" choice="multiple" showInLine="true">
        <Choice value="cat"/>
        <Choice value="dog"/>
        <Choice value="(unreadable)"/>
      </Choices>
      <TextArea name="note" toName="image" maxSubmissions="1"/>
    </View>
    """
    names = [str(name) for name in np.asarray(classes).tolist()]
    if UNREADABLE in names:
        raise ArgumentError(
            f"classes: expected none called {UNREADABLE!r}: it is a choice of its own"
        )
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in [*names, UNREADABLE])
    return (
        '<View>\n  <Image name="image" value="$image"/>\n'
        '  <Choices name="label" toName="image" choice="multiple" showInLine="true">\n'
        f"{choices}\n  </Choices>\n"
        '  <TextArea name="note" toName="image" maxSubmissions="1"/>\n</View>'
    )


def to_label_studio(
    what: Ranking | Evidence, path: PathLike, *, name: str = "", predictions: bool = True
) -> str:
    """Writes images as tasks to import into Label Studio; returns the labelling interface.

    Each task has the picture itself, as a PNG inside the file, its index, its label, and the
    SHA-256 of images and labels of the whole, by which `from_label_studio` knows them again.

    Parameters
    ----------
    what : Ranking or Evidence
        With images and labels; of a ranking its images alone, in its order: ``am.rank(ev, k=500)``.
    path : str or os.PathLike
        A JSON file, written complete, or not at all.
    name : str
        Of the data.
    predictions : bool
        With the model's reading, chosen already; without, people judge without it.

    Returns
    -------
    str
        For "Labeling Interface", as `label_studio_config` gives it.

    Raises
    ------
    DTypeError, ArgumentError, FileError

    Examples
    --------
    >>> import ambigmnist as am, json, pathlib, tempfile
    >>> ev = am.Evidence([[0.75, 0.25]], [1], images=np.zeros((1, 8, 8), np.uint8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     config = am.interop.to_label_studio(am.rank(ev), f"{folder}/tasks.json")
    ...     (task,) = json.loads(pathlib.Path(f"{folder}/tasks.json").read_text())
    >>> task["data"]["index"], task["data"]["label"], task["predictions"][0]["score"]
    (0, '1', 0.75)
    """
    from ambigmnist.review.sheets import as_tiles, png_uri

    ranking = what if isinstance(what, Ranking) else None
    ev = as_evidence(what if ranking is None else ranking.evidence, "what")
    rows = np.arange(ev.n) if ranking is None else ranking.indices
    pin = Pin.of_evidence(ev, name)
    config = label_studio_config(ev.classes)
    assert ev.images is not None
    tasks = []
    for i in rows.tolist():
        read, label = int(ev.predicted_index[i]), int(ev.given_index[i])
        task: dict[str, Any] = {
            "data": {
                "image": png_uri(as_tiles(ev.images[i : i + 1], largest=None), 1),
                "index": i,
                "label": pin.classes[label],
                "images_sha256": pin.images_sha256,
                "labels_sha256": pin.labels_sha256,
            }
        }
        if predictions:
            choice = {
                "from_name": "label",
                "to_name": "image",
                "type": "choices",
                "value": {"choices": [pin.classes[read]]},
            }
            p = float(ev.probs[i, read])
            version = f"ambigmnist {__version__}"
            task["predictions"] = [{"model_version": version, "score": p, "result": [choice]}]
        tasks.append(task)
    text = json.dumps(tasks, ensure_ascii=False, indent=1, allow_nan=False)
    atomic_write(as_path(path), text.encode() + b"\n")
    return config


def from_label_studio(path: PathLike, dataset: Dataset, *, reviewer: str | None = None) -> Review:
    """Reads an export of Label Studio (JSON) of tasks that `to_label_studio` wrote.

    One choice is the label, several are readings of an ambiguous image, "(unreadable)" is that,
    cancelled is "skip". Of several annotations of a task the last counts; name a `reviewer` to
    read those of one person, and merge the reviews.

    Parameters
    ----------
    path : str or os.PathLike
    dataset : Dataset
        That the tasks are of.
    reviewer : str, optional
        Whose annotations: what Label Studio has as ``completed_by``, a number or an e-mail
        address. By default everybody's.

    Returns
    -------
    Review

    Raises
    ------
    DataNotFoundError, FileError, DataError
        No such file; not an export; of other data; an image twice; a choice that is no class.

    Examples
    --------
    >>> import ambigmnist as am, json, pathlib, tempfile
    >>> data = am.Dataset(np.zeros((1, 8, 8), np.uint8), [1], classes=[0, 1])
    >>> ev = am.Evidence([[0.75, 0.25]], [1], images=data.images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "tasks.json"
    ...     config = am.interop.to_label_studio(ev, path)
    ...     tasks = json.loads(path.read_text())  # Label Studio adds what people chose
    ...     chosen = {"from_name": "label", "type": "choices", "value": {"choices": ["0"]}}
    ...     tasks[0]["annotations"] = [{"result": [chosen], "completed_by": 1}]
    ...     _ = path.write_text(json.dumps(tasks))
    ...     review = am.interop.from_label_studio(path, data)
    >>> review.decisions[0].verdict, review.decisions[0].labels
    ('relabel', (0,))
    """
    path = as_path(path)
    try:
        tasks = json.loads(read_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a JSON export of Label Studio, got: {error}") from None
    if not isinstance(tasks, list):
        raise DataError(f"{path}: expected a list of tasks, got {type(tasks).__name__}")
    pin = Pin.of(dataset)
    numbers = label_numbers(dataset)
    decisions: dict[int, Decision] = {}
    for place, task in enumerate(tasks):
        where = f"{path}: task {place}"
        index = _index(task, where, pin)
        annotations = task.get("annotations") or []
        if not isinstance(annotations, list):
            raise DataError(f"{where}: expected a list of annotations, got {annotations!r:.60}")
        if reviewer is not None:
            annotations = [a for a in annotations if _who(a, where) == reviewer]
        if not annotations:
            continue
        if index in decisions:
            raise DataError(f"{where}: expected another image than before, got {index} twice")
        decisions[index] = _decision(annotations[-1], where, index, int(numbers[index]), pin)
    found = tuple(decisions[index] for index in sorted(decisions))
    return Review(pin, "label studio" if reviewer is None else reviewer, found)


def _index(task: Any, where: str, pin: Pin) -> int:
    data = task.get("data") if isinstance(task, dict) else None
    index = data.get("index") if isinstance(data, dict) else None
    if type(index) is not int or not 0 <= index < pin.n:
        raise DataError(f"{where}: expected data.index in 0..{pin.n - 1}, got {index!r}")
    assert isinstance(data, dict)
    for key, expected in (
        ("images_sha256", pin.images_sha256),
        ("labels_sha256", pin.labels_sha256),
    ):
        if data.get(key) != expected:
            raise DataError(
                f"{where}: expected tasks of this data set, got others: data.{key} is "
                f"{str(data.get(key))[:12]}…, not {expected[:12]}…"
            )
    return index


def _who(annotation: Any, where: str) -> str:
    if not isinstance(annotation, dict):
        raise DataError(f"{where}: expected an annotation, got {annotation!r:.60}")
    by = annotation.get("completed_by")
    return str(by.get("email", by.get("id")) if isinstance(by, dict) else by)


def _decision(annotation: Any, where: str, index: int, given: int, pin: Pin) -> Decision:
    _who(annotation, where)
    chosen: list[str] = []
    note = ""
    results = annotation.get("result")
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and result.get("from_name") == "label":
            chosen += map(str, value.get("choices") or [])
        if isinstance(value, dict) and result.get("from_name") == "note":
            text = value.get("text") or ""
            note = "\n".join(map(str, text)) if isinstance(text, list) else str(text)
    names = {name: i for i, name in enumerate(pin.classes)}
    unknown = [name for name in chosen if name not in names and name != UNREADABLE]
    if unknown:
        raise DataError(f"{where}: expected choices among the classes, got {unknown[0]!r:.60}")
    labels = tuple(dict.fromkeys(names[name] for name in chosen if name != UNREADABLE))
    seconds = annotation.get("lead_time")
    more: dict[str, Any] = {
        "note": note[:LONGEST_NOTE],
        "ms": round(seconds * 1000) if isinstance(seconds, int | float) and seconds >= 0 else None,
        "at": _when(annotation),
    }
    if annotation.get("was_cancelled") or not chosen:
        return Decision(index, given, "skip", **more)
    if UNREADABLE in chosen:
        return Decision(index, given, "unreadable", **more)
    if len(labels) > 1:
        return Decision(index, given, "ambiguous", labels, **more)
    return Decision(index, given, "keep" if labels[0] == given else "relabel", labels, **more)


def _when(annotation: dict[str, Any]) -> str:
    try:
        at = datetime.fromisoformat(annotation.get("created_at") or "")
    except (TypeError, ValueError):
        return "1970-01-01T00:00:00Z"  # not known
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()
