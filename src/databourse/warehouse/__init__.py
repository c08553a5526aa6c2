"""The warehouse: DuckDB tables, Parquet texts, and the lock that lets one process write."""

from databourse.warehouse.store import Warehouse, held_warehouse, hold_warehouse
from databourse.warehouse.texts import TextStore

__all__ = ["TextStore", "Warehouse", "held_warehouse", "hold_warehouse"]
