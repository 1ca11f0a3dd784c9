"""The global parameters that a script may set."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NUMBERS: Final = _words(
    """
    abort_on_assert advertised_port auto_aliases auto_scaling_cycle check_via db_max_async_connections debug_mode
    disable_503_translation disable_core_dump disable_dns_blacklist disable_dns_failover disable_stateless_fwd dns
    dns_retr_no dns_retr_time dns_servers_no dns_try_ipv6 dns_try_naptr dns_use_search_list enable_asserts
    event_pkg_threshold event_shm_threshold exec_dns_threshold exec_msg_threshold log_event_enabled
    log_event_level_filter log_json_buf_size log_level log_msg_buf_size log_stdout max_while_loops maxbuffer
    mcast_loopback mcast_ttl mem_warming mem_warming_enabled mem_warming_percentage memdump mem_dump memlog mem_log
    mhomed mi_workers mi_workers_max open_files_limit pv_print_buf_size query_buffer_size query_flush_time
    restart_persistency_size rev_dns server_signature shm_hash_split_percentage shm_memlog_size
    shm_secondary_hash_size sip_warning stderror_enabled stderror_level_filter syslog_enabled syslog_level_filter
    tcp_accept_aliases tcp_connect_timeout tcp_connection_lifetime tcp_keepalive tcp_keepcount tcp_keepidle
    tcp_keepinterval tcp_max_connections tcp_max_msg_time tcp_socket_backlog tcp_threads tcp_threshold tcp_workers
    timer_workers udp_readers udp_workers worker_reactor_timeout xlog_buf_size xlog_force_color xlog_level
    xlog_print_level
    """
)
TEXTS: Final = _words(
    """
    advertised_address alias auto_scaling_profile chroot db_default_url db_version_table dst_blacklist log_prefix
    mem_warming_pattern_file mpath pi_framework poll_method restart_persistency_cache_file scale server_header
    socket stderror_log_format syslog_facility syslog_log_format syslog_name tos user_agent_header wdir workdir
    dns_servers
    """
)
REPEATABLE: Final = frozenset(("alias", "auto_scaling_profile", "dst_blacklist", "mpath", "scale", "socket"))
"""Those that may stand more than once; of any other one the last stands."""
