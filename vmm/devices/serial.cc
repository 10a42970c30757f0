// SPDX-License-Identifier: BSD-3-Clause
// Registers of a 16550A.
#include "vmm/devices/serial.hh"

#include <algorithm>
#include <array>

namespace strait::vmm {

namespace {

enum reg : std::uint8_t {
    data = 0, // or the divisor's low byte
    interrupt_enable = 1,
    interrupt_identification = 2, // read; written it is the FIFO control
    line_control = 3,
    modem_control = 4,
    line_status = 5,
    modem_status = 6,
    scratch = 7,
};

// Interrupt enable; what each enables is identified by the other number, the most urgent first.
constexpr std::uint8_t enable_input = 1;
constexpr std::uint8_t enable_sent = 2;
constexpr std::uint8_t enable_line_status = 4;
constexpr std::uint8_t enable_modem_status = 8;
constexpr std::uint8_t identify_line_status = 6;
constexpr std::uint8_t identify_input = 4;
constexpr std::uint8_t identify_timeout = 12; // some input, and no more comes
constexpr std::uint8_t identify_sent = 2;
constexpr std::uint8_t identify_modem_status = 0;
constexpr std::uint8_t identify_nothing = 1;
constexpr std::uint8_t identify_fifos = 0xc0;

constexpr std::uint8_t fifo_on = 1;
constexpr std::uint8_t fifo_clear_input = 2;
constexpr std::uint8_t fifo_kept = 0xc9; // on, mode, trigger
constexpr std::array<std::size_t, 4> triggers = {1, 4, 8, 14};

constexpr std::uint8_t show_divisor = 0x80; // line control

// Modem control, and where its bits show in the modem status when looped back.
constexpr std::uint8_t ready_to_send = 2;
constexpr std::uint8_t loop_back = 0x10;
constexpr std::uint8_t modem_control_kept = 0x1f;

constexpr std::uint8_t status_input = 1; // line status
constexpr std::uint8_t status_overrun = 2;
constexpr std::uint8_t status_sent = 0x60;

constexpr std::uint8_t modem_there = 0xb0; // modem status: carrier, data set ready, clear to send
constexpr std::uint8_t modem_ring = 0x40;

} // namespace

bool serial::divisor_shown() const noexcept
{
    return (line_control_ & show_divisor) != 0;
}

bool serial::loops() const noexcept
{
    return (modem_control_ & loop_back) != 0;
}

std::size_t serial::fifo_depth() const noexcept
{
    return (fifo_control_ & fifo_on) != 0 ? 16 : 1;
}

std::size_t serial::receive(std::span<const std::byte> from) noexcept
{
    const std::scoped_lock lock{mutex_};
    const std::size_t taken = std::min(from.size(), input_bytes - waiting_.size());
    for (const std::byte b : from.first(taken)) {
        waiting_.push_back(std::to_integer<std::uint8_t>(b));
    }
    refill();
    update();
    return taken;
}

void serial::read(std::uint64_t offset, std::span<std::byte> to) noexcept
{
    const std::scoped_lock lock{mutex_};
    for (std::byte& b : to) {
        b = std::byte{read_port(offset++)};
    }
    update();
}

void serial::write(std::uint64_t offset, std::span<const std::byte> from) noexcept
{
    const std::scoped_lock lock{mutex_};
    for (const std::byte b : from) {
        write_port(offset++, std::to_integer<std::uint8_t>(b));
        update();
    }
}

std::uint8_t serial::read_port(std::uint64_t port) noexcept
{
    switch (port) {
    case data: {
        if (divisor_shown()) {
            return static_cast<std::uint8_t>(divisor_);
        }
        if (fifo_.empty()) {
            return 0;
        }
        const std::uint8_t first = fifo_.front();
        fifo_.pop_front();
        refill();
        return first;
    }
    case interrupt_enable:
        return divisor_shown() ? static_cast<std::uint8_t>(divisor_ >> 8) : interrupt_enable_;
    case interrupt_identification: {
        const std::uint8_t why = pending();
        if (why == identify_sent) {
            sent_ = false;
        }
        return (fifo_control_ & fifo_on) != 0 ? why | identify_fifos : why;
    }
    case line_control:
        return line_control_;
    case modem_control:
        return modem_control_;
    case line_status: {
        const auto status = static_cast<std::uint8_t>(
            status_sent | (fifo_.empty() ? 0U : status_input) | (overrun_ ? status_overrun : 0U));
        overrun_ = false;
        return status;
    }
    case modem_status: {
        const std::uint8_t status = modem_status_;
        modem_status_ &= 0xf0; // what has changed is told once
        return status;
    }
    default:
        return scratch_;
    }
}

void serial::write_port(std::uint64_t port, std::uint8_t value) noexcept
{
    switch (port) {
    case data:
        if (divisor_shown()) {
            divisor_ = static_cast<std::uint16_t>((divisor_ & 0xff00U) | value);
        } else {
            send(value);
        }
        break;
    case interrupt_enable:
        if (divisor_shown()) {
            divisor_ =
                static_cast<std::uint16_t>((divisor_ & 0xffU) | static_cast<unsigned>(value) << 8);
            break;
        }
        // Whoever asks to be told that there is room is told so at once: there is.
        sent_ = sent_ || (value & ~interrupt_enable_ & enable_sent) != 0;
        interrupt_enable_ = value & 0x0f;
        break;
    case interrupt_identification:
        control_fifos(value);
        break;
    case line_control:
        line_control_ = value;
        break;
    case modem_control:
        modem_control_ = value & modem_control_kept;
        look_at_modem();
        refill();
        break;
    case scratch:
        scratch_ = value;
        break;
    default:
        break; // statuses are for reading
    }
}

void serial::send(std::uint8_t byte) noexcept
{
    sent_ = true;
    if (!loops()) {
        output_(std::byte{byte});
    } else if (fifo_.size() < fifo_depth()) {
        fifo_.push_back(byte);
    } else {
        overrun_ = true;
    }
}

void serial::control_fifos(std::uint8_t value) noexcept
{
    if (((value ^ fifo_control_) & fifo_on) != 0 || (value & fifo_clear_input) != 0) {
        fifo_.clear();
    }
    // The other bits can be written only with this one.
    fifo_control_ = (value & fifo_on) != 0 ? value & fifo_kept : 0;
    refill();
}

// While the port hears itself, it hears nobody else.
void serial::refill() noexcept
{
    while (!loops() && !waiting_.empty() && fifo_.size() < fifo_depth()) {
        fifo_.push_back(waiting_.front());
        waiting_.pop_front();
    }
}

void serial::look_at_modem() noexcept
{
    std::uint8_t inputs = modem_there;
    if (loops()) {
        // DTR is seen as DSR, RTS as CTS, OUT1 as the ring, OUT2 as the carrier.
        const unsigned outputs = modem_control_;
        inputs = static_cast<std::uint8_t>((outputs & 1U) << 5 | (outputs & ready_to_send) << 3 |
                                           (outputs & 0x0cU) << 4);
    }
    // Of the ring, only its end is a change.
    const unsigned changed =
        (inputs ^ modem_status_) & (0xf0U & ~(inputs & static_cast<unsigned>(modem_ring)));
    modem_status_ = static_cast<std::uint8_t>(inputs | changed >> 4 | (modem_status_ & 0x0fU));
}

std::uint8_t serial::pending() const noexcept
{
    if ((interrupt_enable_ & enable_line_status) != 0 && overrun_) {
        return identify_line_status;
    }
    if ((interrupt_enable_ & enable_input) != 0 && !fifo_.empty()) {
        const std::size_t trigger = fifo_depth() == 1 ? 1 : triggers[fifo_control_ >> 6];
        return fifo_.size() >= trigger ? identify_input : identify_timeout;
    }
    if ((interrupt_enable_ & enable_sent) != 0 && sent_) {
        return identify_sent;
    }
    if ((interrupt_enable_ & enable_modem_status) != 0 && (modem_status_ & 0x0f) != 0) {
        return identify_modem_status;
    }
    return identify_nothing;
}

// The line is an edge: it tells of the first reason, and the driver looks until there is none.
void serial::update() noexcept
{
    const bool now = pending() != identify_nothing;
    if (now && !line_) {
        interrupt_.signal();
    }
    line_ = now;
}

} // namespace strait::vmm
