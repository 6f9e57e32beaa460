"""Being written."""


def why_not() -> str | None:
    return "it is being written"
