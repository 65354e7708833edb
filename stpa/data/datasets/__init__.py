"""Where videos come from: one small file a dataset, each entered in `DATASETS` by its name.

A new dataset is a class with the two methods of `base.Dataset` and one entry here; one whose own
lists decide the split derives from `listed.ListedDataset`.
"""

from stpa.data.datasets.base import Dataset, ListedVideo
from stpa.data.datasets.charades import CharadesDataset
from stpa.data.datasets.csv_list import CsvDataset
from stpa.data.datasets.folder import FolderDataset
from stpa.data.datasets.hmdb51 import Hmdb51Dataset
from stpa.data.datasets.listed import ListedDataset
from stpa.data.datasets.synthetic import SyntheticDataset
from stpa.data.datasets.ucf101 import Ucf101Dataset
from stpa.errors import ConfigError

__all__ = ["DATASETS", "Dataset", "ListedDataset", "ListedVideo", "find_dataset"]

DATASETS: dict[str, Dataset] = {
    "charades": CharadesDataset(),
    "csv": CsvDataset(),
    "folder": FolderDataset(),
    "hmdb51": Hmdb51Dataset(),
    "synthetic": SyntheticDataset(),
    "ucf101": Ucf101Dataset(),
}


def find_dataset(name: str) -> Dataset:
    """Return the dataset of a name in `DATASETS`; raise ConfigError for any other name."""
    if name not in DATASETS:
        raise ConfigError(f"data.dataset {name!r} is not known: take one of {', '.join(DATASETS)}")
    return DATASETS[name]
