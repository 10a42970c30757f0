// SPDX-License-Identifier: BSD-3-Clause
// A hypervisor that only notes what is connected.
#pragma once

#include "vmm/fabric.hh"

#include <cstdint>
#include <map>
#include <mutex>

namespace strait::vmm::pci::test {

class test_fabric final : public fabric {
public:
    void connect_interrupt(int event, std::uint32_t interrupt) noexcept override
    {
        interrupts[interrupt] = event;
    }
    void disconnect_interrupt(int event, std::uint32_t interrupt) noexcept override
    {
        const auto found = interrupts.find(interrupt);
        wrong += found == interrupts.end() || found->second != event ? 1 : 0;
        interrupts.erase(interrupt);
    }
    [[nodiscard]] std::uint32_t add_message_interrupt() override { return next++; }
    void route(std::uint32_t interrupt, const message& m) noexcept override
    {
        routes[interrupt] = m;
    }
    void connect_address(std::uint64_t address, int event) noexcept override
    {
        addresses[address] = event;
    }
    void disconnect_address(std::uint64_t address, int event) noexcept override
    {
        const auto found = addresses.find(address);
        wrong += found == addresses.end() || found->second != event ? 1 : 0;
        addresses.erase(address);
    }

    std::uint32_t next{24};
    std::map<std::uint32_t, int> interrupts;
    std::map<std::uint32_t, message> routes;
    std::map<std::uint64_t, int> addresses;
    int wrong{0}; // disconnections of what was not connected
};

} // namespace strait::vmm::pci::test
