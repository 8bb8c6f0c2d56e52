"""Storage: the AWS_* variables mapped once for s3fs and Lance.

A `Storage` holds no secret. Credentials are looked up by botocore when a client is made, from the
environment or a profile, so that a pickled `Storage` uses the credentials of wherever it arrives.
"""

import logging
import os
import threading
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from clipflow.errors import SourceError
from clipflow.spec import StorageSpec
from clipflow.uri import scheme, shown

CONNECT_SECONDS = 5
READ_SECONDS = 30
ATTEMPTS = 3
CONNECTIONS = 32
# They say at each look-up that it found something, dozens of times in the log of a task.
_CHATTY = ("botocore.credentials", "aiobotocore.credentials")

_clients: dict[object, Any] = {}
_lock = threading.Lock()


def _start_afresh() -> None:
    """A forked child may neither use its parent's connections nor wait for a lock that nobody holds any more."""
    global _lock
    _lock = threading.Lock()
    _clients.clear()


os.register_at_fork(after_in_child=_start_afresh)


@dataclass(frozen=True)
class Storage:
    """Where S3 answers. Picklable, equal for equal settings, and without secrets.

    Args:
        endpoint: URL of the S3 service; None leaves it to the environment, then to AWS.
        region: Region of the service; None leaves it to the environment.
        profile: Profile of the AWS configuration files; it then outranks credentials in the environment.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None

    @classmethod
    def of(cls, spec: StorageSpec) -> Self:
        """The storage that a job file names; what it leaves open, the environment of each process decides."""
        return cls(endpoint=spec.endpoint, region=spec.region, profile=spec.profile)

    def lance_options(self, uri: str) -> dict[str, str] | None:
        """The `storage_options` of Lance for an address; None for local paths.

        They hold secrets: hand them to Lance, and never log or keep them.

        Raises:
            SourceError: The profile or the endpoint is not usable, or the scheme is not file or s3.
        """
        if not _on_s3(uri):
            return None
        session = self._session()
        endpoint, region = self._place(session)
        options: dict[str, str] = {}
        # Credentials that expire stay with Lance's own look-up, which renews them, unless a profile names them.
        credentials = session.get_credentials()
        if credentials is not None and (not hasattr(credentials, "refresh_needed") or session.profile):
            frozen = credentials.get_frozen_credentials()
            options["aws_access_key_id"] = frozen.access_key
            options["aws_secret_access_key"] = frozen.secret_key
            if frozen.token:
                options["aws_session_token"] = frozen.token
        if region:
            options["aws_region"] = region
        if endpoint:
            options["aws_endpoint"] = endpoint
            options["allow_http"] = "true" if endpoint.lower().startswith("http://") else "false"
        return options

    def filesystem(self, uri: str) -> Any:
        """The fsspec filesystem of an address, one per process and setting; safe to share among threads.

        Raises:
            SourceError: The profile or the endpoint is not usable, or the scheme is not file or s3.
        """
        import fsspec

        if not _on_s3(uri):
            return fsspec.filesystem("file")
        # The environment is part of the key: who changes a variable means it for the next client. Only its
        # hash, because tracebacks with local variables would show the secrets.
        key = (self, hash(frozenset(item for item in os.environ.items() if item[0].startswith("AWS_"))))
        with _lock:
            if key not in _clients:
                _clients[key] = self._s3()
            return _clients[key]

    def _s3(self) -> Any:
        import s3fs

        endpoint, region = self._place(self._session())
        config: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "retries": {"total_max_attempts": ATTEMPTS, "mode": "standard"},
            "max_pool_connections": CONNECTIONS,
        }
        if endpoint:
            # Other servers know neither one host name per bucket nor the newer checksums of AWS.
            config["s3"] = {"addressing_style": "path"}
            config["request_checksum_calculation"] = "when_required"
            config["response_checksum_validation"] = "when_required"
        made = s3fs.S3FileSystem(
            anon=False,
            endpoint_url=endpoint,
            client_kwargs={"region_name": region} if region else {},
            config_kwargs=config,
            default_block_size=8 * 2**20,
            use_listings_cache=False,
            skip_instance_cache=True,
            **({"profile": self.profile} if self.profile else {}),
        )
        made.retries = 1  # botocore tries again already; both would multiply
        return made

    def _session(self) -> Any:
        import botocore.exceptions
        import botocore.session

        for name in _CHATTY:
            if logging.getLogger(name).level == logging.NOTSET:
                logging.getLogger(name).setLevel(logging.WARNING)
        session = botocore.session.Session(profile=self.profile)
        try:
            session.get_scoped_config()
        except botocore.exceptions.BotoCoreError as error:
            raise SourceError(
                f"The AWS profile {session.profile!r} cannot be read ({type(error).__name__}).",
                "Check AWS_PROFILE, storage.profile and the AWS configuration files of this machine.",
            ) from None
        return session

    def _place(self, session: Any) -> tuple[str | None, str | None]:
        """Endpoint and region: the job file's, else the environment's, else the profile's."""
        profile = session.get_scoped_config()
        environment = os.environ.get
        endpoint = self.endpoint
        if not endpoint and environment("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
            services = session.full_config.get("services", {}).get(profile.get("services"), {})
            endpoint = (
                environment("AWS_ENDPOINT_URL_S3")
                or environment("AWS_ENDPOINT_URL")
                or services.get("s3", {}).get("endpoint_url")
                or profile.get("endpoint_url")
            )
        own = profile.get("region") if self.profile else None
        region = self.region or own or environment("AWS_REGION") or environment("AWS_DEFAULT_REGION")
        region = region or profile.get("region") or ("us-east-1" if endpoint else None)
        return (_checked(endpoint) if endpoint else None), region


def _on_s3(uri: str) -> bool:
    kind = scheme(uri)
    if kind not in ("file", "s3"):
        raise SourceError(f"{shown(uri)!r} is not in storage that can be listed.", "Name a path or s3://bucket/key.")
    return kind == "s3"


def _checked(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise SourceError(
            f"The S3 endpoint {shown(endpoint)!r} is not the plain URL of a service.",
            "Check AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL and storage.endpoint: http://host:port or https://host.",
        )
    return endpoint.rstrip("/")
