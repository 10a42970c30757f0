// SPDX-License-Identifier: BSD-3-Clause
// One connection to a vhost-user back end, from its greeting to its end, and the rings it is given.
// When to connect, and what the guest is told, is in net.hh.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"
#include "ports/vhost/front_channel.hh"
#include "vmm/memory.hh"
#include "vmm/virtio/device.hh"

#include <cstdint>
#include <optional>
#include <span>

namespace strait::vmm::virtio {

// Where a back end that can do so notes what it has taken of packed rings; the memory stays with
// the front end, so that the next back end finds it.
struct inflight_notes {
    dataplane::file_descriptor file{};
    vhost::inflight_area area{};
};

// What a guest and its device have agreed on, and where each of its rings goes on.
struct ring_plan {
    std::uint64_t features{0};
    std::span<const queue_setup> queues{};  // two a pair: to the guest, from the guest
    std::span<const std::uint32_t> bases{}; // as SET_VRING_BASE takes them
    std::uint16_t pairs{1};                 // that are in use
    std::optional<std::uint16_t> mtu{};
};

// Used by one thread, which waits for answers as long as the channel has patience: for each, and
// for all that one call needs. After an error the connection is of no use. Errors are sentences'
// ends.
class back_end {
public:
    // Greets it: learns what it can do and becomes its owner.
    [[nodiscard]] static ports::result<back_end> greet(vhost::front_channel channel);

    [[nodiscard]] std::uint64_t features() const noexcept { return features_; }
    // Queue pairs that it can serve.
    [[nodiscard]] unsigned pairs() const noexcept { return pairs_; }
    [[nodiscard]] vhost::front_channel& channel() noexcept { return channel_; }

    // Hands memory and rings over, and lets it look at all of them.
    [[nodiscard]] ports::result<void> start(const memory& ram, const ring_plan& plan,
                                            inflight_notes& notes);
    // Uses `pairs` of them from now on.
    [[nodiscard]] ports::result<void> use_pairs(std::uint16_t pairs,
                                                std::span<const queue_setup> queues);
    // Takes the rings back: when it returns without an error nobody touches them any more.
    [[nodiscard]] ports::result<void> stop(std::span<const queue_setup> queues);

private:
    explicit back_end(vhost::front_channel channel) noexcept : channel_{std::move(channel)} {}
    [[nodiscard]] bool speaks(unsigned protocol_feature) const noexcept
    {
        return (protocol_ >> protocol_feature & 1) != 0;
    }
    [[nodiscard]] ports::result<void> share(const memory& ram);
    [[nodiscard]] ports::result<void> agree_on_notes(const ring_plan& plan, inflight_notes& notes);
    [[nodiscard]] ports::result<void> hand_over(const memory& ram, std::uint32_t index,
                                                const queue_setup& q, std::uint32_t base);
    [[nodiscard]] ports::result<void> enable(std::uint32_t index, bool on);

    vhost::front_channel channel_;
    std::uint64_t features_{0};
    std::uint64_t protocol_{0};
    unsigned pairs_{1};
};

} // namespace strait::vmm::virtio
