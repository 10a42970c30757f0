// SPDX-License-Identifier: BSD-3-Clause
// Chains out of rings, and back.
#include "vmm/virtio/queue.hh"

#include "ports/vhost/kick.hh"

#include <algorithm>
#include <atomic>
#include <limits>

namespace strait::vmm::virtio {

namespace {

using dataplane::guest_span;

constexpr const char* ring_outside = "a ring lies outside the memory";
constexpr const char* readable_late = "a buffer to be read stands behind one to be written";
constexpr const char* chain_bytes = "a descriptor chain has 4 GiB or more";

vhost::ring_setup ring_of(const queue_setup& q, std::uint64_t features)
{
    vhost::ring_setup s;
    s.features = features;
    s.size = q.size;
    return s;
}

// Where the parts of a ring lie: VIRTIO 1.1, 2.6 and 2.7. False if one does not lie in the memory.
bool find_rings(const queue_setup& q, const vhost::guest_memory& memory, vhost::ring_setup& s)
{
    const std::uint64_t n = q.size;
    guest_span descriptors;
    guest_span driver;
    guest_span device;
    if (!memory.translate(q.descriptors, 16 * n, descriptors) ||
        !memory.translate(q.driver, s.packed() ? 4 : 6 + 2 * n, driver) ||
        !memory.translate(q.device, s.packed() ? 4 : 6 + 8 * n, device)) {
        return false;
    }
    if (s.packed()) {
        s.packed_descriptors = descriptors.array<vhost::packed_descriptor>(0);
        s.driver_event = driver.array<std::uint16_t>(0);
        s.device_event = device.array<std::uint16_t>(0);
    } else {
        s.split_descriptors = descriptors.array<vhost::split_descriptor>(0);
        s.available = driver.array<std::uint16_t>(0);
        s.used = device.array<std::uint16_t>(0);
        s.used_ring = device.array<vhost::used_element>(4);
        s.available_event = device.array<std::uint16_t>(4 + 8 * n);
    }
    return true;
}

} // namespace

void drop_front(std::span<guest_span>& parts, std::size_t bytes) noexcept
{
    while (!parts.empty() && bytes >= parts.front().size()) {
        bytes -= parts.front().size();
        parts = parts.subspan(1);
    }
    if (bytes != 0) {
        parts.front() = parts.front().subspan(bytes);
    }
}

bool chain::read(std::span<std::byte> to) noexcept
{
    if (to.size() > readable_bytes_) {
        return false;
    }
    readable_bytes_ -= static_cast<std::uint32_t>(to.size());
    while (!to.empty()) {
        const std::size_t size = std::min(to.size(), readable_.front().size());
        readable_.front().copy_out(to.data(), 0, size);
        to = to.subspan(size);
        drop_front(readable_, size);
    }
    return true;
}

bool chain::write(std::span<const std::byte> from) noexcept
{
    if (from.size() > writable_bytes_) {
        return false;
    }
    writable_bytes_ -= static_cast<std::uint32_t>(from.size());
    while (!from.empty()) {
        const std::size_t size = std::min(from.size(), writable_.front().size());
        writable_.front().copy_in(from.data(), 0, size);
        from = from.subspan(size);
        drop_front(writable_, size);
    }
    return true;
}

bool chain::take_last(guest_span& last) noexcept
{
    if (writable_bytes_ == 0) {
        return false;
    }
    guest_span& part = writable_.back();
    const std::size_t rest = part.size() - 1;
    last = part.subspan(rest, 1);
    part = part.subspan(0, rest);
    --writable_bytes_;
    if (rest == 0) {
        writable_ = writable_.first(writable_.size() - 1);
    }
    return true;
}

const char* misplaced(const queue_setup& setup, std::uint64_t features,
                      const vhost::guest_memory& memory) noexcept
{
    vhost::ring_setup s = ring_of(setup, features);
    return find_rings(setup, memory, s) ? nullptr : ring_outside;
}

queue::queue(const queue_setup& setup, std::uint64_t features,
             const vhost::guest_memory& memory) noexcept
    : memory_{memory}, call_{setup.call}
{
    vhost::ring_setup s = ring_of(setup, features);
    if (!find_rings(setup, memory, s)) {
        fault_ = ring_outside;
    } else if (s.packed()) {
        layout_.emplace<vhost::packed_layout>(s);
    } else {
        layout_.emplace<vhost::split_layout>(s);
    }
}

// Only while nothing is broken: then there is one.
template <typename Do>
auto queue::with_layout(Do&& what) noexcept
{
    if (auto* const packed = std::get_if<vhost::packed_layout>(&layout_)) {
        return what(*packed);
    }
    return what(*std::get_if<vhost::split_layout>(&layout_));
}

template <typename Layout>
bool queue::take(Layout& layout, chain& c) noexcept
{
    vhost::chain_head head;
    fault_ = layout.refresh();
    if (fault_ != nullptr || !layout.next(head, fault_)) {
        return false;
    }
    std::size_t count = 0;
    std::size_t readable = 0;
    bool writing = false;
    std::array<std::uint64_t, 2> bytes{};
    fault_ = layout.walk(head, memory_,
                         [&](std::uint64_t address, std::uint32_t length,
                             std::uint16_t flags) noexcept -> const char* {
                             const bool writable = (flags & vhost::descriptor_flag::write) != 0;
                             if (writing && !writable) {
                                 return readable_late;
                             }
                             writing = writable;
                             if (length == 0) {
                                 return nullptr;
                             }
                             if (!memory_.translate(address, length, parts_[count])) {
                                 return vhost::fault_text::address;
                             }
                             ++count;
                             readable += writable ? 0U : 1U;
                             bytes[writable ? 1 : 0] += length;
                             return bytes[0] + bytes[1] > std::numeric_limits<std::uint32_t>::max()
                                        ? chain_bytes
                                        : nullptr;
                         });
    if (fault_ != nullptr) {
        return false;
    }
    c.readable_ = std::span{parts_}.first(readable);
    c.writable_ = std::span{parts_}.subspan(readable, count - readable);
    c.readable_bytes_ = static_cast<std::uint32_t>(bytes[0]);
    c.writable_bytes_ = static_cast<std::uint32_t>(bytes[1]);
    c.done_ = {.length = 0, .id = head.id, .slots = head.slots};
    return true;
}

bool queue::next(chain& c) noexcept
{
    return fault_ == nullptr && with_layout([&](auto& layout) { return take(layout, c); });
}

void queue::complete(const chain& c, std::uint32_t written) noexcept
{
    if (fault_ != nullptr) {
        return;
    }
    vhost::completion done = c.done_;
    done.length = written;
    with_layout([&](auto& layout) {
        layout.complete({&done, 1});
        // The driver says what it wants to hear of, and then looks once more.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (layout.wants_interrupt()) {
            vhost::kick(call_);
        }
    });
}

bool queue::ask_for_kick() noexcept
{
    return fault_ != nullptr || with_layout([&](auto& layout) {
               layout.ask_for_kick();
               // The driver looks whether we ask after it made a chain available: one of us sees
               // the other.
               std::atomic_thread_fence(std::memory_order_seq_cst);
               // A fault is there, too: next() tells of it.
               return layout.refresh() == nullptr && layout.ready() == 0;
           });
}

void queue::decline_kicks() noexcept
{
    if (fault_ == nullptr) {
        with_layout([](auto& layout) { layout.decline_kicks(); });
    }
}

} // namespace strait::vmm::virtio
