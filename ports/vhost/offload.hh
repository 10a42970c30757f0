// SPDX-License-Identifier: BSD-3-Clause
// Virtio's words for work left undone in a frame, and the data plane's: negotiated features, and
// the header in front of a frame, both ways. What a guest claims is believed by nobody here: that
// it is checked, and how, is dataplane/offload.hh's.
#pragma once

#include "dataplane/offload.hh"
#include "ports/vhost/virtio.hh"

namespace strait::vhost {

namespace detail {

struct offload_features {
    unsigned checksum;
    unsigned tso4;
    unsigned tso6;
    unsigned ecn;
    unsigned uso4;
    unsigned uso6;
};

// Features stand on others (VIRTIO 1.3, 5.1.3.1); one whose ground was not negotiated counts as
// absent.
[[nodiscard]] constexpr dataplane::offloads offloads_of(std::uint64_t features,
                                                        const offload_features& bits) noexcept
{
    using enum dataplane::offloads;
    dataplane::offloads set = none;
    if (!has_feature(features, bits.checksum)) {
        return set;
    }
    set = checksum_ipv4 | checksum_ipv6;
    if (has_feature(features, bits.tso4)) {
        set |= segmentation_ipv4;
    }
    if (has_feature(features, bits.tso6)) {
        set |= segmentation_ipv6;
    }
    if (has_feature(features, bits.ecn) &&
        (set & (segmentation_ipv4 | segmentation_ipv6)) != none) {
        set |= segmentation_ecn;
    }
    if (has_feature(features, bits.uso4)) {
        set |= udp_segmentation_ipv4;
    }
    if (has_feature(features, bits.uso6)) {
        set |= udp_segmentation_ipv6;
    }
    return set;
}

} // namespace detail

// What the guest may leave to the switch.
[[nodiscard]] constexpr dataplane::offloads left_by_guest(std::uint64_t features) noexcept
{
    return detail::offloads_of(features, {.checksum = feature::checksum,
                                          .tso4 = feature::host_tso4,
                                          .tso6 = feature::host_tso6,
                                          .ecn = feature::host_ecn,
                                          .uso4 = feature::host_uso,
                                          .uso6 = feature::host_uso});
}

// What it takes unfinished.
[[nodiscard]] constexpr dataplane::offloads taken_by_guest(std::uint64_t features) noexcept
{
    return detail::offloads_of(features, {.checksum = feature::guest_checksum,
                                          .tso4 = feature::guest_tso4,
                                          .tso6 = feature::guest_tso6,
                                          .ecn = feature::guest_ecn,
                                          .uso4 = feature::guest_uso4,
                                          .uso6 = feature::guest_uso6});
}

// Whether a header that a guest wrote asks for anything. What else its flags may say (that a
// checksum was verified, as old Linux drivers do) is nobody's business: we take no guest's word.
[[nodiscard]] constexpr bool asks_for_work(const net_header& h) noexcept
{
    return (h.flags & dataplane::virtio_offload::needs_checksum) != 0 ||
           h.gso_type != dataplane::virtio_offload::gso_none;
}

[[nodiscard]] constexpr dataplane::virtio_offload claim_of(const net_header& h) noexcept
{
    return {.flags = h.flags,
            .gso_type = h.gso_type,
            .header_length = h.header_length,
            .gso_size = h.gso_size,
            .checksum_start = h.checksum_start,
            .checksum_offset = h.checksum_offset};
}

[[nodiscard]] constexpr std::uint8_t gso_type_of(dataplane::segmentation kind) noexcept
{
    using dataplane::virtio_offload;
    switch (kind) {
    case dataplane::segmentation::none:
        break;
    case dataplane::segmentation::tcp_ipv4:
        return virtio_offload::gso_tcp_ipv4;
    case dataplane::segmentation::tcp_ipv6:
        return virtio_offload::gso_tcp_ipv6;
    case dataplane::segmentation::udp:
        return virtio_offload::gso_udp;
    }
    return virtio_offload::gso_none;
}

// For a guest that takes it. Never DATA_VALID: the switch verifies no checksum of a frame that is
// complete, and one that is not needs none verified.
[[nodiscard]] inline net_header header_of(const dataplane::offload_intent& todo,
                                          std::uint16_t buffers) noexcept
{
    using dataplane::virtio_offload;
    net_header h{};
    h.buffers = buffers;
    if (todo.empty()) {
        return h;
    }
    h.flags = virtio_offload::needs_checksum;
    h.checksum_start = todo.checksum_start;
    h.checksum_offset = todo.checksum_offset;
    if (todo.segment_size != 0) {
        h.gso_type = gso_type_of(segmentation_of(todo));
        if (contains(todo.required, dataplane::offloads::segmentation_ecn)) {
            h.gso_type |= virtio_offload::gso_ecn;
        }
        h.gso_size = todo.segment_size;
        h.header_length = todo.header_length;
    }
    return h;
}

} // namespace strait::vhost
