// SPDX-License-Identifier: BSD-3-Clause
// Where an access of the guest to an I/O port or to an address that is no RAM goes: to the device
// that has the range, or to nobody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace strait::vmm {

// What a device shows of itself. Called by any vCPU's thread, by several at a time. Accesses have
// 1, 2, 4 or 8 bytes and lie within the range; everything else about them is the guest's choice.
class io_device {
public:
    virtual ~io_device() = default;

    virtual void read(std::uint64_t offset, std::span<std::byte> to) noexcept = 0;
    virtual void write(std::uint64_t offset, std::span<const std::byte> from) noexcept = 0;
};

// Filled before the guest runs, constant from then on.
class bus {
public:
    // The ranges do not overlap: which there are is our own choice. The device outlives the bus.
    void add(std::uint64_t base, std::uint64_t size, io_device& device);

    // Nobody there, or an access that runs over a range's end: reads give ones and writes nothing,
    // as on a PC. False then.
    bool read(std::uint64_t address, std::span<std::byte> to) const noexcept;
    bool write(std::uint64_t address, std::span<const std::byte> from) const noexcept;

private:
    struct range {
        std::uint64_t base;
        std::uint64_t size;
        io_device* device;
    };
    [[nodiscard]] const range* find(std::uint64_t address, std::size_t size) const noexcept;

    std::vector<range> ranges_; // by base
};

} // namespace strait::vmm
