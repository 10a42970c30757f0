// SPDX-License-Identifier: BSD-3-Clause
// A function's MSI-X vectors: table, pending bits and masks as the guest sees them, and for each an
// eventfd that interrupts when it is signalled. A masked one is only disconnected: what it is
// signalled meanwhile stays in the eventfd, which is the pending bit, and interrupts when it is
// connected again. PCI Local Bus 3.0, 6.8.2.
#pragma once

#include "ports/error.hh"
#include "vmm/event.hh"
#include "vmm/fabric.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace strait::vmm::pci {

// Not thread-safe; the events are.
class message_vectors {
public:
    static constexpr std::size_t entry_bytes = 16;

    // `count` is 1 to 2048. `f` outlives it.
    [[nodiscard]] static ports::result<message_vectors> make(fabric& f, std::size_t count);
    message_vectors(message_vectors&&) noexcept = default;
    message_vectors& operator=(message_vectors&&) = delete;
    ~message_vectors();

    [[nodiscard]] std::size_t count() const noexcept { return entries_.size(); }
    [[nodiscard]] const event& at(std::size_t vector) const noexcept
    {
        return entries_[vector].signal;
    }

    // Of the capability's control word.
    void enable(bool enabled, bool all_masked) noexcept;

    // Within count() * entry_bytes; whole aligned words of 4 or 8 bytes, others do nothing.
    void read_table(std::size_t offset, std::span<std::byte> to) const noexcept;
    void write_table(std::size_t offset, std::span<const std::byte> from) noexcept;
    // Bytes of the array of pending bits; beyond its end zeros.
    void read_pending(std::size_t offset, std::span<std::byte> to) const noexcept;

private:
    struct entry {
        event signal;
        std::uint32_t interrupt;
        std::array<std::uint32_t, 4> words{0, 0, 0, 1}; // address, its upper half, data, mask
        bool connected{false};
    };

    explicit message_vectors(fabric& f) noexcept : fabric_{&f} {}
    void update(entry& v) noexcept;

    fabric* fabric_;
    std::vector<entry> entries_;
    bool enabled_{false};
    bool all_masked_{false};
};

} // namespace strait::vmm::pci
