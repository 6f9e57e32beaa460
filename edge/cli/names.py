"""Names that options take: completed by the shell, and in the forms that people know them by."""

from __future__ import annotations

STYLES = ("tint", "outline", "mask", "side-by-side")  # edge.appearance.STYLES, without its imports
PRECISIONS = ("int8", "f32", "bf16", "fp16")
BACKENDS = ("tensorrt", "openvino", "onnxruntime")  # edge.backends.BACKENDS, likewise
_ALSO = {"fp32": "f32", "float32": "f32", "f16": "fp16", "half": "fp16", "float16": "fp16", "bfloat16": "bf16"}


def precision_of(text: str | None) -> str | None:
    """A precision as engines name it: fp32 is f32. Any other text is left as it is, for the engine to refuse."""
    return None if text is None else _ALSO.get(text.lower(), text)


def engine_and_precision(text: str | None) -> tuple[str | None, str | None]:
    """Of NAME or NAME:PRECISION; a folder's name may hold a colon."""
    name, _, precision = (text or "").rpartition(":")
    known = precision_of(precision)
    return (name, known) if name and known in PRECISIONS else (text, None)


def complete_precision(incomplete: str) -> list[str]:
    """For the shell."""
    return [name for name in PRECISIONS if name.startswith(incomplete)]


def complete_backend(incomplete: str) -> list[str]:
    """For the shell."""
    return [name for name in BACKENDS if name.startswith(incomplete)]


def complete_engine_and_precision(incomplete: str) -> list[str]:
    """For the shell: NAME or NAME:PRECISION, the precisions once the name is whole."""
    name, colon, precision = incomplete.rpartition(":")
    return [f"{name}:{known}" for known in complete_precision(precision)] if colon else complete_engine(incomplete)


def complete_style(incomplete: str) -> list[str]:
    """For the shell."""
    return [name for name in STYLES if name.startswith(incomplete)]


def complete_engine(incomplete: str) -> list[str]:
    """For the shell: bundles by name, those that come with edge and those in ./engines/built."""
    from edge.engine import list_bundles

    return [name for name in list_bundles() if name.startswith(incomplete)]
