"""What goes wrong becomes a sentence and an exit code; a bug stays a bug."""

from __future__ import annotations

import errno

import pytest
import requests
from rucio.common import exception

from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of, words_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (exception.DataIdentifierNotFound("no"), Code.NOT_FOUND),
        (exception.AccessDenied("no"), Code.REFUSED),
        (exception.CannotAuthenticate("no"), Code.REFUSED),
        (exception.InsufficientAccountLimit("no"), Code.NO_SPACE),
        (exception.InsufficientTargetRSEs("no"), Code.NO_SPACE),
        (exception.ServerConnectionException("no"), Code.UNREACHABLE),
        (exception.RucioException("no error information passed (http status code: 502)"), Code.UNREACHABLE),
        (exception.RucioException("no error information passed (http status code: 404)"), Code.NOT_FOUND),
        (exception.FileConsistencyMismatch("no"), Code.BAD_DATA),
        (exception.InvalidRSEExpression("no"), Code.USAGE),
        (exception.RucioException("no"), Code.FAILED),
        (requests.ConnectionError("no"), Code.UNREACHABLE),
        (requests.ReadTimeout("no"), Code.UNREACHABLE),
        (requests.exceptions.ChunkedEncodingError("no"), Code.UNREACHABLE),
        (OSError(errno.ENOSPC, "No space left on device", "/scratch/a"), Code.NO_SPACE),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Code.NO_SPACE),
        (PermissionError(errno.EACCES, "Permission denied", "/scratch/a"), Code.REFUSED),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/scratch/a"), Code.NOT_FOUND),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), Code.UNREACHABLE),
    ],
)
def test_known_errors_have_their_code(error, code):
    failure = failure_of(error)
    assert failure is not None
    assert failure.code is code


@pytest.mark.parametrize("bug", [ValueError("x"), KeyError("x"), AttributeError("x"), OSError("no number")])
def test_bug_is_no_failure(bug):
    assert failure_of(bug) is None


def test_failure_is_itself():
    failure = Failure("Sentence.", "Advice.", Code.BAD_DATA)
    assert failure_of(failure) is failure
    assert str(failure) == "Sentence. Advice."


def test_subclass_of_a_known_error_is_known():
    class Younger(exception.DataIdentifierNotFound):  # a later release of Rucio's
        pass

    failure = failure_of(Younger("no"))
    assert failure is not None
    assert failure.code is Code.NOT_FOUND


def test_token_is_never_in_the_words():
    assert "eyJ" not in words_of(exception.CannotAuthenticate("bad token eyJhbGciOi.eyJzdWIi.abc-_d for alice"))


def test_words_are_rucios_own_in_one_line():
    wrong = "Problem validating dids: 'a b' does not match '^[A-Z]*$'\n\nFailed validating 'pattern' in schema ..."
    assert words_of(exception.InvalidObject(wrong)) == "Problem validating dids: 'a b' does not match '^[A-Z]*$'"


def test_file_is_named():
    failure = failure_of(PermissionError(errno.EACCES, "Permission denied", "/scratch/a b"))
    assert failure is not None
    assert failure.sentence == "/scratch/a b: Permission denied."
