"""Find which labelled images are ambiguous, which are mislabelled, and which the model misreads.

>>> import ambigmnist as am
>>> train, test = am.load_digits()
>>> ev = am.CNN(epochs=1).fit(train.images, train.labels).evidence(test.images, test.labels)
>>> ranking = am.rank(ev, by="least_confident", k=12)
>>> len(ranking)
12
"""

from ambigmnist import _startup, layers
from ambigmnist.calibration import (
    Calibration,
    Reliability,
    calibrate,
    expected_calibration_error,
)
from ambigmnist.compose import borda, weighted_sum
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
from ambigmnist.labels import ConfidentJoint, confident_joint, label_issues
from ambigmnist.model import CNN
from ambigmnist.neighbourhood import NeighbourLabels, neighbour_labels, outliers
from ambigmnist.plot import data_map, gallery, reliability_diagram, training_curves
from ambigmnist.ranking import Ranking, rank

__version__ = _startup.VERSION

__all__ = [
    "CNN",
    "AmbigError",
    "ArgumentError",
    "BusyError",
    "Calibration",
    "ConfidentJoint",
    "DTypeError",
    "DataError",
    "DataNotFoundError",
    "Dataset",
    "Duplicates",
    "Evidence",
    "FileError",
    "Heatmap",
    "MissingDependencyError",
    "NeighbourLabels",
    "OutOfMemoryError",
    "OutOfRangeError",
    "Ranking",
    "Reliability",
    "ShapeError",
    "borda",
    "calibrate",
    "confident_joint",
    "data_map",
    "definition",
    "definitions",
    "duplicates",
    "expected_calibration_error",
    "gallery",
    "get_num_threads",
    "heatmap",
    "label_issues",
    "layers",
    "load_digits",
    "load_idx",
    "load_mnist",
    "neighbour_labels",
    "outliers",
    "rank",
    "register_threadpoolctl",
    "reliability_diagram",
    "save_idx",
    "set_num_threads",
    "set_strict",
    "show_config",
    "training_curves",
    "weighted_sum",
]
