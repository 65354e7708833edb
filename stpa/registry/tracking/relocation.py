"""Keep the addresses in a workspace's own MLflow store pointing into that workspace.

MLflow stores the absolute address of each run's and each model's files, so a workspace that was
moved or copied would still read from, and write to, the folder that it came from. Rewriting these
leaves plain file:// addresses, which every MLflow program can follow, also without this package.
"""

import logging
import sqlite3
from contextlib import closing
from urllib.parse import unquote

from stpa.errors import RegistryError
from stpa.registry.tracking.connection import artifacts_address, default_database
from stpa.workspace import Workspace, exclusive

logger = logging.getLogger(__name__)

# Of all tables, so that no list of MLflow's has to be kept up to date here.
_TEXT_COLUMNS = """
    SELECT tables.name, columns.name
    FROM sqlite_master AS tables JOIN pragma_table_info(tables.name) AS columns
    WHERE tables.type = 'table' AND (columns.type = 'TEXT' OR columns.type LIKE 'VARCHAR%')
"""
_EXPERIMENTS = ("experiments", "artifact_location")
_FORMER_ADDRESSES = """
    SELECT DISTINCT artifact_location FROM experiments
    WHERE artifact_location LIKE 'file://%/mlflow/artifacts' AND artifact_location != ?
"""


def relocate_store(workspace: Workspace) -> None:
    """Rewrite the addresses of a store that was moved or copied here since it was last opened.

    One transaction: after a kill at any instant, the next call finds either all of it done or
    none. Raises RegistryError for a file that is no database, and ComputeError while another
    process is at work in the workspace, which then knows it by another path.
    """
    database = default_database(workspace)
    if not database.exists():
        return
    try:
        # An explicit close: leaving a connection's own block only ends its transaction.
        with closing(sqlite3.connect(database, isolation_level="IMMEDIATE")) as connection:
            _relocate(connection, workspace, artifacts_address(database))
    except sqlite3.Error as error:
        raise RegistryError(f"MLflow's store {database} cannot be used: {error}") from error


def _relocate(connection: sqlite3.Connection, workspace: Workspace, current: str) -> None:
    columns = connection.execute(_TEXT_COLUMNS).fetchall()
    if _EXPERIMENTS not in columns:  # a kill came before MLflow had made its tables
        return
    former = [address for (address,) in connection.execute(_FORMER_ADDRESSES, [current])]
    if not former:
        return
    with exclusive(workspace), connection:
        for address in former:
            for table, column in columns:
                _replace_prefix(connection, table, column, address, current)
    for address in former:
        logger.info(
            "MLflow's files are looked for in %s now, not in %s", *map(unquote, (current, address))
        )


def _replace_prefix(
    connection: sqlite3.Connection, table: str, column: str, former: str, current: str
) -> None:
    """Replace the address `former` in one column, where it stands alone or with a path below it."""
    below = f'substr("{column}", length(:former) + 1)'
    connection.execute(
        f'UPDATE "{table}" SET "{column}" = :current || {below} '
        f"WHERE \"{column}\" = :former || {below} AND substr({below}, 1, 1) IN ('', '/')",
        {"former": former, "current": current},
    )
