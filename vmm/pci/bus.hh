// SPDX-License-Identifier: BSD-3-Clause
// The PCI bus: configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2) and the window of addresses
// that its functions' registers lie in.
#pragma once

#include "vmm/bus.hh"
#include "vmm/pci/function.hh"

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace strait::vmm::pci {

inline constexpr std::size_t max_functions = 32; // one a device number, the host bridge among them

class bus {
public:
    bus(); // has the host bridge
    bus(const bus&) = delete;
    bus& operator=(const bus&) = delete;

    // Before the guest runs, fewer than max_functions times. Places its BAR.
    void add(std::unique_ptr<function> f);

    // Both ends of it on the buses that vCPUs see. This outlives them.
    void connect(vmm::bus& ports, vmm::bus& addresses);

private:
    // The two I/O ports of 4 bytes.
    class configuration : public io_device {
    public:
        explicit configuration(bus& owner) noexcept : bus_{owner} {}
        void read(std::uint64_t offset, std::span<std::byte> to) noexcept override;
        void write(std::uint64_t offset, std::span<const std::byte> from) noexcept override;

    private:
        bus& bus_;
    };
    class window : public io_device {
    public:
        explicit window(bus& owner) noexcept : bus_{owner} {}
        void read(std::uint64_t offset, std::span<std::byte> to) noexcept override;
        void write(std::uint64_t offset, std::span<const std::byte> from) noexcept override;

    private:
        bus& bus_;
    };

    // What the address register selects; null: nothing.
    [[nodiscard]] function* selected() const noexcept;
    // Whose registers are at an address; null: nobody's.
    [[nodiscard]] function* at(std::uint64_t address, std::size_t size) const noexcept;

    std::mutex mutex_; // of all functions, too: none is accessed on a data path
    std::uint32_t address_{0};
    std::uint32_t free_; // of the window
    std::vector<std::unique_ptr<function>> functions_;
    configuration configuration_{*this};
    window window_{*this};
};

} // namespace strait::vmm::pci
