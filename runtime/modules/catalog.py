"""Which modules there are: what `loadmodule` can name."""

from __future__ import annotations

from typing import Final

from runtime.modules.acc import Acc
from runtime.modules.base import RuntimeModule
from runtime.modules.bench import Bench
from runtime.modules.cachedb_local import CachedbLocal
from runtime.modules.cfgutils import Cfgutils
from runtime.modules.command_list import CommandList
from runtime.modules.db_drivers import DbMysql, DbPostgres, DbSqlite
from runtime.modules.dialog import DialogModule
from runtime.modules.dispatcher import Dispatcher
from runtime.modules.drouting import Drouting
from runtime.modules.event_datagram import EventDatagram
from runtime.modules.event_route import EventRoute
from runtime.modules.event_stream import EventStream
from runtime.modules.event_virtual import EventVirtual
from runtime.modules.events import Events
from runtime.modules.jobs import Jobs
from runtime.modules.json import Json
from runtime.modules.management import Management
from runtime.modules.maxfwd import Maxfwd
from runtime.modules.mi_datagram import MiDatagram
from runtime.modules.mi_fifo import MiFifo
from runtime.modules.mi_http import Httpd, MiHttp
from runtime.modules.mi_script import MiScript
from runtime.modules.path import Path
from runtime.modules.proto_tcp import ProtoTcp
from runtime.modules.proto_udp import ProtoUdp
from runtime.modules.registrar import Registrar
from runtime.modules.rr import Rr
from runtime.modules.signaling import Signaling
from runtime.modules.sipmsgops import Sipmsgops
from runtime.modules.sl import Sl
from runtime.modules.statistics import StatisticsModule
from runtime.modules.status_report import StatusReport
from runtime.modules.status_reports import StatusReporting
from runtime.modules.textops import Textops
from runtime.modules.thresholds import ThresholdsModule
from runtime.modules.timelines import Timelines
from runtime.modules.tm import Tm
from runtime.modules.usrloc import Usrloc

ALWAYS: Final[dict[str, type[RuntimeModule]]] = {
    module.name: module
    for module in (Management, Jobs, CommandList, Events, StatusReporting, ThresholdsModule, Timelines)
}
"""What every server has, loaded or not."""

CATALOG: Final[dict[str, type[RuntimeModule]]] = {
    module.name: module
    for module in (
        Acc,
        Bench,
        CachedbLocal,
        Cfgutils,
        DbMysql,
        DbPostgres,
        DbSqlite,
        DialogModule,
        Dispatcher,
        Drouting,
        EventDatagram,
        EventRoute,
        EventStream,
        EventVirtual,
        Httpd,
        Json,
        Maxfwd,
        MiDatagram,
        MiFifo,
        MiHttp,
        MiScript,
        Path,
        ProtoTcp,
        ProtoUdp,
        Rr,
        Registrar,
        Signaling,
        Sipmsgops,
        Sl,
        StatisticsModule,
        StatusReport,
        Textops,
        Tm,
        Usrloc,
    )
}
"""What a script may load, by OpenSIPS's module names."""
