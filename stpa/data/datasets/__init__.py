"""Where videos come from: one small file a dataset, each entered in `DATASETS` by its name.

A new dataset is a class with the two methods of `base.Dataset` and one entry here.
"""

from stpa.data.datasets.base import Dataset, ListedVideo
from stpa.data.datasets.folder import FolderDataset
from stpa.data.datasets.synthetic import SyntheticDataset
from stpa.data.datasets.ucf101 import Ucf101Dataset

__all__ = ["DATASETS", "Dataset", "ListedVideo"]

DATASETS: dict[str, Dataset] = {
    "folder": FolderDataset(),
    "synthetic": SyntheticDataset(),
    "ucf101": Ucf101Dataset(),
}
