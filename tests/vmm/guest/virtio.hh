// SPDX-License-Identifier: BSD-3-Clause
// A virtio device of any type behind PCI (VIRTIO 1.1 section 4.1): status, features, queues, MSI-X
// vectors, the device's configuration.
#pragma once

#include "tests/vmm/guest/cpu.hh"
#include "tests/vmm/guest/pci.hh"
#include "tests/vmm/guest/ring.hh"

#include <array>
#include <cstdint>

namespace strait::guest {

namespace device_status {
inline constexpr std::uint8_t acknowledge = 1;
inline constexpr std::uint8_t driver = 2;
inline constexpr std::uint8_t driver_ok = 4;
inline constexpr std::uint8_t features_ok = 8;
inline constexpr std::uint8_t needs_reset = 64;
inline constexpr std::uint8_t failed = 128;
} // namespace device_status

class virtio_device {
public:
    static constexpr std::uint16_t network = 1;

    // Finds the structures in BARs and has the function be bus master. Panics if any is missing.
    explicit virtio_device(pci::function f) noexcept;

    // 0: no virtio device, or one of before VIRTIO 1.0.
    [[nodiscard]] static std::uint16_t type_of(pci::function f) noexcept;

    [[nodiscard]] pci::function where() const noexcept { return function_; }
    [[nodiscard]] std::uint8_t status() const noexcept;
    void add_status(std::uint8_t bits) noexcept;
    // False: the status had not become 0 after 5 s.
    [[nodiscard]] bool reset() noexcept;

    [[nodiscard]] std::uint64_t offered() noexcept;
    // Status up to FEATURES_OK; false: the device does not take them.
    [[nodiscard]] bool negotiate(std::uint64_t features) noexcept;

    [[nodiscard]] std::uint16_t queues() const noexcept;
    [[nodiscard]] std::uint16_t max_size(std::uint16_t queue) noexcept;

    // MSI-X on, each of its vectors an interrupt vector of the CPU's; returns how many. 0: there is
    // no MSI-X.
    unsigned use_messages() noexcept;
    [[nodiscard]] static std::uint8_t cpu_vector(std::uint16_t message) noexcept
    {
        return static_cast<std::uint8_t>(vector::first_message + message % vector::messages);
    }
    static constexpr std::uint16_t no_message = 0xffff;
    // For changes of the configuration. False: the device has not taken it. So below.
    [[nodiscard]] bool set_config_message(std::uint16_t message) noexcept;

    // Enables it. `notify` is where the queue's index is to be written.
    [[nodiscard]] bool start(std::uint16_t queue, std::uint16_t size, const virtqueue::places& at,
                             std::uint16_t message, std::uint64_t& notify) noexcept;

    [[nodiscard]] std::uint8_t config_generation() const noexcept;
    template <typename T>
    [[nodiscard]] T config(std::uint32_t offset) const noexcept
    {
        return load<T>(device_ + offset);
    }

    // For who accesses it without rules.
    [[nodiscard]] const std::array<pci::bar, 6>& bars() const noexcept { return bars_; }
    struct area {
        std::uint64_t address; // guest-physical
        std::uint64_t length;
    };
    [[nodiscard]] area message_table() const noexcept { return table_; }

private:
    [[nodiscard]] std::uint64_t place(std::uint8_t bar, std::uint32_t offset) const noexcept;

    pci::function function_;
    std::array<pci::bar, 6> bars_;
    std::uint64_t common_{0};
    std::uint64_t notify_{0};
    std::uint32_t notify_multiplier_{0};
    std::uint64_t device_{0};
    std::uint8_t msix_{0}; // the capability
    area table_{0, 0};
};

} // namespace strait::guest
