// SPDX-License-Identifier: BSD-3-Clause
// The messages, in the order that back ends expect.
#include "vmm/virtio/back_end.hh"

#include "ports/vhost/virtio.hh"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>

namespace strait::vmm::virtio {

namespace {

using ports::error;
using ports::result;
using vhost::request;
namespace protocol_feature = vhost::protocol_feature;

constexpr std::uint64_t bit(unsigned number) noexcept
{
    return 1ULL << number;
}

// Where the back end is to find a ring: by our own addresses, as it was told of the memory.
std::optional<std::uint64_t> mapped(const memory& ram, std::uint64_t address)
{
    for (const memory::region& r : ram.regions()) {
        if (address >= r.guest_address && address - r.guest_address < r.bytes) {
            return r.mapped_at + (address - r.guest_address);
        }
    }
    return std::nullopt;
}

} // namespace

result<back_end> back_end::greet(vhost::front_channel channel)
{
    back_end b{std::move(channel)};
    auto features = b.channel_.ask(request::get_features);
    if (features.has_error()) {
        return features.error();
    }
    b.features_ = *features;
    if (!vhost::has_feature(b.features_, vhost::feature::protocol_features)) {
        return error{"the back end does not speak vhost-user's protocol features"};
    }
    if (!vhost::has_feature(b.features_, vhost::feature::version_1)) {
        return error{"the back end does not offer virtio 1.0"};
    }
    const auto protocol = b.channel_.ask(request::get_protocol_features);
    if (protocol.has_error()) {
        return protocol.error();
    }
    b.protocol_ =
        *protocol & (bit(protocol_feature::multiqueue) | bit(protocol_feature::reply_ack) |
                     bit(protocol_feature::mtu) | bit(protocol_feature::inflight));
    if (auto told =
            b.channel_.tell(request::set_protocol_features, "SET_PROTOCOL_FEATURES", b.protocol_);
        told.has_error()) {
        return told.error();
    }
    b.channel_.expect_answers(b.speaks(protocol_feature::reply_ack));
    if (b.speaks(protocol_feature::multiqueue)) {
        const auto pairs = b.channel_.ask(request::get_queue_num);
        if (pairs.has_error()) {
            return pairs.error();
        }
        b.pairs_ = static_cast<unsigned>(std::clamp<std::uint64_t>(*pairs, 1, 128));
    }
    if (auto owned = b.channel_.announce(request::set_owner); owned.has_error()) {
        return owned.error();
    }
    return b;
}

result<void> back_end::start(const memory& ram, const ring_plan& plan, inflight_notes& notes)
{
    const std::uint64_t features =
        (plan.features & features_) | bit(vhost::feature::protocol_features);
    if (auto told = channel_.tell(request::set_features, "SET_FEATURES", features);
        told.has_error()) {
        return told;
    }
    if (auto shared = share(ram); shared.has_error()) {
        return shared;
    }
    if (auto agreed = agree_on_notes(plan, notes); agreed.has_error()) {
        return agreed;
    }
    if (plan.mtu && speaks(protocol_feature::mtu)) {
        if (auto told =
                channel_.tell(request::net_set_mtu, "NET_SET_MTU", std::uint64_t{*plan.mtu});
            told.has_error()) {
            return told;
        }
    }
    for (std::uint32_t i = 0; i < plan.queues.size(); ++i) {
        if (plan.queues[i].enabled) {
            if (auto done = hand_over(ram, i, plan.queues[i], plan.bases[i]); done.has_error()) {
                return done;
            }
        }
    }
    for (std::uint32_t i = 0; i < plan.queues.size(); ++i) {
        if (plan.queues[i].enabled && i < 2U * plan.pairs) {
            if (auto done = enable(i, true); done.has_error()) {
                return done;
            }
        }
    }
    return {};
}

result<void> back_end::share(const memory& ram)
{
    vhost::memory_table table{};
    std::vector<int> files;
    for (const memory::region& r : ram.regions()) {
        table.regions[table.count++] = {r.guest_address, r.bytes, r.mapped_at, r.file_offset};
        files.push_back(ram.file());
    }
    return channel_.tell(request::set_mem_table, "SET_MEM_TABLE", table, files);
}

// Only for packed rings: a split one's position is in the guest's memory.
result<void> back_end::agree_on_notes(const ring_plan& plan, inflight_notes& notes)
{
    if (!speaks(protocol_feature::inflight) ||
        !vhost::has_feature(plan.features, vhost::feature::ring_packed)) {
        return {};
    }
    if (!notes.file) {
        std::uint16_t largest = 0;
        for (const queue_setup& q : plan.queues) {
            largest = std::max(largest, q.size);
        }
        const vhost::inflight_area wanted{0, 0, static_cast<std::uint16_t>(plan.queues.size()),
                                          largest};
        inflight_notes given;
        auto area = channel_.ask(request::get_inflight_fd, wanted, &given.file);
        if (area.has_error()) {
            return area.error();
        }
        struct stat status {};
        if (!given.file || ::fstat(given.file.get(), &status) != 0 || area->size == 0 ||
            area->offset > static_cast<std::uint64_t>(status.st_size) ||
            area->size > static_cast<std::uint64_t>(status.st_size) - area->offset) {
            return error{"the back end gave no file of descriptors in flight"};
        }
        given.area = *area;
        notes = std::move(given); // the next back end gets it, too
    }
    const int file = notes.file.get();
    return channel_.tell(request::set_inflight_fd, "SET_INFLIGHT_FD", notes.area, {&file, 1});
}

result<void> back_end::hand_over(const memory& ram, std::uint32_t index, const queue_setup& q,
                                 std::uint32_t base)
{
    const auto descriptors = mapped(ram, q.descriptors);
    const auto driver = mapped(ram, q.driver);
    const auto device = mapped(ram, q.device);
    if (!descriptors || !driver || !device) {
        return error{"the guest placed queue " + std::to_string(index) + " outside its memory"};
    }
    if (auto told = channel_.tell(request::set_vring_num, "SET_VRING_NUM",
                                  vhost::vring_state{index, q.size});
        told.has_error()) {
        return told;
    }
    if (auto told = channel_.tell(request::set_vring_base, "SET_VRING_BASE",
                                  vhost::vring_state{index, base});
        told.has_error()) {
        return told;
    }
    if (auto told =
            channel_.tell(request::set_vring_addr, "SET_VRING_ADDR",
                          vhost::vring_address{index, 0, *descriptors, *device, *driver, 0});
        told.has_error()) {
        return told;
    }
    if (auto told = channel_.tell(request::set_vring_call, "SET_VRING_CALL", std::uint64_t{index},
                                  {&q.call, 1});
        told.has_error()) {
        return told;
    }
    return channel_.tell(request::set_vring_kick, "SET_VRING_KICK", std::uint64_t{index},
                         {&q.kick, 1});
}

result<void> back_end::enable(std::uint32_t index, bool on)
{
    return channel_.tell(request::set_vring_enable, "SET_VRING_ENABLE",
                         vhost::vring_state{index, on ? 1U : 0U});
}

result<void> back_end::use_pairs(std::uint16_t pairs, std::span<const queue_setup> queues)
{
    for (std::uint32_t i = 0; i < queues.size(); ++i) {
        if (!queues[i].enabled) {
            continue; // it was never handed over
        }
        if (auto done = enable(i, i < 2U * pairs); done.has_error()) {
            return done;
        }
    }
    return {};
}

result<void> back_end::stop(std::span<const queue_setup> queues)
{
    for (std::uint32_t i = 0; i < queues.size(); ++i) {
        if (queues[i].enabled) {
            const auto stood = channel_.ask(request::get_vring_base, vhost::vring_state{i, 0});
            if (stood.has_error()) {
                return stood.error();
            }
        }
    }
    return {};
}

} // namespace strait::vmm::virtio
