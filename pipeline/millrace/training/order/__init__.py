"""The order of rows in training: pure functions without I/O.

The chunks of a split, permuted by version, split and seed, form one sequence of rows, which is cut into lanes. In each
epoch a lane permutes its fragments of chunks, takes a window of them at a time and permutes the rows of the window. A
global batch takes the same number of rows of every lane, so neither world size nor workers influence it.
"""

from millrace.training.order.batches import BatchPlan, progress_after
from millrace.training.order.ranks import lane_batch_rows, rank_lanes
from millrace.training.order.row_order import Order
from millrace.training.order.spec import ALGORITHM, OrderSpec, Shuffle, Tail
from millrace.training.order.window_size import default_window_chunks
from millrace.training.order.windows import Fragment, Window

__all__ = [
    "ALGORITHM",
    "BatchPlan",
    "Fragment",
    "Order",
    "OrderSpec",
    "Shuffle",
    "Tail",
    "Window",
    "default_window_chunks",
    "lane_batch_rows",
    "progress_after",
    "rank_lanes",
]
