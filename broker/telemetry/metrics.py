"""Every metric of the broker, in one registry. Names follow Prometheus' rules; server metrics those of go-grpc-middleware.

Labels are bounded: providers, interfaces and levels of the catalogue, reasons of `errors.py`, methods of the contract. A
consumer is not a label here, a subject never. What must not go in here: when something is counted.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

registry = CollectorRegistry(auto_describe=True)

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_METHOD = ("grpc_type", "grpc_service", "grpc_method")

grpc_started = Counter("grpc_server_started", "RPCs started on the server.", _METHOD, registry=registry)
grpc_handled = Counter(
    "grpc_server_handled", "RPCs completed on the server, whatever the outcome.", (*_METHOD, "grpc_code"), registry=registry
)
grpc_received = Counter("grpc_server_msg_received", "Messages received of unary requests.", _METHOD, registry=registry)
grpc_sent = Counter("grpc_server_msg_sent", "Messages sent.", _METHOD, registry=registry)
grpc_seconds = Histogram(
    "grpc_server_handling_seconds", "Time the server took for an RPC.", _METHOD, registry=registry, buckets=LATENCY_BUCKETS_S
)

calls = Counter(
    "broker_calls",
    "Calls of interfaces by level, interface, outcome (FOUND, NOT_FOUND or the reason of the error) and source.",
    ("level", "interface", "outcome", "source"),
    registry=registry,
)
upstream_seconds = Histogram(
    "broker_upstream_seconds",
    "Time a provider took for one question.",
    ("provider", "outcome"),
    registry=registry,
    buckets=LATENCY_BUCKETS_S,
)
_PROVIDER = ("provider",)
upstream_breaker = Gauge(
    "broker_upstream_breaker_state",
    "A provider's circuit breaker: 0 closed, 1 half-open, 2 open; as of the last question.",
    _PROVIDER,
    registry=registry,
)
upstream_limit = Gauge(
    "broker_upstream_concurrency_limit",
    "Questions that may be on their way to one provider.",
    _PROVIDER,
    registry=registry,
)
upstream_refused = Counter(
    "broker_upstream_refused", "Questions that a provider was not asked.", ("provider", "reason"), registry=registry
)
upstream_retries = Counter(
    "broker_upstream_retries",
    "Questions that never reached a provider and were sent again (ANSWERED, FAILED), or not, for there were too many (DENIED).",
    ("provider", "outcome"),
    registry=registry,
)
flight_followers = Counter(
    "broker_single_flight_followers", "Calls that shared a question already on its way to the provider.", registry=registry
)
refreshes = Counter("broker_cache_refreshes", "Background refreshes of stale answers.", ("outcome",), registry=registry)

worker_restarts = Gauge(
    "broker_worker_restarts", "Times the supervisor has restarted a worker since it started.", ("worker",), registry=registry
)
snapshot_version = Gauge("broker_policy_snapshot_version", "Version of the policy snapshot in force.", registry=registry)
snapshot_failures = Counter("broker_policy_snapshot_failures", "Failed attempts to read the control plane.", registry=registry)
tls_reload_failures = Counter(
    "broker_tls_reload_failures",
    "Times that changed certificates, or revocation lists, were not good.",
    ("what",),
    registry=registry,
)
tls_ends = Gauge(
    "broker_tls_ends_timestamp_seconds",
    "When the broker's certificate, or a revocation list, ends.",
    ("what",),
    registry=registry,
)
_STREAM = ("stream",)
audit_records = Counter("broker_audit_records", "Durable audit records.", _STREAM, registry=registry)
audit_batches = Counter("broker_audit_batches", "Batches of audit records, each one fdatasync.", _STREAM, registry=registry)
audit_bytes = Counter("broker_audit_bytes", "Bytes of durable audit records and their batches.", _STREAM, registry=registry)
audit_sync_seconds = Counter(
    "broker_audit_sync_seconds", "Time taken by fdatasync of audit segments.", _STREAM, registry=registry
)
audit_failures = Counter("broker_audit_failures", "Times that the audit log could not be written.", _STREAM, registry=registry)
audit_waiting = Gauge("broker_audit_waiting_records", "Audit records not yet durable.", _STREAM, registry=registry)
audit_open = Gauge("broker_audit_open", "1 while the audit log can be written, else 0.", _STREAM, registry=registry)
audit_disk_used = Gauge(
    "broker_audit_disk_used_ratio", "Share of the disk of the audit log that is used; 0 to 1.", registry=registry
)
audit_disk_free = Gauge("broker_audit_disk_free_bytes", "Bytes left on the disk of the audit log.", registry=registry)
audit_checkpoint = Gauge("broker_audit_checkpoint_serial", "Number of the newest signed checkpoint.", registry=registry)
audit_keep_failures = Counter(
    "broker_audit_keep_failures", "Times that streams could not be signed for, or indexed.", registry=registry
)
audit_witness_behind = Gauge(
    "broker_audit_witness_behind_seconds",
    "How long a witness has taken no checkpoint although there was one; 0: it has all.",
    ("witness",),
    registry=registry,
)
build = Info("broker_build", "Version of the software.", registry=registry)

# Resources that should have an interface, that have one, and whose interface could be reached when it was last probed.
mount_resources = Gauge("broker_mount_resources", "Resources that should have an interface.", registry=registry)
mount_mounted = Gauge("broker_mount_mounted", "Resources that have an interface.", registry=registry)
mount_reachable = Gauge("broker_mount_reachable", "Resources whose interface could be reached.", registry=registry)
mount_rate = Gauge("broker_mount_rate", "Resources that have an interface, of those that should; 0 to 1.", registry=registry)
mount_provider = Gauge(
    "broker_mount_provider_resources",
    "Resources of a provider that should have an interface (RESOURCES), have one (MOUNTED), and could be reached (REACHABLE).",
    ("provider", "state"),
    registry=registry,
)
mount_probes = Counter("broker_mount_probes", "Probes of mounted interfaces.", ("outcome",), registry=registry)
