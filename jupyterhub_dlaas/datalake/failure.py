"""What a person is told when something cannot be done: a sentence, what to do about it, and a command's exit code."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from jupyterhub_dlaas.datalake.advice import ADVICE

_TOKEN = re.compile(r"eyJ[A-Za-z0-9._-]+")


class Code(IntEnum):
    """The exit codes of every command of `datalake`.

    FAILED: some of the work was not done (a rule is stuck, some files failed). REFUSED: the sign-in or a permission.
    NO_SPACE: quota or disk. BAD_DATA: a checksum, or a file that changed. NOT_HERE: not on the mounted storage yet.
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    NO_SPACE = 5
    UNREACHABLE = 6
    BAD_DATA = 7
    NOT_HERE = 8
    INTERRUPTED = 130


class Failure(Exception):
    """What could not be done, as a sentence; what to do about it; and the exit code of the command that meets it."""

    def __init__(self, sentence: str, advice: str = "", code: Code = Code.FAILED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.advice = advice
        self.code = code

    def __str__(self) -> str:
        return f"{self.sentence} {self.advice}".rstrip()


def failure_of(error: BaseException) -> Failure | None:
    """The failure that an exception of Rucio's, of requests or of the system stands for; None for anything else.

    None means a bug: it is to be raised, so that its traceback is seen.
    """
    if isinstance(error, Failure):
        return error
    return _of_rucio(error) or _of_requests(error) or _of_system(error)


def words_of(error: BaseException) -> str:
    """An exception's own message in one line, without tokens and without Rucio's "Details:"."""
    words = " ".join(str(argument) for argument in error.args if argument) or str(error)
    words = words.rpartition("Details: ")[2].partition("Failed validating")[0]
    return _TOKEN.sub("<token>", " ".join(words.split()))[:300]


# Rucio's exceptions by name: several are younger than the oldest client that is supported.
_NOT_FOUND = {
    "AccountNotFound": "",
    "DataIdentifierNotFound": "Look it up with: datalake find SCOPE:PATTERN",
    "ReplicaNotFound": "",
    "RSENotFound": "Check the name of the storage (RSE).",
    "RuleNotFound": "List your rules with: datalake rules",
    "RSEFileNameNotSupported": "",
    "ScopeNotFound": "Check the scope: the part before the colon.",
    "SourceNotFound": "The storage does not have what Rucio expects there; tell your VO's data managers.",
}
_REFUSED = {
    "AccessDenied": "Ask your VO's data managers whether your account may do this.",
    "CannotAuthenticate": ADVICE["refused"],
    "CannotAuthorize": ADVICE["refused"],
    "IdentityError": ADVICE["refused"],
    "IdentityNotFound": ADVICE["refused"],
    "MissingClientParameter": ADVICE["certificate"],
    "NoAuthInformation": ADVICE["certificate"],
    "RSEAccessDenied": "The storage does not let you; ask its managers.",
}
_NO_SPACE = {
    "InsufficientAccountLimit": "See your limits with: datalake status. Let rules that you no longer need expire, or "
    "ask your VO's data managers for a larger quota.",
    "InsufficientQuota": "Ask your VO's data managers for a larger quota.",
    "InsufficientTargetRSEs": "Name another storage, or ask your VO's data managers for a quota there.",
    "QuotaExceeded": "Ask your VO's data managers for a larger quota.",
    "RSEOverQuota": "Name another storage, or ask its managers for space.",
    "NoSpaceLeftOnDevice": "Make room there, or name another storage.",
}
_USAGE = {
    "DataIdentifierAlreadyExists": "Choose another name.",
    "DuplicateContent": "",
    "DuplicateRule": "",
    "FileAlreadyExists": "",
    "InputValidationError": "",
    "InvalidMetadata": "See the keys that it knows with: datalake info DID --json",
    "InvalidObject": "",
    "InvalidPath": "",
    "InvalidRSEExpression": "Write the name of a storage (RSE), or for instance QOS=SAFE.",
    "InvalidReplicationRule": "",
    "InvalidType": "",
    "KeyNotFound": "See the keys that it knows with: datalake info DID --json",
    "RSEExpressionNotFound": "",
    "UnsupportedOperation": "",
    "UnsupportedStatus": "",
}
_UNREACHABLE = {
    "DatabaseException": ADVICE["unreachable"],
    "ResourceTemporaryUnavailable": ADVICE["unreachable"],
    "RSEBlacklisted": "The storage is closed at the moment. " + ADVICE["unreachable"],
    "RSEWriteBlocked": "The storage takes no data at the moment. " + ADVICE["unreachable"],
    "ServerConnectionException": ADVICE["unreachable"],
    "ServiceUnavailable": ADVICE["unreachable"],
}
_BAD_DATA = {
    "ChecksumCalculationError": "",
    "FileConsistencyMismatch": "",
    "RSEChecksumUnavailable": "",
    "NotAllFilesDownloaded": "",
}
_BY_NAME: Mapping[str, tuple[Code, str]] = {
    name: (code, advice)
    for code, names in (
        (Code.NOT_FOUND, _NOT_FOUND),
        (Code.REFUSED, _REFUSED),
        (Code.NO_SPACE, _NO_SPACE),
        (Code.USAGE, _USAGE),
        (Code.UNREACHABLE, _UNREACHABLE),
        (Code.BAD_DATA, _BAD_DATA),
    )
    for name, advice in names.items()
}


def _of_rucio(error: BaseException) -> Failure | None:
    known = _loaded("rucio.common.exception", "RucioException")
    if known is None or not isinstance(error, known):
        return None
    words, name = words_of(error), type(error).__name__
    if "http status code: 5" in words:  # an answer that is not Rucio's own: a proxy's, or a crash
        return Failure(f"Rucio failed by itself ({words}).", ADVICE["unreachable"], Code.UNREACHABLE)
    if "http status code: 404" in words:
        return Failure("Rucio does not know what was asked for.", "Check the spelling.", Code.NOT_FOUND)
    for cls in type(error).__mro__:
        if cls.__name__ in _BY_NAME:
            code, advice = _BY_NAME[cls.__name__]
            return Failure(f"Rucio says: {words or name}", advice, code)
    return Failure(f"Rucio says: {words or name} ({name})", "", Code.FAILED)


def _of_requests(error: BaseException) -> Failure | None:
    known = _loaded("requests.exceptions", "RequestException")
    if known is None or not isinstance(error, known):
        return None
    name = type(error).__name__
    request = getattr(error, "request", None)
    whom = (getattr(request, "url", None) or "The server").partition("?")[0]
    if name == "SSLError":
        sentence = f"The certificate of {whom} is not one that this server trusts."
        return Failure(sentence, ADVICE["error"], Code.UNREACHABLE)
    if name in {"ReadTimeout", "ConnectTimeout", "Timeout"}:
        return Failure(f"{whom} does not answer.", ADVICE["unreachable"], Code.UNREACHABLE)
    return Failure(f"{whom} cannot be reached ({name}).", ADVICE["unreachable"], Code.UNREACHABLE)


_SYSTEM: Mapping[int, tuple[Code, str]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), (Code.NO_SPACE, "Make room there, or name another folder.")),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), (Code.REFUSED, "Name a file or folder of your own.")),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), (Code.NOT_FOUND, "Check the path.")),
    **dict.fromkeys((errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST), (Code.USAGE, "Check the path.")),
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.ECONNREFUSED),
        (Code.UNREACHABLE, "The storage behind it does not answer. " + ADVICE["mount"]),
    ),
}


def _of_system(error: BaseException) -> Failure | None:
    if not isinstance(error, OSError) or error.errno is None or isinstance(error, BrokenPipeError):
        return None
    code, advice = _SYSTEM.get(error.errno, (Code.FAILED, ""))
    where = f"{error.filename}: " if error.filename else ""
    return Failure(f"{where}{error.strerror}.", advice, code)


def _loaded(module: str, name: str) -> Any:
    """A class of a module that is in use already: an exception cannot be of one that is not."""
    return getattr(sys.modules.get(module), name, None)
