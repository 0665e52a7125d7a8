"""Lists files through the file systems that Spark reads from, hidden files included."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def list_files(spark: "SparkSession", path: str) -> dict[str, tuple[str, int]]:
    """Return every file that a path or glob matches, including all files below matching folders.

    Args:
        spark: session, whose Hadoop configuration knows the stores.
        path: path in the form of Spark's readers (`jobs.catalog.source`).

    Returns:
        (full path or URI, size in bytes) by the path relative to the folder; of what a glob finds, to its parent.
        Empty where there is nothing.
    """
    hadoop = spark._jvm.org.apache.hadoop.fs  # type: ignore[union-attr]
    root = hadoop.Path(path)
    system = root.getFileSystem(spark._jsc.hadoopConfiguration())
    found: dict[str, tuple[str, int]] = {}
    for status in system.globStatus(root) or ():
        # Paths are relative to a folder that is named itself, or to the glob's folder for one that a glob matched.
        start = status.getPath() if status.isDirectory() and root.getName() == status.getPath().getName() else None
        base = (start or status.getPath().getParent()).toUri().getPath().rstrip("/") + "/"
        entries = system.listFiles(status.getPath(), True)
        while entries.hasNext():
            entry = entries.next()
            full = entry.getPath().toUri().getPath()
            found[full.removeprefix(base)] = (entry.getPath().toString(), entry.getLen())
    return found
