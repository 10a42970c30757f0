// SPDX-License-Identifier: BSD-3-Clause
// How the machine is switched off and started anew: ACPI's sleep registers and power button (ACPI
// 6.3, 4.8.3.7, and a general-purpose event of our own), and the keyboard controller's reset. The
// ports are platform.hh's.
#pragma once

#include "vmm/bus.hh"
#include "vmm/event.hh"

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

namespace strait::vmm {

// platform::power_ports ports.
class power final : public io_device {
public:
    // `interrupt` is platform::event_interrupt's, and outlives this. `off` is called each time that
    // the guest switches itself off, by a vCPU's thread, and must not wait.
    power(const event& interrupt, std::function<void()> off)
        : interrupt_{interrupt}, off_{std::move(off)}
    {}

    // The operator asks the guest to switch itself off. Any thread.
    void press_button() noexcept;
    // Interrupts again if the guest has not looked since: what comes while its interrupt is masked,
    // as before its driver is there, is lost. Any thread.
    void remind() const noexcept;
    // Whether the guest has looked since it was pressed. Any thread.
    [[nodiscard]] bool is_seen() const noexcept
    {
        return events_.load(std::memory_order_relaxed) == 0;
    }

    void read(std::uint64_t offset, std::span<std::byte> to) noexcept override;
    void write(std::uint64_t offset, std::span<const std::byte> from) noexcept override;

private:
    const event& interrupt_;
    std::function<void()> off_;
    std::atomic<std::uint8_t> events_{0};
};

// One port, platform::keyboard_command. There is no keyboard: to a driver that looks, nothing has
// come, and a command can be written, which Linux waits for before it resets.
class keyboard_controller final : public io_device {
public:
    // `reset` is called each time that the guest asks for it, by a vCPU's thread, and must not
    // wait.
    explicit keyboard_controller(std::function<void()> reset) : reset_{std::move(reset)} {}

    void read(std::uint64_t offset, std::span<std::byte> to) noexcept override;
    void write(std::uint64_t offset, std::span<const std::byte> from) noexcept override;

private:
    std::function<void()> reset_;
};

} // namespace strait::vmm
