// SPDX-License-Identifier: BSD-3-Clause
// The device's side of one virtqueue, split or packed, for devices that take one chain at a time:
// block, entropy, the network device's control queue. Rings are walked by ports/vhost's layouts;
// where the device's work is done is queue_server.hh's.
#pragma once

#include "dataplane/guest_span.hh"
#include "ports/vhost/memory.hh"
#include "ports/vhost/packed_layout.hh"
#include "ports/vhost/split_layout.hh"
#include "ports/vhost/virtio.hh"
#include "vmm/virtio/device.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

namespace strait::vmm::virtio {

// What a queue can do, for its device to offer.
inline constexpr std::uint64_t queue_features = std::uint64_t{1} << vhost::feature::indirect |
                                                std::uint64_t{1} << vhost::feature::event_index |
                                                std::uint64_t{1} << vhost::feature::ring_packed;

// Leaves out the first bytes of a list of parts, which has as many.
void drop_front(std::span<dataplane::guest_span>& parts, std::size_t bytes) noexcept;

// A chain of descriptors: what the device reads, then what it writes (VIRTIO 1.1, 2.6.4.2), each as
// if it were in one piece. Parts are never empty. Valid until the queue's next().
class chain {
public:
    // What is left of either.
    [[nodiscard]] std::span<dataplane::guest_span> readable() const noexcept { return readable_; }
    [[nodiscard]] std::span<dataplane::guest_span> writable() const noexcept { return writable_; }
    [[nodiscard]] std::uint32_t readable_bytes() const noexcept { return readable_bytes_; }
    [[nodiscard]] std::uint32_t writable_bytes() const noexcept { return writable_bytes_; }

    // Copies the first bytes that are left to be read, and leaves them out from then on. False, and
    // nothing happened, if there are not as many.
    [[nodiscard]] bool read(std::span<std::byte> to) noexcept;
    // The same where they are to be written.
    [[nodiscard]] bool write(std::span<const std::byte> from) noexcept;
    // Leaves out the last byte that is to be written, and fills `last` with it. False if there is
    // none.
    [[nodiscard]] bool take_last(dataplane::guest_span& last) noexcept;

private:
    friend class queue;

    std::span<dataplane::guest_span> readable_;
    std::span<dataplane::guest_span> writable_;
    std::uint32_t readable_bytes_{0};
    std::uint32_t writable_bytes_{0};
    vhost::completion done_{};
};

// Why a queue cannot be used where the guest placed it, a sentence's end; null if it can.
[[nodiscard]] const char* misplaced(const queue_setup& setup, std::uint64_t features,
                                    const vhost::guest_memory& memory) noexcept;

// Used by one thread at a time.
class queue {
public:
    // An enabled queue. What `setup` names of memory and descriptors outlives it. It is broken from
    // the start if a ring lies outside the memory. The driver is not asked to kick.
    queue(const queue_setup& setup, std::uint64_t features,
          const vhost::guest_memory& memory) noexcept;
    queue(const queue&) = delete;
    queue& operator=(const queue&) = delete;

    // The next chain that the driver has made available, of at most 288 descriptors and less than
    // 4 GiB. False: none is there, or the queue is broken.
    [[nodiscard]] bool next(chain& c) noexcept;
    // Returns the chain that next() gave last, whose first `written` writable bytes were written,
    // and tells the driver if it wants to hear of it.
    void complete(const chain& c, std::uint32_t written) noexcept;

    // For who is about to wait: the driver is to kick when it makes a chain available. False: one
    // is there already.
    [[nodiscard]] bool ask_for_kick() noexcept;
    // For who looks by himself.
    void decline_kicks() noexcept;

    // How the guest broke the protocol: a sentence's end, for ever; null while it did not. A broken
    // queue has no chains, and returns none.
    [[nodiscard]] const char* fault() const noexcept { return fault_; }
    // What is in a chain breaks the device's own protocol.
    void fail(const char* why) noexcept { fault_ = why; }

private:
    template <typename Layout>
    [[nodiscard]] bool take(Layout& layout, chain& c) noexcept;
    template <typename Do>
    auto with_layout(Do&& what) noexcept;

    const vhost::guest_memory& memory_;
    int call_;
    const char* fault_{nullptr};
    std::variant<std::monostate, vhost::split_layout, vhost::packed_layout> layout_;
    std::array<dataplane::guest_span, vhost::max_chain> parts_; // of the last chain
};

} // namespace strait::vmm::virtio
