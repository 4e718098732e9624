"""Make text from strangers safe to store and to show."""

#: Characters of a client id or stream name that are stored.
LONGEST_TEXT = 100


def clean(raw: bytes) -> str:
    r"""Return ``raw`` as text like `visible`, cut to `LONGEST_TEXT` characters."""
    return cut(visible(raw))


def cut(text: str) -> str:
    """Return ``text`` cut to `LONGEST_TEXT` characters."""
    return text[:LONGEST_TEXT].strip()


def visible(raw: bytes) -> str:
    r"""Return ``raw`` as text; invalid UTF-8 and invisible characters become ``\x..``."""
    text = raw.decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(
            c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
            for c in text
        )
    return text
