// SPDX-License-Identifier: BSD-3-Clause
// An end that is a Xen guest's network device, on the simulated hypervisor: the guest's pages are
// shared memory, and a frame is copied into one of them, as its driver's stack would have written
// it there.
#pragma once

#include "bench/generator/endpoint.hh"
#include "ports/xen-netback/simulated/netfront.hh"

#include <array>
#include <memory>
#include <optional>
#include <string>

namespace strait::bench {

class xen_endpoint final : public endpoint {
public:
    // Becomes the guest, whose domain and device 0 the tool stack has made.
    xen_endpoint(std::size_t which, const options& settings);

    // Waits until the switch has connected the device.
    void attach(std::chrono::milliseconds patience) override;
    void expect_connected() override;
    unsigned transmit(unsigned most, std::uint64_t now) noexcept override;
    unsigned receive(std::uint64_t now) noexcept override;

private:
    [[noreturn]] void fail(const std::string& what) const;

    std::string place_;
    std::unique_ptr<xen::simulated::simulated_guest> guest_;
    std::optional<xen::simulated::netfront> device_;
    xen::simulated::frame_extras extras_; // of each frame sent
    std::array<std::byte, largest_segmented> sent_{};
};

} // namespace strait::bench
