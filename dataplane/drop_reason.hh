// SPDX-License-Identifier: BSD-3-Clause
// Every way a packet can die in the switch. One enumeration stands behind the per-port counters,
// `straitctl drops` and docs/drops.md; a packet that is not delivered is counted under exactly one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace strait::dataplane {

enum class drop_reason : std::uint8_t {
    // on the way in, charged to the port a packet came from
    malformed_descriptor,
    frame_too_short,
    frame_too_long,
    invalid_source_mac,
    vlan_not_allowed,
    untagged_not_allowed,
    tagged_not_allowed,
    reserved_multicast,
    ingress_disabled,
    ingress_blocked,
    no_destination,
    same_port,
    port_isolated,
    receive_error,
    bad_offload,
    grant_error,
    flow_miss,
    flow_drop,
    flow_too_complex,
    ct_table_full,
    ct_zone_full,
    ct_no_translation,
    ct_fragment,
    ct_payload,
    no_live_bucket,
    metered,
    ingress_policed,
    mac_limit,
    loop_guard,
    storm_broadcast,
    storm_multicast,
    storm_unknown_unicast,
    multicast_no_listener,
    multicast_invalid,
    multicast_query,
    mirror_output,
    spoofed_mac,
    spoofed_ip,
    spoofed_arp,
    spoofed_nd,
    dhcp_not_trusted,
    dhcp_too_many,
    bpdu_too_many,
    acl_from_denied,
    acl_from_invalid,
    // on the way out, charged to the port a packet was to leave by
    egress_disabled,
    egress_blocked,
    mtu_exceeded,
    nested_tag,
    receiver_not_connected,
    receiver_full,
    receiver_buffer_too_small,
    receiver_malformed,
    multicast_unwanted,
    copy_failed,
    transmit_error,
    no_memory,
    handover_full,
    port_removed,
    mirror_full,
    egress_policed,
    shaper_full,
    shaper_timeout,
    acl_to_denied,
    acl_to_invalid,
    // to a tunnel's port, or to a bridge's own
    tunnel_too_big,
    tunnel_no_route,
    tunnel_nested,
    neighbour_unresolved,
    neighbour_queue_full,
    tunnel_malformed,
    tunnel_checksum,
    tunnel_fragment,
    tunnel_option,
    tunnel_unknown,
    tunnel_congestion,
    endpoint_unwanted,
};

inline constexpr std::size_t drop_reason_count =
    static_cast<std::size_t>(drop_reason::endpoint_unwanted) + 1;

struct drop_reason_text {
    drop_reason reason;
    std::string_view name;        // as in JSON and tables
    bool ingress;                 // charged to the port the packet came from
    std::string_view explanation; // one line for an operator, with what to do
};

// Indexed by the reason.
[[nodiscard]] const std::array<drop_reason_text, drop_reason_count>& drop_reasons() noexcept;

[[nodiscard]] inline std::string_view to_string(drop_reason reason) noexcept
{
    return drop_reasons()[static_cast<std::size_t>(reason)].name;
}

} // namespace strait::dataplane
