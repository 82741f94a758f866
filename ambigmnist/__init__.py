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
from ambigmnist.config import (
    get_num_threads,
    register_threadpoolctl,
    set_num_threads,
    set_strict,
    show_config,
)
from ambigmnist.datasets import Dataset, load_digits, load_idx, load_mnist, save_idx
from ambigmnist.definitions import definition, definitions
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
from ambigmnist.model import CNN
from ambigmnist.plot import data_map, gallery, reliability_diagram, training_curves
from ambigmnist.ranking import Ranking, rank

__version__ = _startup.VERSION

__all__ = [
    "CNN",
    "AmbigError",
    "ArgumentError",
    "BusyError",
    "Calibration",
    "DTypeError",
    "DataError",
    "DataNotFoundError",
    "Dataset",
    "Evidence",
    "FileError",
    "Heatmap",
    "MissingDependencyError",
    "OutOfMemoryError",
    "OutOfRangeError",
    "Ranking",
    "Reliability",
    "ShapeError",
    "calibrate",
    "data_map",
    "definition",
    "definitions",
    "expected_calibration_error",
    "gallery",
    "get_num_threads",
    "heatmap",
    "layers",
    "load_digits",
    "load_idx",
    "load_mnist",
    "rank",
    "register_threadpoolctl",
    "reliability_diagram",
    "save_idx",
    "set_num_threads",
    "set_strict",
    "show_config",
    "training_curves",
]
