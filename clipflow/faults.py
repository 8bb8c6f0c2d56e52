"""Faults: what storage and its clients raise, put into our words.

Clients are known by the names of their exceptions, so that reading an error imports none of them.
"""

import errno
import os
import re
from typing import Literal

from clipflow.error_number import causes, error_number
from clipflow.errors import ClipflowError, SourceError, StorageUnavailable
from clipflow.failures import ImageFailure
from clipflow.machine import is_about_writing, trouble
from clipflow.uri import shown

Kind = Literal["timeout", "network", "forbidden", "not_found", "too_large"]

_ERRNO: dict[int | None, Kind] = {
    errno.ENOENT: "not_found",
    errno.ENOTDIR: "not_found",
    errno.ELOOP: "not_found",
    errno.ENAMETOOLONG: "not_found",
    errno.EACCES: "forbidden",
    errno.EPERM: "forbidden",
    errno.ETIMEDOUT: "timeout",
    errno.EFBIG: "too_large",
}
# Codes of S3 answers, by the words that stand in them.
_CODES: dict[Kind, str] = {
    "not_found": "NoSuch(Bucket|Key|Version)|InvalidBucketName|404",
    "forbidden": "AccessDenied|AccountProblem|AllAccessDisabled|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken"
    "|InvalidToken|TokenRefreshRequired|RequestTimeTooSkewed|NotSignedUp|InvalidSecurity|InvalidPayer"
    "|InvalidObjectState|Forbidden|Unauthorized|AuthorizationHeaderMalformed|PermanentRedirect"
    "|IllegalLocationConstraintException|301|401|403",
    "timeout": "RequestTimeout(Exception)?|408|504",
    "too_large": "EntityTooLarge|MaxMessageLengthExceeded",
}
# Names of exceptions and of their bases.
_CLASSES: dict[str, Kind] = {
    "ConnectTimeoutError": "timeout",
    "ReadTimeoutError": "timeout",
    "FSTimeoutError": "timeout",
    "ServerTimeoutError": "timeout",
    "NoCredentialsError": "forbidden",
    "PartialCredentialsError": "forbidden",
    "CredentialRetrievalError": "forbidden",
    "TokenRetrievalError": "forbidden",
    "SSOError": "forbidden",
    "NoAuthTokenError": "forbidden",
    "ProfileNotFound": "forbidden",
    "ParamValidationError": "not_found",
    "InvalidDNSNameError": "not_found",
    "HTTPClientError": "network",
    "ConnectionError": "network",
    "ClientConnectionError": "network",
    "ClientPayloadError": "network",
    "IncompleteReadError": "network",
    "IncompleteRead": "network",
    "ResponseParserError": "network",
    "BotoCoreError": "network",
}
# What Lance, whose errors are texts, writes about S3; the first that is found holds.
_TEXTS: dict[Kind, str] = {
    "not_found": "NoSuchBucket|bucket does not exist|Dataset at path .* was not found|404 Not Found|status: 404",
    "forbidden": "InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|ExpiredToken|InvalidToken|403 Forbidden"
    "|401 Unauthorized|lacked the required privileges|lacked valid authentication|[Nn]o credentials"
    "|CredentialsNotLoaded|status: 403",
    "timeout": "operation timed out|request timed out|deadline has elapsed|408 Request Timeout|504 Gateway",
    "network": "error sending request|tcp connect error|[Cc]onnection (refused|reset|closed)|dns error"
    "|50[0-9] (Internal|Bad|Service)|SlowDown",
}
# Lance's errors are of Python's own classes; these stand in their texts.
_LANCE = ("LanceError(", "/rust/lance", "External error: ")
# How file systems without hard links answer, and what shows that a link was asked for: Lance calls it renaming.
_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK})
_LINKING = ("Unable to rename file", "' -> '")
_WITH_LINKS = "Put it on another one, such as ext4, XFS or NFS, or into a bucket; exFAT and mounted buckets have none."
DAMAGED = "a file of it is missing or damaged"
RESTORE = "Restore it from a copy, or name another table."
_MENDS: dict[Kind, str] = {
    "not_found": "Check the spelling of the bucket or folder, AWS_ENDPOINT_URL_S3 and AWS_REGION.",
    "forbidden": "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_REGION "
    "and the rights of that identity.",
    "timeout": "Check AWS_ENDPOINT_URL_S3 and the network, then try again.",
    "network": "Check AWS_ENDPOINT_URL_S3 and the network, then try again.",
    "too_large": "Name a smaller object.",
}
_WORDS: dict[Kind, str] = {
    "not_found": "it does not exist",
    "forbidden": "access was refused",
    "timeout": "storage did not answer in time",
    "network": "storage could not be reached",
    "too_large": "it is too large",
}


def failure_kind(error: BaseException) -> Kind | None:
    """What a foreign error of storage means in our words; None for anything that is not about storage.

    Knows OSError and its kin, time-outs, botocore, aiohttp, s3fs, and the texts of Lance. The
    causes of an error are asked first: a client often wraps the precise one in a vague one.
    """
    kinds = [kind for one in causes(error) if (kind := _said(one) or _numbered(one))]
    return kinds[-1] if kinds else None


def connection_kind(error: BaseException) -> Kind | None:
    """As `failure_kind`, of clients of a store alone: not every OSError is about one."""
    kinds = [kind for one in causes(error) if (kind := _said(one))]
    return kinds[-1] if kinds else None


def storage_error(error: BaseException, uri: str, doing: str) -> ClipflowError:
    """The error to raise for a foreign error of storage.

    Its text names the address and never quotes the foreign text, which may show credentials.
    Raise it `from None` where that foreign text must not reach a log either.

    Args:
        error: What the client raised; an error of ours is handed back as it is.
        uri: The address it was about.
        doing: A verb: "list", "read", "write".

    Returns:
        SourceError (final) for what is missing or refused, StorageUnavailable (retryable) for the rest.
    """
    if isinstance(error, ClipflowError):
        return error
    if "://" not in uri or uri.startswith("file://"):
        return _local_error(error, uri, doing)
    kind = failure_kind(error)
    where = f"Cannot {doing} {shown(uri)}"
    if kind is None:
        return StorageUnavailable(f"{where}: storage failed with {type(error).__name__}.", _MENDS["network"])
    words = "no credentials were found" if _without_credentials(error) else _WORDS[kind]
    message = f"{where}: {words}{_code(error)}."
    return (StorageUnavailable if kind in ("timeout", "network") else SourceError)(message, _MENDS[kind])


def is_of_lance(error: BaseException) -> bool:
    """Whether an error came out of Lance, through whatever else."""
    return any(sign in str(one) for one in causes(error) for sign in _LANCE)


def _local_error(error: BaseException, path: str, doing: str) -> ClipflowError:
    number = error_number(error)
    where = f"Cannot {'write to' if is_about_writing(number) else doing} {path}"
    if number in _LINKS and any(sign in str(one) for one in causes(error) for sign in _LINKING):
        return SourceError(f"{where}: its file system has no hard links, by which a commit is made.", _WITH_LINKS)
    if (found := trouble(number)) is not None:
        return (StorageUnavailable if found.passes else SourceError)(f"{where}: {found.words}.", found.mend)
    if number is None and is_of_lance(error):
        return SourceError(f"{where}: {DAMAGED}.", RESTORE)
    said = os.strerror(number).lower() if number else type(error).__name__
    return StorageUnavailable(f"{where}: the disk answered with {said!r}.", "Check it or its mount, then try again.")


def _answer(error: BaseException) -> str | None:
    """The code in an answer of S3, as botocore hands it over."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        return code or str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")) or None
    return None


def _code(error: BaseException) -> str:
    codes = [code for one in causes(error) if (code := _answer(one)) and code.isalpha()]
    return f" ({codes[-1]})" if codes else ""


def _without_credentials(error: BaseException) -> bool:
    return any(
        type(one).__name__ == "NoCredentialsError" or "CredentialsNotLoaded" in str(one) for one in causes(error)
    )


def _said(error: BaseException) -> Kind | None:
    if isinstance(error, ImageFailure):
        return None
    if code := _answer(error):
        return next((kind for kind, codes in _CODES.items() if re.fullmatch(codes, code)), "network")
    if isinstance(error, TimeoutError):
        return "timeout"
    for known in type(error).__mro__:
        if known.__name__ in _CLASSES:
            return _CLASSES[known.__name__]
    if isinstance(error, OSError | ValueError | RuntimeError):
        text = str(error)
        return next((kind for kind, pattern in _TEXTS.items() if re.search(pattern, text)), None)
    return None


def _numbered(error: BaseException) -> Kind | None:
    if not isinstance(error, OSError) or isinstance(error, ImageFailure):
        return None
    if isinstance(error, FileNotFoundError):
        return "not_found"
    if isinstance(error, PermissionError):
        return "forbidden"
    return _ERRNO.get(error.errno, "network")
