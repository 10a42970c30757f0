// SPDX-License-Identifier: BSD-3-Clause
// What devices need of the hypervisor to be heard and to hear without an exit of a vCPU: eventfds
// that raise interrupts and that are written by the guest's stores. KVM's is in kvm.hh; tests have
// their own.
#pragma once

#include <cstdint>

namespace strait::vmm {

// A message-signalled interrupt as a PCI device sends it.
struct message {
    std::uint64_t address{0};
    std::uint32_t data{0};
    bool operator==(const message&) const noexcept = default;
};

// Any thread. What fails is logged: a guest goes on without, as one whose hardware is broken.
class fabric {
public:
    virtual ~fabric() = default;

    // From now on, until disconnected, a signal of the eventfd raises the global interrupt; one
    // that is pending does so at once.
    virtual void connect_interrupt(int event, std::uint32_t interrupt) noexcept = 0;
    virtual void disconnect_interrupt(int event, std::uint32_t interrupt) noexcept = 0;
    // The number of a new interrupt that sends a message; none yet.
    [[nodiscard]] virtual std::uint32_t add_message_interrupt() = 0;
    virtual void route(std::uint32_t interrupt, const message& m) noexcept = 0;

    // A write of the guest, of any size, at the address signals the eventfd and goes no further.
    virtual void connect_address(std::uint64_t address, int event) noexcept = 0;
    virtual void disconnect_address(std::uint64_t address, int event) noexcept = 0;
};

} // namespace strait::vmm
