// SPDX-License-Identifier: BSD-3-Clause
// Which of a Xen guest's receive queues a packet goes to: as the guest asked through its control
// ring: Toeplitz, with its own key and table. (Else by dataplane/flow_hash.hh.)
#pragma once

#include "dataplane/packet.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace strait::xen {

// What the guest asked for. Immutable once a worker can see it.
class hash_config {
public:
    static constexpr std::size_t max_key = 40;      // bytes
    static constexpr std::size_t max_mapping = 128; // entries

    struct value {
        std::uint32_t hash{0};
        std::uint8_t type{0}; // one of netif::hash_type; 0: nothing to hash, or not asked for
    };

    // Of a packet's private head. Any thread.
    [[nodiscard]] value of(const dataplane::packet& p) const noexcept;
    // The queue, less than `queues`, for packets of that hash.
    [[nodiscard]] std::size_t queue(value v, std::size_t queues) const noexcept;

    // For the control ring, before it is published. Each is false, and nothing changed, where the
    // protocol does not allow it.
    [[nodiscard]] bool set_types(std::uint32_t types) noexcept;
    [[nodiscard]] bool set_key(std::span<const std::byte> key) noexcept;
    [[nodiscard]] bool set_mapping_size(std::uint32_t entries) noexcept;
    // Entries are queue numbers, each less than `queues`.
    [[nodiscard]] bool set_mapping(std::uint32_t first, std::span<const std::uint32_t> entries,
                                   std::size_t queues) noexcept;

    // For the store: hexadecimal digits of types, key and table, in this order.
    [[nodiscard]] std::string to_text() const;
    // Nothing where the text is none of to_text()'s, or names a queue that is not less than
    // `queues`.
    [[nodiscard]] static std::optional<hash_config> from_text(std::string_view text,
                                                              std::size_t queues);

private:
    std::uint32_t types_{0};
    std::array<std::uint8_t, max_key> key_{};
    std::uint32_t mapping_size_{0};
    std::array<std::uint8_t, max_mapping> mapping_{};
};

} // namespace strait::xen
