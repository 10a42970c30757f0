// SPDX-License-Identifier: BSD-3-Clause
#include "bench/generator/xen_endpoint.hh"

#include <stdexcept>
#include <utility>

namespace strait::bench {

using xen::domain_id;
using xen::simulated::netfront_queue;
using xen::simulated::received_frame;
using xen::simulated::simulated_guest;

xen_endpoint::xen_endpoint(std::size_t which, const options& settings) : endpoint(which, settings)
{
    const end_place& place = settings.ends[which];
    place_ = "Xen guest " + std::to_string(place.domain);
    // Those of the queues, and of the device's own.
    const std::uint32_t pages = settings.queues * (2 * xen::netif::ring_size + 2) + 256;
    auto guest = simulated_guest::connect(place.where, domain_id{place.domain}, {.pages = pages});
    if (guest.has_error()) {
        fail(guest.error().message);
    }
    guest_ = std::move(*guest);
    const bool takes = !settings.filled_in;
    device_.emplace(*guest_, xen::simulated::netfront_options{.queues = settings.queues,
                                                              .gso_tcp_v4 = takes,
                                                              .gso_tcp_v6 = takes,
                                                              .checksum = takes,
                                                              .checksum_ipv6 = takes});
    if (settings.segment == 0) {
        return;
    }
    extras_.checksum_blank = true;
    if (largest_size() > before_tcp_payload(form()) + settings.segment) {
        extras_.segment_size = settings.segment;
        extras_.segments_ipv6 = settings.ipv6;
    }
}

void xen_endpoint::fail(const std::string& what) const
{
    throw std::runtime_error{place_ + ": " + what};
}

void xen_endpoint::attach(std::chrono::milliseconds patience)
{
    build(std::span{sent_}.first(largest_size()));
    if (auto connected = device_->connect(patience); connected.has_error()) {
        fail(connected.error().message);
    }
    if (device_->queues().size() != queues()) {
        fail("the switch has " + std::to_string(device_->queues().size()) + " queues for it, of " +
             std::to_string(queues()));
    }
    const bool ipv6 = form().ipv6;
    const auto& offered = device_->offered();
    if (extras_.checksum_blank && !(ipv6 ? offered.checksum_ipv6 : offered.checksum)) {
        fail("the switch does not offer to fill in checksums");
    }
    if (extras_.segment_size != 0 && !(ipv6 ? offered.gso_tcp_v6 : offered.gso_tcp_v4)) {
        fail("the switch does not offer to segment TCP");
    }
}

void xen_endpoint::expect_connected()
{
    bool events = false;
    while (guest_->store().next_event()) {
        events = true;
    }
    if (events) {
        if (auto followed = device_->follow(); followed.has_error()) {
            fail(followed.error().message);
        }
    }
    if (!guest_->alive() || !device_->carrier()) {
        fail("the switch has let go of its device");
    }
    if (const std::string wrong = device_->violation(); !wrong.empty()) {
        fail("the switch broke the protocol: " + wrong);
    }
}

unsigned xen_endpoint::transmit(unsigned most, std::uint64_t now) noexcept
{
    for (const auto& queue : device_->queues()) {
        queue->reap();
    }
    const std::uint32_t slots =
        netfront_queue::slots_of({.bytes = {sent_.data(), largest_size()}}) +
        (extras_.segment_size != 0 ? 1U : 0U);
    unsigned count = 0;
    for (; count < most; ++count) {
        const std::uint16_t number = queues() > 1 ? next_queue() : std::uint16_t{0};
        netfront_queue& queue = device_->queue(number);
        if (queue.room() < slots) {
            break;
        }
        const std::uint16_t bytes = fixed() ? largest_size() : shape(sent_.data(), 0, now);
        if (!queue.send({.bytes = {sent_.data(), bytes}, .extras = extras_})) {
            take_back({sent_.data(), bytes});
            break;
        }
    }
    if (count != 0) {
        for (const auto& queue : device_->queues()) {
            queue->publish_sent();
        }
    }
    count_sent(most, count);
    return count;
}

unsigned xen_endpoint::receive(std::uint64_t now) noexcept
{
    std::size_t count = 0;
    for (const auto& queue : device_->queues()) {
        count += queue->receive(std::size_t{2} * burst, [&](const received_frame& frame) {
            begin_frame(frame.bytes, now);
            end_frame(frame.bytes, static_cast<std::uint32_t>(frame.bytes.size()),
                      frame.extras.checksum_blank);
        });
    }
    if (count != 0) {
        end_burst(now);
    }
    return static_cast<unsigned>(count);
}

} // namespace strait::bench
