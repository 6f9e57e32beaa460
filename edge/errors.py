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
    ├── OutputError        73  a result cannot be written
    └── ResourceError      71  memory, threads, processes or open files ran out

Messages are one or two sentences for the person at 3 a.m.: what happened, to which thing, what was found, and
what to do next. Exit codes follow sysexits.h.
"""


class EdgeError(Exception):
    """The root: catch this to catch all that edge raises on purpose."""

    exit_code = 1


class ConfigError(EdgeError, ValueError):
    """A recipe, option or config file asks for something that cannot be.

    Cause: a key or option is unknown, missing or out of its bounds, two of them exclude each other, or a
        library is not installed.
    Fix: the message names the key and what was expected; `edge COMMAND --help` and the reference of config
        files have them all.
    """

    exit_code = 78


class SourceError(EdgeError, OSError):
    """Frames cannot be had.

    Cause: a camera, address or topic gives nothing, asks for a password, or a library for it is missing.
    Fix: `edge doctor` lists cameras and what is missing; a camera's address can be tried with `edge run ADDRESS
        --max-frames 1`.
    """

    exit_code = 69


class SourceNotFound(SourceError, FileNotFoundError):
    """Nothing is there.

    Cause: a path, pattern or device that is not there, as seen from this folder.
    Fix: look at the name; put patterns into quotes; `ls /dev/video*` lists cameras.
    """


class NotAVideo(SourceError):
    """Something is there, but it holds no decodable frames.

    Cause: the file is of another kind, or no frame of it can be decoded.
    Fix: `ffprobe FILE` says what it is; convert it, for example with `ffmpeg -i FILE out.mp4`.
    """


class SourceDamaged(SourceError):
    """Frames came, then the data broke off or was corrupt.

    Cause: a file that was cut off or damaged on its way, a disk or line that failed.
    Fix: fetch the file again; what came before the damage was processed and written.
    """


class EngineError(EdgeError, RuntimeError):
    """An engine cannot be trusted or run.

    Cause: the card or a graph is not in order, or no backend can run it on this machine.
    Fix: `edge doctor` says what runs here and what to install; `edge inspect ENGINE` checks the bundle.
    """

    exit_code = 70


class EngineNotFound(EngineError, LookupError):
    """No bundle has that name.

    Cause: a name with a mistake, a folder without card.json, or an engine that was built elsewhere.
    Fix: the message lists the engines that there are; `edge build` makes one in ./engines/built.
    """


class BundleTampered(EngineError):
    """The bundle is not what its card says.

    Cause: a card or graph was changed, mixed with another bundle's, or damaged; or it is not signed by a key
        that is trusted.
    Fix: restore the bundle from where it came from, or build it again.
    """


class GateRefused(EngineError):
    """The engine lost more accuracy than it was allowed to, or an adaptation did not help. `report` has the figures,
    for people, and `figures` those of an adaptation for programs.

    Cause: INT8 costs this net more than the recipe's limits allow; or drives without labels had nothing to teach it.
    Fix: look at the table and the worst frames; better calibration frames, a layer kept in floating point, or a
        higher --limit. Of an adaptation: more or other drives, more --steps, a larger --teacher.
    """

    report = ""
    figures: dict[str, object] | None = None


class DataError(EdgeError, ValueError):
    """Labels or training data are not what they should be.

    Cause: labels of another size, values that are no class, frames without labels or the other way round.
    Fix: `edge data check RECIPE` reads every file and lists every problem.
    """

    exit_code = 65


class CalibrationError(DataError):
    """Calibration frames or scales are not what they should be, or no longer.

    Cause: frames of the set are gone or changed, or the ranges were taken with other weights.
    Fix: `edge calibrate select`, then `edge calibrate run`.
    """


class OutputError(EdgeError, OSError):
    """A result cannot be written.

    Cause: the folder is missing or not writable, the disk is full, or the file is also a source.
    Fix: make the folder, free space, or name another file.
    """

    exit_code = 73


class ResourceError(EdgeError, OSError):
    """Memory, threads, processes or open files ran out.

    Cause: the machine has no more, or a limit (`ulimit`, a container, a service's unit) allows no more.
    Fix: look at `free -h` and `ulimit -a`; end what else runs, or raise the limit.
    """

    exit_code = 71
