"""Cassandra: node n of the cluster listens on 127.0.0.n."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from local_stack.nodetool import nodetool
from local_stack.ports import Port
from local_stack.services.base import Service, StackLayout
from local_stack.services.java import JDK_FLAGS, java_command
from local_stack.settings import ENV_PREFIX, MAX_NODES
from local_stack.templating import render
from millrace.errors import StackError

CLUSTER_NODES = 2
DATACENTER = "dc1"
PROBED_KEYS = 32
"""Enough keys that, with 16 ranges per node, each pair of neighbours in the ring owns some of them."""

SERVER_FLAGS = [
    # In regions of 16 MiB a chunk of 5 MB is not a humongous object, for any heap size.
    "-XX:G1HeapRegionSize=16m",
    # NODE_LOCAL reads query exactly one replica. `verify --each-replica` and `repair` depend on them.
    "-Dcassandra.enable_nodelocal_queries=true",
    # Waiting for gossip to settle is for rings of hundreds of nodes. Here it would double every start.
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=1000",
    # The default is twice the ring delay. After half of it without a message from a starting node, even a seed, the
    # others remove it from gossip. On a busy machine two nodes removed each other permanently.
    "-Dcassandra.gossip_quarantine_delay_ms=60000",
    "-Dcassandra.superuser_setup_delay_ms=0",
]

JOIN_FLAG = "-Dcassandra.ring_delay_ms=15000"
"""The wait of a joining node between announcing its ranges and streaming them. A coordinator that has not learned of
the node by then sends it no writes, and no stream contains those writes either. With one second, 10 of 16 chunks
written meanwhile missed a replica on a busy machine."""


class CassandraNode(Service):
    """One node. It is ready when it serves CQL and, with every node of the stack up, all see each other up."""

    jars = "cassandra"
    grace_s = 30.0

    def __init__(self, place: StackLayout, number: int) -> None:
        if not 1 <= number <= MAX_NODES:
            raise StackError(f"cassandra-{number}: nodes are numbered 1 to {MAX_NODES}")
        super().__init__(place)
        self.number = number
        self.name = f"cassandra-{number}"
        self.host = f"127.0.0.{number}"

    @property
    def address(self) -> str:
        """Return host and CQL port."""
        return f"{self.host}:{self.place.settings.port('cassandra')}"

    @property
    def memory_mb(self) -> int:
        """Return the memory of the whole process in MiB, not of the heap alone."""
        return self.place.sizes.cassandra_process_mb

    @property
    def jmx_port(self) -> int:
        """Return the port of Java Management, on 127.0.0.1."""
        return self.place.settings.port("cassandra_jmx") + self.number

    def ports(self) -> list[Port]:
        """Return the ports of CQL, of the protocol between nodes, and of Java Management."""
        settings = self.place.settings
        return [
            Port(self.host, settings.port("cassandra"), f"{ENV_PREFIX}CASSANDRA_PORT"),
            Port(self.host, settings.port("cassandra_storage"), f"{ENV_PREFIX}CASSANDRA_STORAGE_PORT"),
            Port("127.0.0.1", self.jmx_port, f"{ENV_PREFIX}CASSANDRA_JMX_PORT"),
        ]

    @property
    def is_member(self) -> bool:
        """Return whether the node belongs to the cluster: one of the first two, or a later one with a data folder."""
        return self.number <= CLUSTER_NODES or (self.place.home / "data" / self.name).exists()

    @property
    def joins(self) -> tuple[str, ...]:
        """Return the nodes that must be ready before this one starts.

        The second node waits for the first while it has no data. A later node waits for all nodes before it until it
        has joined. Two nodes that start at the same moment may never find each other, or each take the other's token
        ranges.
        """
        if self.number > CLUSTER_NODES:
            return tuple(node.name for node in self._earlier()) if self._is_joining else ()
        is_new = not (self.place.home / "data" / self.name / "data" / "system").exists()
        return ("cassandra-1",) if is_new and self.number > 1 else ()

    @property
    def _joined(self) -> Path:
        """Return the file that marks a complete join.

        It is created when the node has its data and the other nodes have cleaned up. An interrupted join starts again.
        """
        return self.place.home / "data" / self.name / "joined"

    @property
    def _is_joining(self) -> bool:
        return self.number > CLUSTER_NODES and not self._joined.exists()

    def _earlier(self) -> list[CassandraNode]:
        return [CassandraNode(self.place, n) for n in range(1, self.number)]

    def settle(self) -> None:
        """Run cleanup on the earlier nodes, one after another, to drop ranges that this node took when it joined."""
        if not self._is_joining:
            return
        for node in self._earlier():
            done = nodetool(node, ["cleanup", "--jobs", "1"], capture=True)
            if done.returncode:
                output = (done.stderr or done.stdout).strip()
                raise StackError(f"{node.name} could not clean up after {self.name} joined: {output[-500:]}")
        self._joined.touch()

    def prepare(self) -> None:
        """Render ``cassandra.yaml`` and the other configuration files of the node.

        Raises ``StackError`` if the node has to join while a node before it does not run.
        """
        place, settings = self.place, self.place.settings
        if self._is_joining:
            missing = [node.name for node in self._earlier() if not node.running]
            if missing:
                raise StackError(
                    f"{self.name} joins only while every node before it runs; down: {', '.join(missing)}",
                    hint=f"./run up {' '.join(missing)}",
                )
        data = place.folder("data", self.name)
        conf = place.folder("conf", self.name)
        storage_port = settings.port("cassandra_storage")
        (conf / "cassandra.yaml").write_text(
            render(
                "cassandra.yaml",
                listen_address=self.host,
                rpc_address=self.host,
                broadcast_rpc_address=None,
                native_port=settings.port("cassandra"),
                storage_port=storage_port,
                # Both of the first two nodes are seeds, so that either can start while the other is down.
                seeds=[f"127.0.0.{n}:{storage_port}" for n in range(1, CLUSTER_NODES + 1)],
                auto_bootstrap=self.number > CLUSTER_NODES,
                folder=data,
                commitlog_disk_access_mode="legacy",
                heap_mb=place.sizes.cassandra_heap_mb,
            )
        )
        (conf / "cassandra-rackdc.properties").write_text(render("cassandra-rackdc.properties", datacenter=DATACENTER))
        (conf / "logback.xml").write_text(render("logback.xml", level="INFO", target="System.out"))

    def command(self) -> list[str]:
        """Return the command of the daemon, which runs in the foreground of its own session."""
        heap_mb = self.place.sizes.cassandra_heap_mb
        conf = self.place.folder("conf", self.name)
        flags = [
            *JDK_FLAGS,
            f"-Xms{heap_mb}m",
            "-Xss512k",
            "-Dio.netty.tryReflectionSetAccessible=true",
            "-Dlog4j2.disableJmx=true",
            *SERVER_FLAGS,
            *([JOIN_FLAG] if self._is_joining else []),  # the last of two values is used
            f"-Dcassandra.config=file://{conf}/cassandra.yaml",
            f"-Dlogback.configurationFile=file://{conf}/logback.xml",
            f"-Dcassandra.storagedir={self.place.folder('data', self.name)}",
            f"-Dcassandra.jmx.local.port={self.jmx_port}",
            f"-Dcom.sun.management.jmxremote.rmi.port={self.jmx_port}",
            "-Dcassandra-foreground=yes",
        ]
        return java_command(
            self.place,
            "cassandra",
            "org.apache.cassandra.service.CassandraDaemon",
            heap_mb=heap_mb,
            flags=flags,
            conf=self.name,
            agent="jamm",
        )

    def not_ready(self) -> str | None:
        """Check that this node and every one before it coordinate reads that need every replica of every range.

        So when the last node is ready, each node sees all others up. While a node of the cluster is down or frozen,
        only a read that this node serves by itself is checked.
        """
        cql = self.ports()[0]
        if not cql.is_open():
            return f"no CQL on {cql}"
        nodes = [CassandraNode(self.place, n) for n in range(1, MAX_NODES + 1)]
        members = [node for node in nodes if node.is_member]
        if not all(node.running and not (node.started and node.started.frozen) for node in members):
            return _probe(self.host, cql.number, every_replica=False)
        probes = (_probe(node.host, cql.number, every_replica=True) for node in nodes[: self.number])
        return next((why for why in probes if why), None)


def _probe(host: str, port: int, *, every_replica: bool) -> str | None:
    from cassandra import ConsistencyLevel, DriverException
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
    from cassandra.policies import WhiteListRoundRobinPolicy

    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([host]),
        consistency_level=ConsistencyLevel.ALL if every_replica else ConsistencyLevel.ONE,
        request_timeout=5,
    )
    cluster = Cluster(
        [host],
        port=port,
        protocol_version=4,
        connect_timeout=5,
        control_connection_timeout=5,
        idle_heartbeat_interval=0,
        monitor_reporting_enabled=False,
        schema_metadata_enabled=False,  # probed every half second while services use the cores to start
        token_metadata_enabled=False,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    try:
        session = cluster.connect()
        if not every_replica:
            session.execute("SELECT key FROM system.local")
            return None
        # Every cluster has this keyspace with two replicas. A coordinator that considers one of them down refuses at
        # once. An open connection alone would be no evidence about the other node.
        for number in range(PROBED_KEYS):
            session.execute("SELECT session_id FROM system_traces.sessions WHERE session_id = %s", [UUID(int=number)])
    except (NoHostAvailable, DriverException) as error:
        causes = getattr(error, "errors", None) or {}
        return f"{host} does not serve yet: {next(iter(causes.values()), error)}"
    finally:
        cluster.shutdown()
    return None
