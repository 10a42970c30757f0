// SPDX-License-Identifier: BSD-3-Clause
// /dev/kvm: one virtual machine with interrupt controllers in the kernel, and what of it is
// connected to eventfds. The vCPUs are in vcpu.hh. Source: Linux's Documentation/virt/kvm/api.rst.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"
#include "vmm/fabric.hh"
#include "vmm/memory.hh"

#include <cstdint>
#include <mutex>
#include <vector>

#include <linux/kvm.h>

namespace strait::vmm {

class kvm final : public fabric {
public:
    // Opens /dev/kvm (`device`, if it is open already) and makes a machine of this memory, which
    // outlives it. Errors say what is missing: the device, the right to it, a kernel's feature.
    [[nodiscard]] static ports::result<kvm> make(int device, const memory& ram);
    [[nodiscard]] static ports::result<dataplane::file_descriptor> open_device();

    kvm(kvm&& other) noexcept;

    [[nodiscard]] int fd() const noexcept { return machine_.get(); }
    // Features of CPUs that guests can have.
    [[nodiscard]] const std::vector<kvm_cpuid_entry2>& cpu_features() const noexcept
    {
        return cpuid_;
    }
    [[nodiscard]] std::size_t run_size() const noexcept { return run_size_; }

    void connect_interrupt(int event, std::uint32_t interrupt) noexcept override;
    void disconnect_interrupt(int event, std::uint32_t interrupt) noexcept override;
    [[nodiscard]] std::uint32_t add_message_interrupt() override;
    void route(std::uint32_t interrupt, const message& m) noexcept override;
    void connect_address(std::uint64_t address, int event) noexcept override;
    void disconnect_address(std::uint64_t address, int event) noexcept override;

private:
    kvm() = default;

    dataplane::file_descriptor machine_;
    std::vector<kvm_cpuid_entry2> cpuid_;
    std::size_t run_size_{0};
    std::mutex routes_mutex_;
    std::vector<message> messages_; // by interrupt, from platform::first_message_interrupt
};

} // namespace strait::vmm
