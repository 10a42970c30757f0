// SPDX-License-Identifier: BSD-3-Clause
// Each message is copied out of the ring once and answered at once.
#include "ports/xen-netback/control_ring.hh"

#include "ports/xen-netback/fault.hh"

#include <algorithm>
#include <array>
#include <new>
#include <span>
#include <string_view>
#include <utility>

namespace strait::xen {

namespace status = netif::control_status;
using netif::control_type;

control_ring::control_ring(std::unique_ptr<mapped_grants> page,
                           std::unique_ptr<event_channel> channel, ring_set& rings,
                           dataplane::rcu_domain& rcu, keeper keep) noexcept
    : page_{std::move(page)},
      channel_{std::move(channel)},
      rings_{rings},
      rcu_{rcu},
      ring_{page_->base()},
      taken_{ring_.response_producer()},
      keep_{std::move(keep)}
{}

bool control_ring::serve() noexcept
{
    (void)channel_->take();
    const std::uint32_t ready = ring_.request_producer() - taken_;
    if (fault_ != nullptr || ready == 0) {
        // The next message is announced; one that came just before that is not overlooked.
        ring_.ask_for_events(taken_ + 1);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        return fault_ == nullptr && ring_.request_producer() != taken_;
    }
    if (ready > netif::control_ring_size) {
        fault_ = fault_text::index;
        return false;
    }
    const std::uint32_t count = std::min(ready, budget);
    // An answer takes its message's slot, and to keep what was asked for takes time: a process that
    // is killed meanwhile leaves messages that the next one can still read.
    std::array<netif::control_response, budget> answers;
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto request = ring_.read<netif::control_request>(taken_ + i);
        reply answer{};
        try {
            answer = handle(request);
        } catch (const std::bad_alloc&) {
            answer = {status::buffer_overflow, 0};
        }
        answers[i] = {
            .id = request.id, .type = request.type, .status = answer.status, .data = answer.data};
    }
    keep();
    for (const auto& answer : std::span{answers}.first(count)) {
        ring_.write(taken_++, answer);
    }
    ring_.publish_responses(taken_);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (taken_ - ring_.wanted_event() < count) {
        channel_->notify();
    }
    return true;
}

control_ring::reply control_ring::handle(const netif::control_request& r)
{
    const auto checked = [this](bool good) -> reply {
        if (good) {
            publish();
        }
        return {good ? status::success : status::invalid_parameter, 0};
    };
    switch (static_cast<control_type>(r.type)) {
    case control_type::set_hash_algorithm:
        if (r.data[0] > netif::hash_algorithm::toeplitz) {
            return {status::invalid_parameter, 0};
        }
        toeplitz_ = r.data[0] == netif::hash_algorithm::toeplitz;
        return checked(true);
    case control_type::get_hash_flags: // of the algorithm that is chosen (netif.h)
        return toeplitz_ ? reply{status::success, netif::hash_type::all}
                         : reply{status::not_supported, 0};
    case control_type::set_hash_flags:
        return checked(toeplitz_ && wanted_.set_types(r.data[0]));
    case control_type::set_hash_key:
        return set_key(r);
    case control_type::get_hash_mapping_size:
        return {status::success, hash_config::max_mapping};
    case control_type::set_hash_mapping_size:
        return checked(wanted_.set_mapping_size(r.data[0]));
    case control_type::set_hash_mapping:
        return set_mapping(r);
    default:
        return {status::not_supported, 0};
    }
}

bool control_ring::read_grant(std::uint32_t grant, void* to, std::uint16_t size) noexcept
{
    auto piece =
        dataplane::remote_copy::pull({.reference = grant,
                                      .offset = 0,
                                      .owner = static_cast<std::uint16_t>(rings_.guest->domain),
                                      .size = size},
                                     to);
    rings_.guest->hypervisor->copy({&piece, 1});
    return piece.done();
}

control_ring::reply control_ring::set_key(const netif::control_request& r) noexcept
{
    std::array<std::byte, hash_config::max_key> key;
    const std::uint32_t size = r.data[1];
    if (size > key.size()) {
        return {status::buffer_overflow, 0};
    }
    if (size > 0 && !read_grant(r.data[0], key.data(), static_cast<std::uint16_t>(size))) {
        return {status::invalid_parameter, 0};
    }
    (void)wanted_.set_key(std::span{key}.first(size));
    publish();
    return {status::success, 0};
}

control_ring::reply control_ring::set_mapping(const netif::control_request& r) noexcept
{
    std::array<std::uint32_t, hash_config::max_mapping> entries;
    const std::uint32_t count = r.data[1];
    if (count > entries.size()) {
        return {status::buffer_overflow, 0};
    }
    const auto bytes = static_cast<std::uint16_t>(count * sizeof entries[0]);
    if (count > 0 && !read_grant(r.data[0], entries.data(), bytes)) {
        return {status::invalid_parameter, 0};
    }
    if (!wanted_.set_mapping(r.data[2], std::span{entries}.first(count), rings_.sinks.size())) {
        return {status::invalid_parameter, 0};
    }
    publish();
    return {status::success, 0};
}

namespace {

constexpr std::string_view toeplitz_word = "toeplitz ";
constexpr std::string_view none_word = "none ";

} // namespace

// What could not be kept is tried again when the next message is answered.
void control_ring::keep() noexcept
{
    if (!changed_ || !keep_) {
        return;
    }
    try {
        const std::string text =
            std::string{toeplitz_ ? toeplitz_word : none_word} + wanted_.to_text();
        if (text == kept_ || keep_(text)) {
            kept_ = text;
            changed_ = false;
        }
    } catch (const std::bad_alloc&) {
        return;
    }
}

bool control_ring::restore(const std::string& text)
{
    const bool toeplitz = text.starts_with(toeplitz_word);
    if (!toeplitz && !text.starts_with(none_word)) {
        return false;
    }
    const auto wanted = hash_config::from_text(
        std::string_view{text}.substr(toeplitz ? toeplitz_word.size() : none_word.size()),
        rings_.sinks.size());
    if (!wanted) {
        return false;
    }
    toeplitz_ = toeplitz;
    wanted_ = *wanted;
    publish();
    kept_ = text;
    changed_ = false;
    return true;
}

void control_ring::publish()
{
    changed_ = true;
    std::unique_ptr<const hash_config> next =
        toeplitz_ ? std::make_unique<const hash_config>(wanted_) : nullptr;
    rings_.guest->hash.store(next.get(), std::memory_order_release);
    rcu_.synchronize(); // a worker may be in the old one
    rings_.hash = std::move(next);
}

} // namespace strait::xen
