"""Settings: one tree, read once from the environment, ``millrace.toml`` or the local stack of a checkout.

Wrong values and unknown settings are refused by name.
"""

from millrace.settings.extras import missing_extra
from millrace.settings.fields import unknown_variables, variable_name
from millrace.settings.hosts import HTTPS_PORT, IPAddress, host_and_port
from millrace.settings.locations import checkout, default_sources_file, default_training_file, millrace_home, run_hint
from millrace.settings.redis_url import check_redis_url
from millrace.settings.sections import (
    CHUNK_BYTES_MAX,
    CHUNK_BYTES_MIN,
    LOADER_BYTES_MAX,
    BridgeSettings,
    CassandraSettings,
    KafkaSettings,
    LoadSettings,
    ReadSettings,
    RedisSettings,
    SourcesSettings,
    TrainingSettings,
)
from millrace.settings.tree import Settings, load_settings
from millrace.settings.values import default_value, example_toml, field_docstrings, setting_values

__all__ = [
    "BridgeSettings",
    "CHUNK_BYTES_MAX",
    "CHUNK_BYTES_MIN",
    "CassandraSettings",
    "HTTPS_PORT",
    "IPAddress",
    "KafkaSettings",
    "LOADER_BYTES_MAX",
    "LoadSettings",
    "ReadSettings",
    "RedisSettings",
    "Settings",
    "SourcesSettings",
    "TrainingSettings",
    "check_redis_url",
    "checkout",
    "default_sources_file",
    "default_training_file",
    "default_value",
    "example_toml",
    "field_docstrings",
    "host_and_port",
    "load_settings",
    "millrace_home",
    "missing_extra",
    "run_hint",
    "setting_values",
    "unknown_variables",
    "variable_name",
]
