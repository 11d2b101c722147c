"""MLflow's error messages without the payload that they repeat. Pure.

They quote what a client has sent, whole or in parts, and what other libraries said of it. So of a
message remain its own words, and of quotations those that the server knows itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from mlflow_model_server.responses import bounded

# Characters of a message that are looked at.
_MAX_SCANNED = 4000
# An apostrophe within a word is no quote. The last one may have been cut off.
_QUOTATION = re.compile(r"(?<!\w)'[^']*(?:'|$)|\"[^\"]*(?:\"|$)|`[^`]*(?:`|$)")
_OPENING = re.compile(r"(?<!\w)'|[\"`{\[]")
_ELISION = "…"
# Types, the fields of MLflow's protocol, and functions of pandas.
_WORDS = re.compile(
    r"(?:<class )?'?(?:u?int|float|complex)\d+'?>?|(?:<class )?'?(?:bool|str|bytes|object|int|float"
    r"|dict|list|NoneType|string|binary|boolean|integer|long|double|datetime|datetime64(?:\[\w+\])?"
    r"|inputs|instances|params|data|columns|index|records|split|predictions"
    r"|dataframe_split|dataframe_records)'?>?|pandas\.DataFrame\.\w+\(\)"
)


def sentence_of(error: BaseException, names: Collection[str]) -> str:
    """What an MlflowException says, without what its message quotes but for `names`."""
    return bounded(_sentence(error, names))


def _sentence(error: BaseException, names: Collection[str]) -> str:
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException):
        return type(error).__name__  # its words are about the payload
    text = str(error.message)
    cause = error.__cause__ or error.__context__
    if cause is not None and (before := _before_cause(text, cause)) is not None:
        return f"{_beginning(before)} {_sentence(cause, names)}"
    return _without_quotations(text, names)


def _before_cause(text: str, cause: BaseException) -> str | None:
    """The message before the words of its cause, if it ends with them."""
    words = str(getattr(cause, "message", cause))
    return text[: len(text) - len(words)] if words and text.endswith(words) else None


def _beginning(text: str) -> str:
    """What is said before anything is quoted."""
    text = text[:_MAX_SCANNED]
    opening = _OPENING.search(text)
    if opening is None:
        return text.rstrip()
    return f"{text[: opening.start()].rstrip()} {_ELISION} Error:"


def _without_quotations(text: str, names: Collection[str]) -> str:
    """The text up to the first quotation of something else than `names`, and after the last."""
    scanned = text[:_MAX_SCANNED]
    for quotation in _QUOTATION.finditer(scanned):
        if quotation.group()[1:-1] in names or _WORDS.fullmatch(quotation.group()[1:-1]):
            continue
        before = f"{scanned[: quotation.start() + 1]}{_ELISION}"
        if len(text) > _MAX_SCANNED:  # the last quote may be what opens a quotation
            return f"{before}{quotation.group()[0]}"
        end = max(quotation.end(), 1 + max(map(text.rfind, "'\"`")))
        return f"{before}{text[end - 1 :]}"
    return scanned
