// SPDX-License-Identifier: BSD-3-Clause
// Names and explanations of the drop reasons.
#include "dataplane/drop_reason.hh"

namespace strait::dataplane {

const std::array<drop_reason_text, drop_reason_count>& drop_reasons() noexcept
{
    using enum drop_reason;
    static constexpr std::array<drop_reason_text, drop_reason_count> texts{{
        {malformed_descriptor, "malformed_descriptor", true,
         "the guest offered descriptors or requests that break its ring's protocol"},
        {frame_too_short, "frame_too_short", true, "shorter than an Ethernet header"},
        {frame_too_long, "frame_too_long", true, "longer than any frame the switch carries"},
        {invalid_source_mac, "invalid_source_mac", true, "source MAC is multicast or zero"},
        {vlan_not_allowed, "vlan_not_allowed", true,
         "the frame's VLAN is not in the port's trunk list: port set NAME --trunk LIST"},
        {untagged_not_allowed, "untagged_not_allowed", true,
         "untagged on a trunk without a native VLAN: port set NAME --native VLAN"},
        {tagged_not_allowed, "tagged_not_allowed", true,
         "tagged frame on an access port: make the port a trunk"},
        {reserved_multicast, "reserved_multicast", true,
         "link-local protocol (STP, LACP, LLDP): bridge set NAME --forward-bpdu"},
        {ingress_disabled, "ingress_disabled", true, "the port it came from is down: --admin up"},
        {no_destination, "no_destination", true,
         "flooded, and no other port that is up takes its VLAN"},
        {same_port, "same_port", true, "its destination is behind the port it came from"},
        {receive_error, "receive_error", true, "the device reported a receive error"},
        {bad_offload, "bad_offload", true,
         "the guest asked for a checksum or for segments that the frame's headers do not allow"},
        {grant_error, "grant_error", true,
         "the memory that the guest granted for the frame could not be read"},
        {flow_miss, "flow_miss", true,
         "no flow matches in table 0, or where a ct action goes on: flow list, trace PORT PACKET"},
        {flow_drop, "flow_drop", true, "the flows that it met send it nowhere: trace PORT PACKET"},
        {flow_too_complex, "flow_too_complex", true,
         "the flows that it met lead into one another without end, or copy it too often"},
        {ct_table_full, "ct_table_full", true,
         "a new connection was to be committed, and there is no room for one: ct stats"},
        {ct_zone_full, "ct_zone_full", true,
         "a new connection was to be committed in a zone that has as many as it may: ct limit"},
        {ct_no_translation, "ct_no_translation", true,
         "no address and port are left that nat could translate to, or another connection has "
         "them"},
        {ct_fragment, "ct_fragment", true,
         "a fragment came to ct before the first of its datagram, overlaps another, or is too "
         "late"},
        {ct_payload, "ct_payload", true,
         "what an FTP connection says of another cannot be translated as its addresses are"},
        {egress_disabled, "egress_disabled", false, "the port is down: port set NAME --admin up"},
        {mtu_exceeded, "mtu_exceeded", false, "larger than the port's MTU: port set NAME --mtu N"},
        {nested_tag, "nested_tag", false,
         "untagged here, it would show the VLAN tag of another network behind its own"},
        {receiver_not_connected, "receiver_not_connected", false,
         "no guest is attached, its driver has not started the queue, or the interface is down"},
        {receiver_full, "receiver_full", false, "the receiver's ring has no free buffer"},
        {receiver_buffer_too_small, "receiver_buffer_too_small", false,
         "the guest's receive buffers cannot hold the frame: it lacks mergeable buffers"},
        {receiver_malformed, "receiver_malformed", false,
         "the guest offered receive buffers that break its ring's protocol"},
        {multicast_unwanted, "multicast_unwanted", false,
         "a multicast that the receiving guest did not ask for"},
        {copy_failed, "copy_failed", false,
         "a guest, the sender's or the receiver's, took back the memory that it had granted"},
        {transmit_error, "transmit_error", false, "the device refused the frame"},
        {no_memory, "no_memory", false, "the packet pool is empty: start with more --memory"},
        {handover_full, "handover_full", false, "the ring between two workers is full"},
        {port_removed, "port_removed", false, "the port was removed while the frame waited"},
    }};
    return texts;
}

} // namespace strait::dataplane
