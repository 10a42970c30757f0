// SPDX-License-Identifier: BSD-3-Clause
// Features as people read them: by virtio's names.
#pragma once

#include "ports/vhost/virtio.hh"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace strait::vhost {

struct named_feature {
    unsigned bit;
    const char* name;
};

inline constexpr std::array named_features = std::to_array<named_feature>({
    {feature::checksum, "csum"},
    {feature::guest_checksum, "guest_csum"},
    {feature::mtu, "mtu"},
    {feature::mac, "mac"},
    {feature::guest_tso4, "guest_tso4"},
    {feature::guest_tso6, "guest_tso6"},
    {feature::guest_ecn, "guest_ecn"},
    {feature::guest_ufo, "guest_ufo"},
    {feature::host_tso4, "host_tso4"},
    {feature::host_tso6, "host_tso6"},
    {feature::host_ecn, "host_ecn"},
    {feature::host_ufo, "host_ufo"},
    {feature::mergeable_buffers, "mrg_rxbuf"},
    {feature::status, "status"},
    {feature::control_queue, "ctrl_vq"},
    {feature::control_receive, "ctrl_rx"},
    {feature::guest_announce, "guest_announce"},
    {feature::multiqueue, "mq"},
    {feature::control_mac, "ctrl_mac_addr"},
    {feature::log_all, "log_all"},
    {feature::any_layout, "any_layout"},
    {feature::indirect, "indirect_desc"},
    {feature::event_index, "event_idx"},
    {feature::protocol_features, "protocol_features"},
    {feature::version_1, "version_1"},
    {feature::ring_packed, "ring_packed"},
    {feature::in_order, "in_order"},
    {feature::guest_uso4, "guest_uso4"},
    {feature::guest_uso6, "guest_uso6"},
    {feature::host_uso, "host_uso"},
});

[[nodiscard]] inline const char* ring_kind_of(std::uint64_t features) noexcept
{
    return has_feature(features, feature::ring_packed) ? "packed" : "split";
}

[[nodiscard]] inline std::vector<std::string> names_of(std::uint64_t features)
{
    std::vector<std::string> names;
    for (const auto& f : named_features) {
        if (has_feature(features, f.bit)) {
            names.emplace_back(f.name);
        }
    }
    return names;
}

} // namespace strait::vhost
