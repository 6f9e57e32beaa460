"""Every error edge raises on purpose, and the exit code each gives the command line.

    EdgeError
    ├── ConfigError        78  a recipe, option or config file asks for something that cannot be
    ├── SourceError        69  frames cannot be had
    │   ├── SourceNotFound     nothing is there
    │   ├── NotAVideo          something is there, but it holds no decodable frames
    │   └── SourceDamaged      frames came, then the data broke off or was corrupt
    ├── EngineError        70  an engine cannot be trusted or run
    │   ├── EngineNotFound     no bundle of that name
    │   ├── BundleTampered     the bundle is not what its card says
    │   └── GateRefused        it lost more accuracy than it was allowed to
    ├── DataError          65  labels or training data are not what they should be
    │   ├── CalibrationError   calibration frames or scales are not, or no longer
    │   └── MaskError          a message is not a compact mask
    └── OutputError        73  a result cannot be written

Messages are one or two sentences for the person at 3 a.m.: what happened, to which thing, what was found, and
what to do next. Exit codes follow sysexits.h.
"""


class EdgeError(Exception):
    """The root: catch this to catch all that edge raises on purpose."""

    exit_code = 1


class ConfigError(EdgeError, ValueError):
    """A recipe, option or config file asks for something that cannot be."""

    exit_code = 78


class SourceError(EdgeError, OSError):
    """Frames cannot be had."""

    exit_code = 69


class SourceNotFound(SourceError, FileNotFoundError):
    """Nothing is there."""


class NotAVideo(SourceError):
    """Something is there, but it holds no decodable frames."""


class SourceDamaged(SourceError):
    """Frames came, then the data broke off or was corrupt."""


class EngineError(EdgeError, RuntimeError):
    """An engine cannot be trusted or run."""

    exit_code = 70


class EngineNotFound(EngineError, LookupError):
    """No bundle has that name."""


class BundleTampered(EngineError):
    """The bundle is not what its card says."""


class GateRefused(EngineError):
    """The engine lost more accuracy than it was allowed to. `report` has the figures, for people."""

    report = ""


class DataError(EdgeError, ValueError):
    """Labels or training data are not what they should be."""

    exit_code = 65


class CalibrationError(DataError):
    """Calibration frames or scales are not what they should be, or no longer."""


class OutputError(EdgeError, OSError):
    """A result cannot be written."""

    exit_code = 73
