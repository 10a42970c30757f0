// SPDX-License-Identifier: BSD-3-Clause
// Filters, and rings of copies.
#include "dataplane/tap.hh"

#include "dataplane/flow/extract.hh"
#include "dataplane/parse.hh"

#include <algorithm>
#include <new>

namespace strait::dataplane {

namespace {

constexpr std::uint16_t vid_mask = 0x0fff;

// Of a packet whose payload ends early, as what is left of an mbuf.
std::uint32_t bytes_there(const packet& p) noexcept
{
    if (p.remote != nullptr) {
        return p.length;
    }
    std::size_t there = p.head_length;
    for (const guest_span& s : std::span{p.segments, p.segment_count}) {
        there += s.size();
    }
    return static_cast<std::uint32_t>(std::min<std::size_t>(there, p.length));
}

} // namespace

vlan_id vlan_at(const packet& p, const port_config& at) noexcept
{
    if (at.vlan.port_mode == vlan_policy::mode::customer) {
        return at.vlan.native;
    }
    // Behind one tag that has but a priority, the next counts, as where packets are switched.
    for (std::size_t tag = ethernet_header;
         tag <= ethernet_header + tag_length && p.head_length >= tag + tag_length &&
         load<be16>(p.data + tag - 2) == at.vlan.tag_type;
         tag += tag_length) {
        const vlan_id vid{static_cast<std::uint16_t>(load<be16>(p.data + tag) & vid_mask)};
        if (vid != vlan_id{}) {
            return vid;
        }
    }
    return at.vlan.native;
}

bool tap_filter::wants(const packet& p, const port_config& at, const port_config* in) const noexcept
{
    if (vlans && !(*vlans)[vlan_at(p, at).value()]) {
        return false;
    }
    if (flows.empty()) {
        return true;
    }
    if (p.length < ethernet_header) {
        return false;
    }
    flow::key k;
    flow::header_layout where;
    (void)flow::extract(p, k, where);
    if (in != nullptr) {
        k.set(flow::field::in_port, in->number);
    }
    return std::ranges::any_of(flows, [&k](const flow::match& m) { return m.matches(k); });
}

tap_ring::tap_ring(std::size_t bytes)
    : size_{bytes}, memory_{new std::byte[bytes]()}, lost_{new counter[max_ports]}
{}

bool tap_ring::put(const packet& p, tap_record r, port_index at, std::uint32_t snaplen) noexcept
{
    r.length = p.length;
    r.captured = std::min(snaplen, bytes_there(p));
    r.at = at;
    const std::size_t need = room_for(r.captured);
    const std::size_t offset = head_ & (size_ - 1);
    const std::size_t to_end = size_ - offset;
    const std::size_t skip = need > to_end ? to_end : 0;
    if (head_ + skip + need - known_tail_ > size_) {
        known_tail_ = tail_.load(std::memory_order_acquire);
        if (head_ + skip + need - known_tail_ > size_) {
            lost_[to_index(at)].add(1);
            return false;
        }
    }
    std::byte* to = memory_.get() + offset;
    if (skip > 0) {
        std::memcpy(to, &skipped, sizeof skipped);
        to = memory_.get();
    }
    auto* const placed = ::new (to) tap_record{r};
    copy_frame(p, 0, placed + 1, r.captured);
    head_ += skip + need;
    published_head_.store(head_, std::memory_order_release);
    return true;
}

const tap_record* tap_ring::front() noexcept
{
    std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == published_head_.load(std::memory_order_acquire)) {
        return nullptr;
    }
    const std::byte* at = memory_.get() + (tail & (size_ - 1));
    std::uint64_t first = 0;
    std::memcpy(&first, at, sizeof first);
    if (first == skipped) { // what made it is behind it
        tail += size_ - (tail & (size_ - 1));
        tail_.store(tail, std::memory_order_release);
        at = memory_.get();
    }
    return std::launder(reinterpret_cast<const tap_record*>(at));
}

void tap_ring::pop() noexcept
{
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const auto* const r = reinterpret_cast<const tap_record*>(memory_.get() + (tail & (size_ - 1)));
    tail_.store(tail + room_for(r->captured), std::memory_order_release);
}

} // namespace strait::dataplane
