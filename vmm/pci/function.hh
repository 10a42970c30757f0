// SPDX-License-Identifier: BSD-3-Clause
// A PCI function: its configuration space of 256 bytes, with one memory BAR at most, and where its
// registers are. PCI Local Bus 3.0, chapter 6.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::vmm::pci {

struct identity {
    std::uint16_t vendor;
    std::uint16_t device;
    std::uint32_t class_code; // base, sub and programming interface: 24 bits
    std::uint8_t revision;
    std::uint16_t subsystem_vendor;
    std::uint16_t subsystem;
};

inline constexpr std::size_t config_bytes = 256;

// The bus (bus.hh) calls it, one call at a time.
class function {
public:
    // `bar_bytes` is a power of two of at least a page, or 0: no BAR.
    function(const identity& id, std::uint32_t bar_bytes) noexcept;
    virtual ~function() = default;
    function(const function&) = delete;
    function& operator=(const function&) = delete;

    // As firmware does: the BAR's address, aligned to its size, and memory accesses allowed.
    void place(std::uint32_t address);

    // 1, 2 or 4 bytes, aligned.
    virtual void read_config(std::size_t offset, std::span<std::byte> to) noexcept;
    virtual void write_config(std::size_t offset, std::span<const std::byte> from) noexcept;

    // 0: none, or the guest has switched memory accesses off.
    [[nodiscard]] std::uint32_t address() const noexcept { return address_; }
    [[nodiscard]] std::uint32_t bar_bytes() const noexcept { return bar_bytes_; }
    virtual void read_bar(std::uint32_t /*offset*/, std::span<std::byte> /*to*/) noexcept {}
    virtual void write_bar(std::uint32_t /*offset*/, std::span<const std::byte> /*from*/) noexcept
    {}

protected:
    // Appends a capability to the list: its id, then `body`. Returns its offset.
    std::uint8_t add_capability(std::uint8_t id, std::span<const std::byte> body) noexcept;
    void allow_writes(std::size_t offset, std::uint8_t mask) noexcept { writable_[offset] = mask; }
    template <typename T>
    [[nodiscard]] T config(std::size_t offset) const noexcept
    {
        T value{};
        for (std::size_t i = 0; i < sizeof(T); ++i) {
            value = static_cast<T>(
                value | static_cast<T>(std::to_integer<T>(space_[offset + i]) << (8 * i)));
        }
        return value;
    }
    // The BAR went to another address, or to none (0).
    virtual void moved(std::uint32_t /*from*/, std::uint32_t /*to*/) noexcept {}

private:
    template <typename T>
    void set(std::size_t offset, T value) noexcept
    {
        for (std::size_t i = 0; i < sizeof(T); ++i) {
            space_[offset + i] = static_cast<std::byte>(value >> (8 * i));
        }
    }
    void look_where() noexcept;

    std::array<std::byte, config_bytes> space_{};
    std::array<std::uint8_t, config_bytes> writable_{}; // bits the guest may write
    std::uint32_t bar_bytes_;
    std::uint32_t address_{0};
    std::uint8_t last_capability_{0};
    std::uint8_t free_{0x40}; // where the next capability goes
};

} // namespace strait::vmm::pci
