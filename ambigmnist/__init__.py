"""Find which labelled images are ambiguous, which are mislabelled, and which the model misreads.

>>> import ambigmnist as am
>>> train, test = am.load_digits()
>>> ev = am.CNN(epochs=1).fit(train.images, train.labels).evidence(test.images, test.labels)
>>> ranking = am.rank(ev, by="least_confident", k=12)
>>> len(ranking)
12
"""

from typing import TYPE_CHECKING, Any

from ambigmnist import _startup, layers
from ambigmnist.audit import audit
from ambigmnist.config import (
    get_num_threads,
    register_threadpoolctl,
    set_num_threads,
    set_strict,
    show_config,
)
from ambigmnist.datasets import Dataset, load_digits, load_idx, load_mnist, save_idx
from ambigmnist.definitions import definition, definitions
from ambigmnist.duplicates import Duplicates, duplicates
from ambigmnist.errors import (
    AmbigError,
    ArgumentError,
    AuditInterrupted,
    BusyError,
    DataError,
    DataNotFoundError,
    DTypeError,
    FileError,
    MissingDependencyError,
    OutOfMemoryError,
    OutOfRangeError,
    ShapeError,
)
from ambigmnist.evidence import Evidence
from ambigmnist.heatmap import Heatmap, heatmap
from ambigmnist.model import CNN
from ambigmnist.ranking import Ranking, rank

if TYPE_CHECKING:
    from ambigmnist.calibration import (
        Calibration,
        Reliability,
        calibrate,
        expected_calibration_error,
    )
    from ambigmnist.comparison import Comparison, compare_rankings
    from ambigmnist.compose import borda, weighted_sum
    from ambigmnist.evaluation import Evaluation, Evaluations, evaluate
    from ambigmnist.health import ClassHealth, class_health
    from ambigmnist.interop import load_images
    from ambigmnist.labels import ConfidentJoint, confident_joint, label_issues
    from ambigmnist.neighbourhood import NeighbourLabels, neighbour_labels, outliers
    from ambigmnist.planting import Truth, plant
    from ambigmnist.plot import (
        data_map,
        gallery,
        rank_intervals,
        reliability_diagram,
        training_curves,
    )
    from ambigmnist.ranking_stability import Stability, stability
    from ambigmnist.review import (
        MergedReviews,
        Report,
        Review,
        apply_review,
        load_review,
        merge_reviews,
        report,
    )
    from ambigmnist.reviewing import ReviewCurve, review_curve
    from ambigmnist.verdict import Verdicts, verdicts

__version__ = _startup.VERSION

# Where the names are that few sessions use: loaded when first asked for.
_LATER = {
    "Calibration": "calibration",
    "Reliability": "calibration",
    "calibrate": "calibration",
    "expected_calibration_error": "calibration",
    "borda": "compose",
    "weighted_sum": "compose",
    "Comparison": "comparison",
    "compare_rankings": "comparison",
    "Evaluation": "evaluation",
    "Evaluations": "evaluation",
    "evaluate": "evaluation",
    "ClassHealth": "health",
    "class_health": "health",
    "ConfidentJoint": "labels",
    "confident_joint": "labels",
    "label_issues": "labels",
    "NeighbourLabels": "neighbourhood",
    "neighbour_labels": "neighbourhood",
    "outliers": "neighbourhood",
    "Truth": "planting",
    "plant": "planting",
    "data_map": "plot",
    "gallery": "plot",
    "rank_intervals": "plot",
    "reliability_diagram": "plot",
    "training_curves": "plot",
    "Stability": "ranking_stability",
    "stability": "ranking_stability",
    "MergedReviews": "review",
    "Report": "review",
    "Review": "review",
    "apply_review": "review",
    "load_review": "review",
    "load_images": "interop",
    "merge_reviews": "review",
    "report": "review",
    "ReviewCurve": "reviewing",
    "review_curve": "reviewing",
    "Verdicts": "verdict",
    "verdicts": "verdict",
}

__all__ = [
    "CNN",
    "AmbigError",
    "ArgumentError",
    "AuditInterrupted",
    "BusyError",
    "Calibration",
    "ClassHealth",
    "Comparison",
    "ConfidentJoint",
    "DTypeError",
    "DataError",
    "DataNotFoundError",
    "Dataset",
    "Duplicates",
    "Evaluation",
    "Evaluations",
    "Evidence",
    "FileError",
    "Heatmap",
    "MergedReviews",
    "MissingDependencyError",
    "NeighbourLabels",
    "OutOfMemoryError",
    "OutOfRangeError",
    "Ranking",
    "Reliability",
    "Report",
    "Review",
    "ReviewCurve",
    "ShapeError",
    "Stability",
    "Truth",
    "Verdicts",
    "apply_review",
    "audit",
    "borda",
    "calibrate",
    "class_health",
    "compare_rankings",
    "confident_joint",
    "data_map",
    "definition",
    "definitions",
    "duplicates",
    "evaluate",
    "expected_calibration_error",
    "gallery",
    "get_num_threads",
    "heatmap",
    "label_issues",
    "layers",
    "load_digits",
    "load_idx",
    "load_images",
    "load_mnist",
    "load_review",
    "merge_reviews",
    "neighbour_labels",
    "outliers",
    "plant",
    "rank",
    "rank_intervals",
    "register_threadpoolctl",
    "reliability_diagram",
    "report",
    "review_curve",
    "save_idx",
    "set_num_threads",
    "set_strict",
    "show_config",
    "stability",
    "training_curves",
    "verdicts",
    "weighted_sum",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("interop", "review"):
        return import_module(f"ambigmnist.{name}")
    if name not in _LATER:
        raise AttributeError(f"module 'ambigmnist' has no attribute {name!r}")
    value = getattr(import_module(f"ambigmnist.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
