"""Scenarios for sipp that it does not bring along; the plain call along a route is the benchmarks'."""

from __future__ import annotations

_FROM_TO = """From: <sip:caller@[local_ip]:[local_port]>;tag=[pid]a[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>"""

_ANSWER = """[last_Via:]
    [last_From:]
    [last_To:];tag=[pid]b[call_number]
    [last_Call-ID:]"""

_END = """SIP/2.0 200 OK
    [last_Via:]
    [last_From:]
    [last_To:]
    [last_Call-ID:]
    [last_CSeq:]
    Content-Length: 0
"""

CANCELLING_CALLER = f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="cancelling caller">
  <send retrans="500"><![CDATA[
    INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    {_FROM_TO}
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:caller@[local_ip]:[local_port]>
    Content-Length: 0

  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180"/>
  <send retrans="500"><![CDATA[
    CANCEL sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch-3]
    Max-Forwards: 70
    {_FROM_TO}
    Call-ID: [call_id]
    CSeq: 1 CANCEL
    Content-Length: 0

  ]]></send>
  <recv response="200"/>
  <recv response="487"/>
  <send><![CDATA[
    ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch-6]
    Max-Forwards: 70
    {_FROM_TO}[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Content-Length: 0

  ]]></send>
</scenario>
"""

# The CANCEL that reaches it is the proxy's own and has one Via; the 487 answers the INVITE, which had two.
CANCELLED_CALLEE = f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="cancelled callee">
  <recv request="INVITE">
    <action>
      <ereg regexp=".*" search_in="hdr" header="Via:" occurrence="1" assign_to="1"/>
      <ereg regexp=".*" search_in="hdr" header="Via:" occurrence="2" assign_to="2"/>
    </action>
  </recv>
  <send><![CDATA[
    SIP/2.0 180 Ringing
    {_ANSWER}
    [last_CSeq:]
    Contact: <sip:callee@[local_ip]:[local_port]>
    Content-Length: 0

  ]]></send>
  <recv request="CANCEL"/>
  <send><![CDATA[
    SIP/2.0 200 OK
    {_ANSWER}
    [last_CSeq:]
    Content-Length: 0

  ]]></send>
  <send retrans="500"><![CDATA[
    SIP/2.0 487 Request Terminated
    Via:[$1]
    Via:[$2]
    [last_From:]
    [last_To:];tag=[pid]b[call_number]
    [last_Call-ID:]
    CSeq: 1 INVITE
    Content-Length: 0

  ]]></send>
  <recv request="ACK"/>
</scenario>
"""

# sipp knows a copy of a request only while it has answered with one message; its own callee, which sends 180 and 200,
# gives a call up when both are lost and the INVITE comes again.
PATIENT_CALLEE = f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="patient callee">
  <recv request="INVITE"/>
  <send retrans="100"><![CDATA[
    SIP/2.0 200 OK
    {_ANSWER}
    [last_CSeq:]
    Contact: <sip:callee@[local_ip]:[local_port]>
    Content-Length: 0

  ]]></send>
  <recv request="ACK" optional="true"/>
  <recv request="BYE"/>
  <send><![CDATA[
    {_END}
  ]]></send>
  <timewait milliseconds="4000"/>
</scenario>
"""
