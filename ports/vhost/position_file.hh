// SPDX-License-Identifier: BSD-3-Clause
// Where a packed ring stood, in a small file that outlives the process: after a SIGKILL nobody else
// knows, for neither the ring nor the VMM says. The worker writes a word before and after each
// publication; whoever attaches the ring again checks it against the descriptors before it is
// believed. Split rings need none of this: their used index is in guest memory.
#pragma once

#include "dataplane/guest_span.hh"
#include "ports/error.hh"
#include "ports/vhost/virtio.hh"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace strait::vhost {

// A place in a packed ring: descriptor index and the wrap counter of the lap it is in.
struct packed_place {
    std::uint16_t index{0}; // 0 to 32767
    bool wrap{true};

    // As the vhost-user protocol writes it: bit 15 is the wrap counter.
    [[nodiscard]] std::uint16_t encoded() const noexcept
    {
        return static_cast<std::uint16_t>(index | (wrap ? 0x8000U : 0U));
    }
    [[nodiscard]] static packed_place decoded(std::uint16_t value) noexcept
    {
        return {static_cast<std::uint16_t>(value & 0x7fffU), (value & 0x8000U) != 0};
    }
    bool operator==(const packed_place&) const noexcept = default;
};

// One ring's place, in the file's mapping. One thread writes.
class ring_position {
public:
    // Around each publication of used descriptors, by the worker: announce() before the store that
    // makes the first of them visible to the guest, confirm() after it. `next` is where the next
    // used descriptor will be written, `last` where the last one of this publication is.
    void announce(packed_place next, packed_place last) noexcept
    {
        announced_.store(encode(next, last), std::memory_order_release);
        // The store that publishes stays behind this one.
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    void confirm() noexcept
    {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        confirmed_.store(announced_.load(std::memory_order_relaxed), std::memory_order_release);
    }

    // Control side. What a ring is known by: where it lies, how large it is, whose memory it is in.
    struct identity {
        std::uint64_t memory;
        std::uint64_t descriptors; // guest physical
        std::uint32_t size;
        bool operator==(const identity&) const noexcept = default;
    };
    // A copy of the descriptor at an index below the ring's size, as it is now.
    using descriptor_reader = std::function<packed_descriptor(std::uint16_t)>;

    // Where the ring stands, if this is that ring and its descriptors agree.
    [[nodiscard]] std::optional<packed_place> recover(const identity& ring,
                                                      const descriptor_reader& read) const;
    // The ring is about to be served from `start` on. What was recovered for it stays; otherwise
    // nothing is believed before the first confirm().
    void begin(const identity& ring, packed_place start) noexcept;
    // As last confirmed; only to be shown.
    [[nodiscard]] packed_place place() const noexcept
    {
        return packed_place::decoded(
            static_cast<std::uint16_t>(confirmed_.load(std::memory_order_relaxed)));
    }
    // The front end was told the position, or the guest made a new ring.
    void forget() noexcept;

private:
    static constexpr std::uint64_t known = std::uint64_t{1} << 32;
    static constexpr std::uint64_t has_last = std::uint64_t{1} << 33;

    // One word, so that a kill never leaves half of it.
    [[nodiscard]] static std::uint64_t encode(packed_place next, packed_place last) noexcept
    {
        return known | has_last | next.encoded() | (std::uint64_t{last.encoded()} << 16);
    }

    // All of it fits one cache line.
    std::atomic<std::uint64_t> announced_{0}; // 0: nothing known
    std::atomic<std::uint64_t> confirmed_{0};
    std::atomic<std::uint64_t> memory_{0};
    std::atomic<std::uint64_t> descriptors_{0};
    std::atomic<std::uint32_t> size_{0};
    [[maybe_unused]] std::uint32_t padding_[7]{};
};
static_assert(sizeof(ring_position) == 64);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// The file of one port: as many rings as a port can have. Mapped shared, so that what was stored is
// there when the process is not. Not synced: after a restart of the host its guests are gone too.
class position_file {
public:
    static constexpr std::size_t ring_count = 32;

    // Opens or creates DIR/PORT.rings. What a switch from before ports had several queue pairs left
    // there is kept; a file of another layout is made anew. Control threads only.
    [[nodiscard]] static ports::result<position_file> open(const std::string& dir,
                                                           const std::string& port);
    static void remove(const std::string& dir, const std::string& port) noexcept;
    // Has the file of one port be that of another name, too, in place of what has that. Whoever
    // opens either of them afterwards ends that: it is his alone. Control threads only.
    [[nodiscard]] static ports::result<void> link(const std::string& dir, const std::string& port,
                                                  const std::string& also);
    position_file() noexcept = default;
    position_file(position_file&& other) noexcept;
    position_file& operator=(position_file&& other) noexcept;
    ~position_file();

    // index: 0 to ring_count - 1. Null when no file is open.
    [[nodiscard]] ring_position* ring(std::size_t index) const noexcept;
    // The file was cut off: what it held is gone, and what is written since goes with the process.
    [[nodiscard]] bool lost() const noexcept;

private:
    struct contents;
    contents* contents_{nullptr};
    std::unique_ptr<std::atomic<bool>> lost_;
    dataplane::guest_range_registration guard_;
};

} // namespace strait::vhost
