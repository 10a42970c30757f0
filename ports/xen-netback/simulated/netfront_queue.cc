// SPDX-License-Identifier: BSD-3-Clause
// What is granted for a frame is taken back with its answer; references and pages stay.
#include "ports/xen-netback/simulated/netfront_queue.hh"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace strait::xen::simulated {

using netif::extra;
using netif::extra_info;
using netif::ring_size;

netfront_counts& netfront_counts::operator+=(const netfront_counts& other) noexcept
{
    tx_frames += other.tx_frames;
    tx_bytes += other.tx_bytes;
    tx_slots += other.tx_slots;
    tx_okay += other.tx_okay;
    tx_error += other.tx_error;
    tx_dropped += other.tx_dropped;
    rx_frames += other.rx_frames;
    rx_bytes += other.rx_bytes;
    rx_slots += other.rx_slots;
    rx_errors += other.rx_errors;
    notifications += other.notifications;
    return *this;
}

result<std::unique_ptr<netfront_queue>> netfront_queue::make(simulated_guest& g, settings s)
{
    std::unique_ptr<netfront_queue> q{new netfront_queue{g, s}};
    if (auto opened = q->open(); opened.has_error()) {
        return opened.error();
    }
    return q;
}

result<void> netfront_queue::open()
{
    auto memory = guest_.allocate(pages);
    if (memory.has_error()) {
        return memory.error();
    }
    memory_ = *memory;
    tx_pages_ = memory_ + ring_pages * page_size;
    rx_pages_ = tx_pages_ + ring_size * page_size;
    tx_ = tx_front_ring{memory_};
    rx_ = rx_front_ring{memory_ + page_size};
    for (std::uint32_t i = 0; i < pages; ++i) {
        const auto r = guest_.reserve();
        if (!r) {
            return error{"the guest's grant table is full"};
        }
        references_.push_back(*r);
    }
    tx_ring_ref_ = references_[0];
    rx_ring_ref_ = references_[1];
    guest_.regrant(tx_ring_ref_, settings_.backend, memory_);
    guest_.regrant(rx_ring_ref_, settings_.backend, memory_ + page_size);
    const auto first = references_.begin() + ring_pages;
    tx_grants_.assign(first, first + ring_size);
    rx_grants_.assign(first + ring_size, references_.end());
    for (std::uint16_t id = ring_size; id > 0; --id) {
        free_ids_.push_back(static_cast<std::uint16_t>(id - 1));
    }
    auto channel = guest_.offer(settings_.backend);
    if (channel.has_error()) {
        return channel.error();
    }
    tx_channel_ = std::move(*channel);
    if (settings_.split_channels) {
        channel = guest_.offer(settings_.backend);
        if (channel.has_error()) {
            return channel.error();
        }
        rx_channel_ = std::move(*channel);
    }
    assembled_.resize(longest_frame + page_size);
    refill();
    return {};
}

netfront_queue::~netfront_queue()
{
    if (memory_ == nullptr) {
        return;
    }
    // Pages that somebody can still write are never given out again.
    const bool all = revoke_all();
    if (all) {
        for (const grant_ref r : references_) {
            guest_.unreserve(r);
        }
        guest_.free(memory_, pages);
    }
}

bool netfront_queue::revoke_all() noexcept
{
    if (!revoked_) {
        bool all = true;
        for (const grant_ref r : references_) {
            all = guest_.end(r) && all;
        }
        revoked_ = all;
    }
    return revoked_;
}

event_port netfront_queue::rx_port() const noexcept
{
    return rx_channel_.end ? rx_channel_.port : tx_channel_.port;
}

event_channel& netfront_queue::rx_channel() const noexcept
{
    return rx_channel_.end ? *rx_channel_.end : *tx_channel_.end;
}

void netfront_queue::tell(event_channel& c) noexcept
{
    c.notify();
    ++counts_.notifications;
}

void netfront_queue::notify() noexcept
{
    tell(*tx_channel_.end);
    if (rx_channel_.end) {
        tell(*rx_channel_.end);
    }
}

void netfront_queue::violate(const char* what) noexcept
{
    if (violation_.empty()) {
        violation_ = what;
    }
}

// ---- sending ----

std::uint32_t netfront_queue::slots_of(const sent_frame& f) noexcept
{
    std::size_t left = f.bytes.size();
    std::size_t in_page = page_size - f.offset;
    std::uint32_t slots = 0;
    for (std::size_t i = 0; left > 0 || slots == 0; ++i) {
        const std::size_t most =
            i < f.cuts.size() ? std::min<std::size_t>(f.cuts[i], in_page) : in_page;
        left -= std::min(left, most);
        in_page = page_size;
        ++slots;
    }
    return slots;
}

void netfront_queue::put_extras(const frame_extras& e, std::uint16_t& flags) noexcept
{
    namespace tx_flag = netif::tx_flag;
    if (e.checksum_blank) {
        flags |= tx_flag::checksum_blank | tx_flag::data_validated;
    } else if (e.checksum_validated) {
        flags |= tx_flag::data_validated;
    }
    if (e.segment_size != 0) {
        flags |= tx_flag::extra_info;
    }
}

bool netfront_queue::send(const sent_frame& f) noexcept
{
    const std::uint32_t slots = slots_of(f);
    const std::uint32_t extras = f.extras.segment_size != 0 ? 1 : 0;
    if (!violation_.empty() || slots + extras > tx_.room() || slots > free_ids_.size() ||
        f.bytes.size() > longest_frame) {
        return false;
    }
    std::size_t done = 0;
    std::uint16_t offset = f.offset;
    for (std::uint32_t i = 0; i < slots; ++i) {
        const std::size_t left = f.bytes.size() - done;
        std::size_t size = std::min<std::size_t>(left, page_size - offset);
        if (i < f.cuts.size()) {
            size = std::min<std::size_t>(size, f.cuts[i]);
        }
        const std::uint16_t id = free_ids_.back();
        free_ids_.pop_back();
        tx_in_use_[id] = true;
        std::byte* const page = tx_page(id);
        if (size > 0) {
            std::memcpy(page + offset, f.bytes.data() + done, size);
        }
        guest_.regrant(tx_grants_[id], settings_.backend, page, true);
        done += size;
        std::uint16_t flags = i + 1 < slots ? netif::tx_flag::more_data : std::uint16_t{0};
        if (i == 0) {
            put_extras(f.extras, flags);
        }
        // The first has the size of the whole frame.
        tx_.put(
            netif::tx_request{.grant = static_cast<std::uint32_t>(tx_grants_[id]),
                              .offset = offset,
                              .flags = flags,
                              .id = id,
                              .size = static_cast<std::uint16_t>(i == 0 ? f.bytes.size() : size)});
        if (i == 0 && extras != 0) {
            extra_info gso{.type = static_cast<std::uint8_t>(extra::gso), .flags = 0, .body = {}};
            std::memcpy(gso.body, &f.extras.segment_size, sizeof f.extras.segment_size);
            gso.body[2] = f.extras.segments_ipv6 ? netif::gso_tcp_v6 : netif::gso_tcp_v4;
            tx_.put(gso);
        }
        offset = 0;
    }
    ++counts_.tx_frames;
    counts_.tx_bytes += f.bytes.size();
    counts_.tx_slots += slots + extras;
    return true;
}

bool netfront_queue::send_multicast(bool add, std::span<const std::uint8_t, 6> mac) noexcept
{
    if (!violation_.empty() || tx_.room() < 2 || free_ids_.empty()) {
        return false;
    }
    const std::uint16_t id = free_ids_.back();
    free_ids_.pop_back();
    tx_in_use_[id] = true;
    tx_.put(netif::tx_request{
        .grant = 0, .offset = 0, .flags = netif::tx_flag::extra_info, .id = id, .size = 0});
    extra_info message{
        .type = static_cast<std::uint8_t>(add ? extra::multicast_add : extra::multicast_del),
        .flags = 0,
        .body = {}};
    std::copy(mac.begin(), mac.end(), message.body);
    tx_.put(message);
    counts_.tx_slots += 2;
    return true;
}

void netfront_queue::publish_sent() noexcept
{
    if (tx_.publish()) {
        tell(*tx_channel_.end);
    }
}

void netfront_queue::reap() noexcept
{
    const std::uint32_t ready = tx_.ready();
    if (!violation_.empty() || ready > tx_.outstanding()) {
        violate("it answered more than was sent");
        return;
    }
    for (std::uint32_t i = 0; i < ready; ++i) {
        const auto answer = tx_.peek();
        tx_.drop(1);
        if (answer.status == netif::status::null) {
            continue; // of an extra info
        }
        if (answer.id >= ring_size || !tx_in_use_[answer.id]) {
            violate("it answered what was not sent");
            return;
        }
        tx_in_use_[answer.id] = false;
        if (!guest_.end(tx_grants_[answer.id])) {
            violate("it answered a frame whose page it still has in use");
            return;
        }
        free_ids_.push_back(answer.id);
        switch (answer.status) {
        case netif::status::okay:
            ++counts_.tx_okay;
            break;
        case netif::status::error:
            ++counts_.tx_error;
            break;
        case netif::status::dropped:
            ++counts_.tx_dropped;
            break;
        default:
            violate("it answered with a status that is none");
            return;
        }
    }
}

// ---- receiving ----

void netfront_queue::refill() noexcept
{
    if (!violation_.empty()) {
        return;
    }
    bool any = false;
    while (rx_.outstanding() < settings_.receive_buffers) {
        const auto id = static_cast<std::uint16_t>(rx_.producer() & (ring_size - 1));
        guest_.regrant(rx_grants_[id], settings_.backend, rx_pages_ + id * page_size);
        rx_.put(netif::rx_request{
            .id = id, .padding = 0, .grant = static_cast<std::uint32_t>(rx_grants_[id])});
        any = true;
    }
    if (any && rx_.publish()) {
        tell(rx_channel());
    }
}

bool netfront_queue::end_rx_grant(std::uint32_t at) noexcept
{
    if (!guest_.end(rx_grants_[at & (ring_size - 1)])) {
        violate("it delivered into a page that it still has in use");
        return false;
    }
    return true;
}

// The slots behind a frame's first. False: the back end broke the protocol.
bool netfront_queue::take_extras(received_frame& f, std::uint32_t ready,
                                 std::uint32_t& used) noexcept
{
    extra_info e{};
    do {
        if (used == ready) {
            violate("its receive ring ends inside a frame's extra info");
            return false;
        }
        e = rx_.peek<extra_info>(used);
        if (!end_rx_grant(rx_.consumer() + used)) {
            return false;
        }
        ++used;
        std::uint32_t value = 0;
        switch (static_cast<extra>(e.type)) {
        case extra::gso:
            std::memcpy(&f.extras.segment_size, e.body, sizeof f.extras.segment_size);
            f.extras.segments_ipv6 = e.body[2] == netif::gso_tcp_v6;
            if (f.extras.segment_size == 0 ||
                (e.body[2] != netif::gso_tcp_v4 && e.body[2] != netif::gso_tcp_v6)) {
                violate("it delivered a frame with a wrong segmentation type or size 0");
                return false;
            }
            break;
        case extra::xdp:
            std::memcpy(&f.headroom, e.body, sizeof f.headroom);
            break;
        case extra::hash:
            std::memcpy(&value, e.body + 2, sizeof value);
            f.hash_type = static_cast<std::uint8_t>(1U << (e.body[0] & 7U));
            f.hash = value;
            break;
        default:
            violate("it delivered an extra info of an unknown type");
            return false;
        }
    } while ((e.flags & netif::extra_more) != 0);
    return true;
}

bool netfront_queue::next_frame(received_frame& f) noexcept
{
    while (violation_.empty()) {
        const std::uint32_t ready = rx_.ready();
        if (ready > rx_.outstanding()) {
            violate("it delivered into more buffers than it was given");
        }
        if (ready == 0 || !violation_.empty()) {
            return false;
        }
        f = {};
        std::uint32_t used = 0;
        std::size_t size = 0;
        bool failed = false;
        std::span<const std::byte> only;
        std::uint16_t flags = 0;
        do {
            if (used == ready) {
                violate("its receive ring ends inside a frame");
                return false;
            }
            const std::uint32_t at = rx_.consumer() + used;
            const auto part = rx_.peek(used);
            ++used;
            flags = part.flags;
            if (part.id != (at & (ring_size - 1))) {
                violate("it answered receive requests out of order");
                return false;
            }
            if (!end_rx_grant(at)) {
                return false;
            }
            const std::size_t length = part.status < 0 ? 0 : static_cast<std::size_t>(part.status);
            if (part.offset + length > page_size || size + length > longest_frame) {
                violate("it delivered more than fits");
                return false;
            }
            failed = failed || part.status < 0;
            only = {rx_pages_ + (at & (ring_size - 1)) * page_size + part.offset, length};
            if (f.slots == 0) {
                f.extras.checksum_blank = (flags & netif::rx_flag::checksum_blank) != 0;
                f.extras.checksum_validated = (flags & netif::rx_flag::data_validated) != 0;
                if ((flags & netif::rx_flag::extra_info) != 0 && !take_extras(f, ready, used)) {
                    return false;
                }
            }
            if (f.slots > 0 || (flags & netif::rx_flag::more_data) != 0) {
                std::copy(only.begin(), only.end(),
                          assembled_.begin() + static_cast<std::ptrdiff_t>(size));
            }
            size += length;
            ++f.slots;
        } while ((flags & netif::rx_flag::more_data) != 0);
        rx_.drop(used);
        counts_.rx_slots += used;
        if (failed) {
            ++counts_.rx_errors;
            continue;
        }
        f.bytes = f.slots == 1 ? only : std::span<const std::byte>{assembled_}.first(size);
        ++counts_.rx_frames;
        counts_.rx_bytes += size;
        return true;
    }
    return false;
}

// ---- sleeping ----

bool netfront_queue::may_sleep() noexcept
{
    const bool sent = tx_.may_sleep();
    const bool received = rx_.may_sleep();
    return !violation_.empty() || (sent && received);
}

std::array<int, 2> netfront_queue::descriptors() const noexcept
{
    return {tx_channel_.end->descriptor(), rx_channel_.end ? rx_channel_.end->descriptor() : -1};
}

void netfront_queue::take_events() noexcept
{
    (void)tx_channel_.end->take();
    if (rx_channel_.end) {
        (void)rx_channel_.end->take();
    }
}

} // namespace strait::xen::simulated
