"""Cassandra: schema, session, writer, reader and catalogue. Nothing here depends on sources, caches or commands."""

from millrace.compat.cassandra import NODE_LOCAL
from millrace.store.catalogue.attempt import AttemptRole, LoadAttempt, MetadataBucket, UnderReplicated
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.file_list import LIST_FILES, LoadedFile, encode_files, files_in_pages
from millrace.store.catalogue.lease import Lease
from millrace.store.catalogue.manifest import ChunkRef, PageRef, TileRef, journal_number
from millrace.store.catalogue.not_found import not_found
from millrace.store.catalogue.page import Page
from millrace.store.catalogue.page_list import INLINE_PAGES, ListRef, encode_list, encode_pages_blob, list_pages_max
from millrace.store.catalogue.recoverable import recoverable_versions, unrecoverable_reason
from millrace.store.catalogue.run_reports import REPORT_BYTES_MAX, DatasetRun, RunReports
from millrace.store.catalogue.tags import remove_tag, set_tag
from millrace.store.catalogue.version import DELETED, RESTORED, WITHDRAWN, Version, bounded_facts, layout_setting
from millrace.store.catalogue.version_graph import Base, VersionGraph
from millrace.store.chunks.chunk_reader import ChunkReader
from millrace.store.chunks.chunk_writer import ChunkWriter
from millrace.store.cluster.driver import TWO
from millrace.store.cluster.driver_errors import translate_driver_errors
from millrace.store.cluster.flights import Write
from millrace.store.cluster.schema import TABLES
from millrace.store.cluster.schema import check as check_schema
from millrace.store.cluster.schema import create as create_schema
from millrace.store.cluster.schema import statements as schema_statements
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.writer import ReplicatedWriter
from millrace.store.deletion.sweep import GRACE, SweepReport
from millrace.store.deletion.undelete import UndeleteReport
from millrace.store.deletion.version_deletion import VersionDeletion
from millrace.store.lineage.lineage import Lineage
from millrace.store.lineage.lineage_graph import LineageGraph, lineage_graph
from millrace.store.repair.repair import ALIVE, RepairReport, ReplicaRepair
from millrace.store.repair.replica_check import MissingReplica, ReplicaCheck, repairable

__all__ = [
    "ALIVE",
    "AttemptRole",
    "Base",
    "CassandraSession",
    "Catalogue",
    "CatalogueWriter",
    "ChunkReader",
    "ChunkRef",
    "ChunkWriter",
    "DELETED",
    "RESTORED",
    "DatasetRun",
    "GRACE",
    "INLINE_PAGES",
    "LIST_FILES",
    "Lease",
    "Lineage",
    "LineageGraph",
    "ListRef",
    "LoadAttempt",
    "LoadedFile",
    "MetadataBucket",
    "MissingReplica",
    "NODE_LOCAL",
    "Page",
    "PageRef",
    "REPORT_BYTES_MAX",
    "RepairReport",
    "ReplicaCheck",
    "ReplicaRepair",
    "ReplicatedWriter",
    "RunReports",
    "SweepReport",
    "TABLES",
    "TWO",
    "TileRef",
    "UndeleteReport",
    "UnderReplicated",
    "Version",
    "VersionDeletion",
    "VersionGraph",
    "WITHDRAWN",
    "Write",
    "bounded_facts",
    "check_schema",
    "create_schema",
    "encode_files",
    "encode_list",
    "encode_pages_blob",
    "files_in_pages",
    "journal_number",
    "lineage_graph",
    "layout_setting",
    "list_pages_max",
    "not_found",
    "remove_tag",
    "set_tag",
    "recoverable_versions",
    "repairable",
    "schema_statements",
    "translate_driver_errors",
    "unrecoverable_reason",
]
