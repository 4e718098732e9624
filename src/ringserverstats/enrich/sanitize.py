"""Text that strangers chose, made safe to store and to show."""

#: Characters that are kept of a client id or stream name.
LONGEST_TEXT = 100


def clean(raw: bytes) -> str:
    r"""``raw`` as text: invalid UTF-8 and all that is no visible character as ``\x..``, cut."""
    return cut(visible(raw))


def cut(text: str) -> str:
    """As much of ``text`` as is kept."""
    return text[:LONGEST_TEXT].strip()


def visible(raw: bytes) -> str:
    r"""``raw`` as text in which all that cannot be seen is written as ``\x..``."""
    text = raw.decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(
            c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
            for c in text
        )
    return text
