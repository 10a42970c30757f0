// SPDX-License-Identifier: BSD-3-Clause
// An end that is the far side of a wire: what it sends, the kernel receives at a tap interface, and
// a switch from there. One system call a frame, which is the kernel's price and not the switch's.
#pragma once

#include "bench/generator/endpoint.hh"
#include "dataplane/file_descriptor.hh"

#include <array>
#include <string>

namespace strait::bench {

class tap_endpoint final : public endpoint {
public:
    // Takes the interface up if it is there, and makes it else.
    tap_endpoint(std::size_t which, const options& settings);

    void attach(std::chrono::milliseconds patience) override;
    void expect_connected() override;
    unsigned transmit(unsigned most, std::uint64_t now) noexcept override;
    void drop_waiting() noexcept override;
    unsigned receive(std::uint64_t now) noexcept override;

private:
    std::string name_;
    dataplane::file_descriptor file_;
    std::uint16_t waiting_ = 0; // bytes of a frame that was refused, to be sent first; 0: none
    int fault_ = 0;             // the last error of the kernel's that is none of a full queue
    std::array<std::byte, largest_frame> sent_{};
    std::array<std::byte, largest_frame + 1> received_{};
};

} // namespace strait::bench
