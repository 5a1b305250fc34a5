"""The sections of the settings: each setting with its type, range and default."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import NoDecode

from millrace.settings.extras import missing_extra
from millrace.settings.hosts import AllowedHost, allowed_host, check_buckets, check_hosts
from millrace.settings.redis_url import check_redis_url

CHUNK_BYTES_MIN = 64 * 1024
CHUNK_BYTES_MAX = 5_000_000
LOADER_BYTES_MAX = 400_000_000
"""Upper bound of the resident memory of a loader's process, everything included, for any size of source."""


def _comma_list(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _redis_url(value: SecretStr) -> SecretStr:
    if url := value.get_secret_value():
        check_redis_url(url)
    return value


def _connection_texts(values: Any) -> Any:
    # A variable with JSON in it arrives parsed.
    if not isinstance(values, dict):
        return values
    return {name: json.dumps(value) if isinstance(value, dict) else value for name, value in values.items()}


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)]


class Section(BaseModel):
    """A section of the settings: unknown names are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CassandraSettings(Section):
    """The address of Cassandra and its timeouts."""

    contact_points: CommaList = ("127.0.0.1", "127.0.0.2")
    """Hosts of nodes that are contacted first; the driver discovers the others."""
    port: int = Field(default=9042, ge=1, le=65535)
    """The CQL port of every node."""
    local_dc: str = "dc1"
    """The data centre whose nodes are used."""
    keyspace: str = Field(default="millrace", pattern=r"^[a-z][a-z0-9_]{0,47}$")
    """The keyspace of all tables."""
    replication_factor: int = Field(default=2, ge=2, le=2)
    """The number of nodes on which each row is stored."""
    username: str | None = None
    """The user for the password authenticator."""
    password: SecretStr | None = None
    """The password of that user."""
    connect_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Timeout of the first connection."""
    request_timeout_s: float = Field(default=30.0, gt=0, le=600)
    """Timeout of a request, including its retries."""
    unresponsive_after_s: float = Field(default=2.0, ge=0.1, le=60)
    """A request without a response for this long is sent to the other replica, unless the node answers a probe."""
    commitlog_sync_window_s: float = Field(default=5.0, ge=0, le=60)
    """Writes that a node acknowledged within this time before it was lost are recorded as under-replicated.

    If the commit log is synced periodically, a killed node loses its last writes. With a memory-mapped commit log these
    are the writes of the last 0.1 s. The loss of a node may be detected later, by the next write or heartbeat. If the
    value is too large, ``repair`` reads more data than necessary. If it is too small, a replica may be missing without
    a record.
    """


class RedisSettings(Section):
    """The address of the cache; an empty ``url`` switches it off."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Annotated[SecretStr, AfterValidator(_redis_url)] = SecretStr("redis://127.0.0.1:6379/0")
    """redis://host:port/db, rediss://... or unix:///path; an empty URL switches the cache off.

    Its query may hold db, username, password, client_name, health_check_interval, socket_keepalive, and ssl_* for
    rediss. All other options are refused, because the cache chooses them: protocol, max_connections, encoding, retries,
    timeouts and others.
    """
    timeout_s: float = Field(default=2.0, gt=0, le=60)
    """Timeout of a connection or a response."""
    retry_after_s: float = Field(default=30.0, gt=0, le=3600)
    """After a failure the cache is not used for this long, so that a Redis that is down does not delay each read."""
    warm_budget_bytes: int = Field(default=2_000_000_000, ge=0)
    """Bytes of the versions that the DAG ``warm_cache`` keeps in Redis, at most."""

    @property
    def switched_off(self) -> str:
        """The reason why there is no cache; empty if it is used."""
        return missing_extra("redis") if self.url.get_secret_value() else "MILLRACE_REDIS__URL is empty"


class KafkaSettings(Section):
    """The destination of progress events; an empty ``bootstrap_servers`` switches progress off."""

    bootstrap_servers: str = "127.0.0.1:9092"
    """host:port of each broker, separated by commas; an empty list switches progress off."""
    topic: str = Field(default="millrace.progress.v1", pattern=r"^[a-zA-Z0-9._-]{1,200}$")
    """The topic of progress events."""
    partitions: int = Field(default=3, ge=1, le=1000)
    """The number of partitions with which ``init`` creates the topic."""
    config: dict[str, str] = Field(default_factory=dict, repr=False)
    """Further librdkafka properties (security), never printed."""

    @property
    def switched_off(self) -> str:
        """The reason why no progress is sent; empty if it is sent."""
        return missing_extra("kafka") if self.bootstrap_servers else "MILLRACE_KAFKA__BOOTSTRAP_SERVERS is empty"


class BridgeSettings(Section):
    """The Server-Sent Events bridge: the address on which it listens, its public address and its limits."""

    host: str = "127.0.0.1"
    """The address on which the bridge listens."""
    port: int = Field(default=8085, ge=1, le=65535)
    """The port on which the bridge listens."""
    url: str = "http://127.0.0.1:8085"
    """The URL under which browsers and commands reach the bridge."""
    token: SecretStr | None = None
    """The token that clients must send, of at least 16 characters."""
    user_header: str | None = None
    """Name of the header in which a reverse proxy passes the name of the user."""
    cors_origin: str | None = None
    """The one other origin whose pages may read the bridge's streams."""
    airflow_origins: CommaList = ("http://127.0.0.1:8080", "http://localhost:8080")
    """Origins that may show the page in a frame."""
    max_streams: int = Field(default=6000, ge=1, le=100_000)
    """The number of streams that may be open at once."""
    max_streams_per_address: int = Field(default=6000, ge=1, le=100_000)
    """The number of streams that one client address may have open."""
    max_streams_per_run: int = Field(default=6000, ge=1, le=100_000)
    """The number of open streams that may follow one run."""
    stalled_after_s: float = Field(default=25.0, gt=0, le=3600)
    """A task that sends no event for this long is shown as stalled."""
    lost_after_s: float = Field(default=60.0, gt=0, le=86_400)
    """A task that sends no event for this long is shown as lost."""
    max_age_s: float = Field(default=600.0, gt=1, le=86_400)
    """A stream ends after about this long, and its client connects again."""
    max_sources: int = Field(default=10_000, ge=10, le=1_000_000)
    """Task attempts (and their curves) that the bridge remembers; finished runs are forgotten first."""


class AirflowSettings(Section):
    """The web address of Airflow (for links) and the demo's sign-in."""

    url: str = "http://127.0.0.1:8080"
    """The web address of Airflow, for links."""
    username: str = "admin"
    """The user with whom the demo signs in."""
    password: SecretStr | None = None
    """The password of that user."""


class SourcesSettings(Section):
    """The file of declared sources, and the folders, hosts and buckets from which data may be loaded."""

    model_config = ConfigDict(hide_input_in_errors=True)

    file: str | None = None
    """The file of declared sources.

    By default it is ``conf/sources.yaml`` in a checkout, and ``sources.yaml`` in the user's configuration folder for an
    installed package.
    """
    roots: CommaList = ()
    """Folders from which the form and declared sources may load local files.

    By default they are ``inbox`` and ``demo`` below ``MILLRACE_HOME``.
    """
    hosts: Annotated[CommaList, AfterValidator(check_hosts)] = ()
    """Hosts from which ``https://`` sources and endpoints of object stores may be loaded; by default none.

    An entry is ``HOST`` or ``HOST:PORT``. All addresses of the host must be public. ``HOST=NETWORK``, such as
    ``intranet.example=10.0.0.0/8``, also allows the private addresses of this network. A host may have several entries.
    """
    buckets: Annotated[CommaList, AfterValidator(check_buckets)] = ()
    """Buckets from which data may be loaded, such as ``s3://flights``; by default any."""
    connections: Annotated[dict[str, SecretStr], BeforeValidator(_connection_texts)] = Field(
        default_factory=dict, repr=False
    )
    """Credentials and endpoints of remote sources by name, each as an Airflow connection: a URI or JSON. Never printed.

    Inside Airflow a connection of that name defined in Airflow takes precedence.
    """

    def entries_of(self, host: str, port: int) -> list[AllowedHost]:
        """Return the entries of ``hosts`` for a host and port."""
        entries = map(allowed_host, self.hosts)
        return [entry for entry in entries if (entry.host, entry.port) == (host, port)]


class LoadSettings(Section):
    """Memory, threads and write rate of a load; sizes in bytes."""

    chunk_bytes: int = Field(default=CHUNK_BYTES_MAX, ge=CHUNK_BYTES_MIN, le=CHUNK_BYTES_MAX)
    """Stored bytes of a chunk, at most."""
    codec: Literal["gzip", "zstd", "none"] = "gzip"
    """The codec of chunks."""
    codec_level: int = Field(default=1, ge=0, le=22)
    """Effort of the codec: 0 to 3 for gzip, 1 to 22 for zstd."""
    bucket_bytes: int = Field(default=64_000_000, ge=CHUNK_BYTES_MAX, le=128_000_000)
    """Stored bytes of a Cassandra partition, at most."""
    window_bytes: int = Field(default=20_000_000, ge=CHUNK_BYTES_MAX, le=256_000_000)
    """Stored bytes in flight to Cassandra at any time; fewer under backpressure.

    Like the next two settings, it applies to one loader. Each task of a load in Airflow is a loader, so divide the
    capacity of the cluster by the number of tasks that run at once.
    """
    chunks_in_flight: int = Field(default=0, ge=0, le=10_000)
    """Writes in flight to Cassandra at any time; 0 is as many as ``window_bytes`` holds."""
    bytes_per_s: int = Field(default=0, ge=0)
    """Stored bytes sent per second, at most; 0 is no limit."""
    encode_threads: int = Field(default=0, ge=0, le=256)
    """Threads that encode; 0 means one per core that the process may use, at most 8."""
    split_bytes: int = Field(default=16_000_000, ge=1_000_000)
    """A plain CSV or JSON lines file is cut into splits of about this size, at most ``max_splits`` of them."""
    max_splits: int = Field(default=64, ge=1, le=1000)
    """The number of splits of a source, at most."""
    infer_bytes: int = Field(default=64_000_000, ge=1)
    """Bytes of a CSV or JSON lines source that are read to infer its types."""
    max_unit_bytes: int = Field(default=64_000_000, ge=1)
    """The largest record, line, row group or record batch that is read at once."""


class ReadSettings(Section):
    """Memory and threads of a read; sizes in bytes."""

    window_bytes: int = Field(default=40_000_000, ge=CHUNK_BYTES_MAX, le=1_000_000_000)
    """Stored bytes that are requested and not yet decoded, at most."""
    decode_threads: int = Field(default=0, ge=0, le=256)
    """Threads that decode; 0 means two more than the machine has cores."""
    use_cache: bool = True
    """Whether a read tries Redis before Cassandra."""


class TrainingSettings(Section):
    """The file of declared training data, and the memory, threads and disk of preparations; sizes in bytes."""

    file: str | None = None
    """The file of declared training data.

    By default it is ``conf/training.yaml`` in a checkout, and ``training.yaml`` in the user's configuration folder for
    an installed package.
    """
    memory_bytes: int = Field(default=260_000_000, ge=150_000_000)
    """Memory of DuckDB in a preparation. The process takes up to 440 MB besides; more data is written to the disk."""
    threads: int = Field(default=0, ge=0, le=256)
    """Threads of DuckDB; 0 means one per core that the process may use."""
    scratch: str | None = None
    """The folder of temporary files of preparations; by default ``scratch`` below ``MILLRACE_HOME``."""
