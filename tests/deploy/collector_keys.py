"""Settings that the components of the OpenTelemetry Collector document, as far as our configurations might use them.

A table per component: a key with `None` is a value, with a table a section, with `LIST` a list of such sections, with `ANY` a map
of the user's own keys. Source: the README of each component in the repositories opentelemetry-collector (core) and
opentelemetry-collector-contrib, at v0.144 to v0.162, and the READMEs of config/configgrpc, config/confighttp, config/configtls,
config/configretry and exporter/exporterhelper that they refer to.
"""

ANY = object()


class ListOf:
    """A list of sections."""

    def __init__(self, keys: dict):
        self.keys = keys


# config/configtls
TLS = dict.fromkeys(["insecure", "insecure_skip_verify", "ca_file", "cert_file", "key_file", "server_name_override", "min_version"])
AUTH = {"authenticator": None}
# config/configretry
RETRY = dict.fromkeys(
    ["enabled", "initial_interval", "max_interval", "max_elapsed_time", "multiplier", "randomization_factor"]
)
# exporter/exporterhelper
QUEUE = dict.fromkeys(
    ["enabled", "num_consumers", "queue_size", "storage", "sizer", "block_on_overflow", "wait_for_result"]
) | {"batch": dict.fromkeys(["flush_timeout", "min_size", "max_size", "sizer"])}
# config/configgrpc
KEEPALIVE = dict.fromkeys(["time", "timeout", "permit_without_stream"])
GRPC_CLIENT = dict.fromkeys(
    ["endpoint", "compression", "balancer_name", "read_buffer_size", "write_buffer_size", "wait_for_ready", "authority"]
) | {"tls": TLS, "auth": AUTH, "headers": ANY, "keepalive": KEEPALIVE}
GRPC_SERVER = dict.fromkeys(
    ["endpoint", "transport", "include_metadata", "max_recv_msg_size_mib", "max_concurrent_streams", "read_buffer_size"]
) | {"tls": TLS, "auth": AUTH, "keepalive": ANY}
# config/confighttp
HTTP_CLIENT = dict.fromkeys(["endpoint", "timeout", "compression", "read_buffer_size", "write_buffer_size"]) | {
    "tls": TLS, "auth": AUTH, "headers": ANY,
}
HTTP_SERVER = dict.fromkeys(
    ["endpoint", "include_metadata", "max_request_body_size", "compression_algorithms", "traces_url_path", "metrics_url_path",
     "logs_url_path"]
) | {"tls": TLS, "auth": AUTH, "cors": dict.fromkeys(["allowed_origins", "allowed_headers", "max_age"])}

COMPONENTS = {
    "extensions": {
        # contrib: extension/healthcheckextension
        "health_check": HTTP_SERVER | {"path": None, "response_body": dict.fromkeys(["healthy", "unhealthy"])},
        # contrib: extension/storage/filestorage
        "file_storage": dict.fromkeys(["directory", "create_directory", "directory_permissions", "timeout", "fsync", "recreate"]) | {
            "compaction": dict.fromkeys(
                ["on_start", "on_rebound", "directory", "max_transaction_size", "cleanup_on_start", "check_interval",
                 "rebound_needed_threshold_mib", "rebound_trigger_threshold_mib"]
            )
        },
        # contrib: extension/headerssetterextension
        "headers_setter": {
            "headers": ListOf(dict.fromkeys(["key", "action", "value", "from_context", "from_attribute", "default_value"]))
        },
    },
    "receivers": {
        # core: receiver/otlpreceiver
        "otlp": {"protocols": {"grpc": GRPC_SERVER, "http": HTTP_SERVER}},
        # contrib: receiver/prometheusreceiver; `config` is Prometheus' own, documented there
        "prometheus": {
            "config": {
                "scrape_configs": ListOf(
                    dict.fromkeys(["job_name", "scrape_interval", "scrape_timeout", "metrics_path", "scheme", "honor_labels"])
                    | {"static_configs": ListOf({"targets": None, "labels": ANY})}
                )
            }
        },
        # contrib: receiver/filelogreceiver
        "filelog": dict.fromkeys(
            ["include", "exclude", "start_at", "poll_interval", "max_log_size", "max_concurrent_files", "fingerprint_size",
             "include_file_name", "include_file_path", "storage", "encoding", "force_flush_period"]
        ) | {"resource": ANY, "attributes": ANY,
             "retry_on_failure": dict.fromkeys(["enabled", "initial_interval", "max_interval", "max_elapsed_time"])},
    },
    "processors": {
        # core: processor/memorylimiterprocessor
        "memory_limiter": dict.fromkeys(
            ["check_interval", "limit_mib", "spike_limit_mib", "limit_percentage", "spike_limit_percentage"]
        ),
        # core: processor/batchprocessor
        "batch": dict.fromkeys(
            ["timeout", "send_batch_size", "send_batch_max_size", "metadata_keys", "metadata_cardinality_limit"]
        ),
    },
    "exporters": {
        # core: exporter/otlpexporter
        "otlp": GRPC_CLIENT | {"timeout": None, "retry_on_failure": RETRY, "sending_queue": QUEUE},
        # contrib: exporter/prometheusremotewriteexporter
        "prometheusremotewrite": HTTP_CLIENT | {
            "retry_on_failure": RETRY, "external_labels": ANY, "namespace": None, "add_metric_suffixes": None,
            "send_metadata": None, "max_batch_size_bytes": None, "protobuf_message": None,
            "remote_write_queue": dict.fromkeys(["enabled", "queue_size"]),
            "target_info": {"enabled": None}, "resource_to_telemetry_conversion": {"enabled": None},
        },
        # core: exporter/debugexporter
        "debug": dict.fromkeys(["verbosity", "sampling_initial", "sampling_thereafter", "use_internal_logger"]),
    },
}
SERVICE = {
    "extensions": None,
    "pipelines": ANY,
    "telemetry": {
        "logs": dict.fromkeys(["level", "encoding", "development"]),
        "metrics": {"level": None, "readers": ListOf({"pull": {"exporter": {"prometheus": dict.fromkeys(["host", "port"])}}})},
    },
}
# What a component takes part in.
SIGNALS = {
    "otlp": {"metrics", "traces", "logs"}, "prometheus": {"metrics"}, "filelog": {"logs"}, "debug": {"metrics", "traces", "logs"},
    "prometheusremotewrite": {"metrics"}, "memory_limiter": {"metrics", "traces", "logs"}, "batch": {"metrics", "traces", "logs"},
}


def kind_of(name: str) -> str:
    """`prometheus/self` is a prometheus."""
    return name.partition("/")[0]


def unknown(value: object, keys: object, path: str) -> list[str]:
    """Paths of settings that no README names."""
    if keys is None or keys is ANY or value is None:
        return []
    if isinstance(keys, ListOf):
        return [found for index, item in enumerate(value) for found in unknown(item, keys.keys, f"{path}[{index}]")]
    if not isinstance(value, dict):
        return [f"{path} is no section"]
    return [found for key, item in value.items()
            for found in (unknown(item, keys[key], f"{path}.{key}") if key in keys else [f"{path}.{key}"])]


def problems(config: dict) -> list[str]:
    """What is wrong with a configuration: settings nobody documents, parts that are not there or not used, a bad order."""
    found = [f"section {section}" for section in config.keys() - COMPONENTS.keys() - {"service"}]
    found += unknown(config["service"], SERVICE, "service")
    for section, known in COMPONENTS.items():
        for name, settings in config.get(section, {}).items():
            kind = kind_of(name)
            if kind not in known:
                found.append(f"{section}.{name} is not known")
            else:
                found += unknown(settings, known[kind], f"{section}.{name}")
    used = {section: set() for section in COMPONENTS}
    used["extensions"] = set(config["service"].get("extensions", []))
    for pipeline, parts in config["service"]["pipelines"].items():
        for section in ("receivers", "processors", "exporters"):
            used[section] |= set(parts[section])
            for name in parts[section]:
                if kind_of(pipeline) not in SIGNALS.get(kind_of(name), ()):
                    found.append(f"pipeline {pipeline}: {name} does not take {kind_of(pipeline)}")
        if [kind_of(name) for name in parts["processors"]] != ["memory_limiter", "batch"]:
            found.append(f"pipeline {pipeline}: processors are {parts['processors']}, not memory_limiter, then batch")
    for section, names in used.items():
        for name in names ^ set(config.get(section, {})):
            found.append(f"{section}.{name} is used or defined, not both")
    return found + references(config)


def references(config: dict) -> list[str]:
    """Extensions that other parts name, and metadata on its way from the receiver to the header."""
    found = []
    extensions = config.get("extensions", {})
    for section in ("receivers", "exporters"):
        for name, settings in config[section].items():
            for key, extension in [("storage", settings.get("storage")),
                                   ("storage", settings.get("sending_queue", {}).get("storage")),
                                   ("authenticator", settings.get("auth", {}).get("authenticator"))]:
                if extension is not None and extension not in extensions:
                    found.append(f"{section}.{name}: {key} {extension} is no extension")
    for header in extensions.get("headers_setter", {}).get("headers", []):
        source = header.get("from_context")
        batches = [settings for name, settings in config["processors"].items() if kind_of(name) == "batch"]
        if source and not all(source in settings.get("metadata_keys", []) for settings in batches):
            found.append(f"headers_setter: {source} is no metadata key of every batch processor")
        protocols = config["receivers"].get("otlp", {}).get("protocols", {})
        if source and not all(isinstance(settings, dict) and settings.get("include_metadata") for settings in protocols.values()):
            found.append(f"headers_setter: {source} is not kept by every protocol of the receiver otlp")
    return found
