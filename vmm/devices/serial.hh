// SPDX-License-Identifier: BSD-3-Clause
// A serial port: a 16550A (National Semiconductor's PC16550D data sheet) as far as drivers use it,
// Linux's 8250 above all. Time does not pass in it: what is sent is gone at once, and speed, parity
// and line breaks mean nothing. Where its bytes go and come from is console.hh's.
#pragma once

#include "vmm/bus.hh"
#include "vmm/event.hh"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <utility>

namespace strait::vmm {

class serial final : public io_device {
public:
    static constexpr std::size_t ports = 8;
    static constexpr std::size_t input_bytes = 4096; // that wait behind the FIFO

    // Each time that the port begins to want something, it signals `interrupt`. `output` has what
    // the guest sends: called by vCPUs' threads, one at a time, and must not wait. Both outlive the
    // port.
    serial(const event& interrupt, std::function<void(std::byte)> output)
        : interrupt_{interrupt}, output_{std::move(output)}
    {}

    // Takes input for the guest, as much as there is room for, and says how many bytes. Any thread.
    [[nodiscard]] std::size_t receive(std::span<const std::byte> from) noexcept;

    // An access of several bytes is one of so many ports.
    void read(std::uint64_t offset, std::span<std::byte> to) noexcept override;
    void write(std::uint64_t offset, std::span<const std::byte> from) noexcept override;

private:
    [[nodiscard]] std::uint8_t read_port(std::uint64_t port) noexcept;
    void write_port(std::uint64_t port, std::uint8_t value) noexcept;
    void send(std::uint8_t byte) noexcept;
    void control_fifos(std::uint8_t value) noexcept;
    void refill() noexcept;
    void look_at_modem() noexcept;
    [[nodiscard]] std::uint8_t pending() const noexcept;
    void update() noexcept;

    [[nodiscard]] bool divisor_shown() const noexcept;
    [[nodiscard]] bool loops() const noexcept;
    [[nodiscard]] std::size_t fifo_depth() const noexcept;

    const event& interrupt_;
    std::function<void(std::byte)> output_;

    std::mutex mutex_; // what is below
    std::deque<std::uint8_t> fifo_;
    std::deque<std::uint8_t> waiting_;
    std::uint16_t divisor_{12}; // 9600 bits a second
    std::uint8_t interrupt_enable_{0};
    std::uint8_t fifo_control_{0};
    std::uint8_t line_control_{0};
    std::uint8_t modem_control_{0};
    std::uint8_t modem_status_{0xb0}; // somebody is there, and ready
    std::uint8_t scratch_{0};
    bool overrun_{false};
    bool sent_{false}; // and the guest was not told yet
    bool line_{false}; // the interrupt's
};

} // namespace strait::vmm
