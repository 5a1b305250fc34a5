"""``Store``, which ``connect()`` returns: the one object that commands, DAGs and notebooks use."""

from millrace.api.reading import DatasetInfo
from millrace.api.store import Store
from millrace.api.store_dataset import Dataset
from millrace.dataset import WarmReport
from millrace.names import new_run_id

__all__ = ["Dataset", "DatasetInfo", "Store", "WarmReport", "new_run_id"]
