"""The versions of installed packages, stpa's own among them."""

from importlib.metadata import PackageNotFoundError, version

UNKNOWN = "unknown"


def package_version(package: str = "stpa") -> str:
    """Return the version in a package's metadata; UNKNOWN where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return UNKNOWN
