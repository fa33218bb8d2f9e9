"""What the errors of object storages mean: one table for S3, GCS, Azure and all that speak like them.

obstore gives an answer's status and body in its error's text alone, so they are read from there; no other part of
that text leaves this module, since it holds addresses and whatever the server wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto


class Meaning(Enum):
    """What an error says, whoever says it."""

    MISSING = auto()
    FULL = auto()
    PASSES = auto()
    NO_BUCKET = auto()
    KEYS = auto()
    RIGHTS = auto()
    ROLE = auto()
    REGION = auto()
    CLOCK = auto()
    ARCHIVED = auto()
    NAMES = auto()
    CERTIFICATE = auto()
    STRANGE = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Told:
    """An error's meaning, and the backend's own word for it: a code, or the status."""

    meaning: Meaning
    word: str = ""


class Refused(Exception):
    """An answer to a request made without obstore that is no success: its status, and its body's beginning."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"status code: {status} {body[:2_000]}")


#: What lasts until somebody changes a setting: the rest of a sentence that begins with the place, and the remedy.
LASTING: dict[Meaning, tuple[str, str]] = {
    Meaning.NO_BUCKET: ("lies in a bucket that does not exist", "Make the bucket, or mend the URL."),
    Meaning.KEYS: (
        "does not accept our credentials",
        "Set them anew; such as are lent for a while may have expired.",
    ),
    Meaning.RIGHTS: (
        "does not allow it",
        "Give the key the rights to get, put and delete objects there, and to list the bucket.",
    ),
    Meaning.ROLE: ("gets no credentials from this machine's own role", "Give the machine a role, or set keys."),
    Meaning.REGION: ("lies elsewhere", "Set the bucket's own region, and the endpoint that belongs to it."),
    Meaning.CLOCK: ("finds that our clock is wrong", "Set this machine's clock."),
    Meaning.ARCHIVED: (
        "has moved the blob where it cannot be read at once",
        "Restore it there, and move blobs to a class that answers at once.",
    ),
    Meaning.NAMES: ("holds an object of others with a name that cannot be listed", "Use a prefix of its own."),
    Meaning.CERTIFICATE: ("shows a certificate that is not trusted here", "Mend it, or the endpoint's address."),
    Meaning.STRANGE: ("does not answer as an object storage does", "Mend the URL, or the endpoint's address."),
    Meaning.REFUSED: ("refuses the request", "Mend the storage's settings; the word in brackets is its own."),
}

_CODES = {
    # Azure tells of each deletion of a batch by a status.
    Meaning.MISSING: "NoSuchKey BlobNotFound 404",
    Meaning.NO_BUCKET: "NoSuchBucket ContainerNotFound InvalidBucketName InvalidResourceName",
    Meaning.KEYS: """InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken InvalidToken TokenRefreshRequired
        InvalidSecurity NotSignedUp AuthenticationFailed AuthenticationRequired InvalidAuthenticationInfo
        NoAuthenticationInformation AccountIsDisabled InvalidJWT invalid_grant""",
    Meaning.RIGHTS: "AccessDenied AllAccessDisabled AuthorizationFailure AuthorizationPermissionMismatch",
    Meaning.ROLE: "NoRole",
    Meaning.REGION: """PermanentRedirect TemporaryRedirect Redirect AuthorizationHeaderMalformed
        IllegalLocationConstraintException""",
    Meaning.CLOCK: "RequestTimeTooSkewed RequestExpired",
    Meaning.ARCHIVED: "InvalidObjectState BlobArchived BlobBeingRehydrated",
    Meaning.FULL: """QuotaExceeded EntityTooLarge XMinioStorageFull XMinioAdminBucketQuotaExceeded
        RequestBodyTooLarge ServiceQuotaExceeded""",
    Meaning.PASSES: """RequestTimeout SlowDown InternalError ServiceUnavailable OperationAborted ServerBusy
        OperationTimedOut XMinioServerNotInitialized""",
}
_BY_CODE = {code: meaning for meaning, codes in _CODES.items() for code in codes.split()}

# What a status means where no code is known. A 404 that does not say what is missing is no definite answer.
_BY_STATUS = {
    **dict.fromkeys((408, 412, 425, 429, 500, 502, 503, 504), Meaning.PASSES),
    **dict.fromkeys((413, 507), Meaning.FULL),
    **dict.fromkeys((301, 302, 307, 308), Meaning.REGION),
    401: Meaning.KEYS,
    403: Meaning.RIGHTS,
    404: Meaning.STRANGE,
}

# What obstore itself has to say, in its own words; the first that fits.
_BY_TEXT = (
    ("invalid peer certificate", Meaning.CERTIFICATE),
    ("//169.254.", Meaning.ROLE),
    ("computeMetadata", Meaning.ROLE),
    ("oken file", Meaning.ROLE),
    ("container does not exist", Meaning.NO_BUCKET),
    ("No data in memory found", Meaning.MISSING),
    ("redirect without LOCATION", Meaning.REGION),
    ("object with invalid path", Meaning.NAMES),
)
_CODE = re.compile(r"<Code>\s*(\w{1,80})\s*</Code>|\(code: (\w{1,80})\)|\"error\": ?\"(\w{1,80})\"")
_STATUS = re.compile(r"status code: (\d{3})\b")


def told_by(text: str) -> Told:
    """What an error's text means."""
    for words, meaning in _BY_TEXT:
        if words in text:
            return Told(meaning)
    code, status = _CODE.search(text), _STATUS.search(text)
    word = next(filter(None, code.groups())) if code else ""
    if word in _BY_CODE:
        return Told(_BY_CODE[word], word)
    number = word if word.isdigit() else status and status[1]
    if number:
        return Told(_BY_STATUS.get(int(number), Meaning.REFUSED), word or number)
    if word:
        return Told(Meaning.REFUSED, word)
    return Told(Meaning.PASSES if "HTTP error: " in text else Meaning.STRANGE)
