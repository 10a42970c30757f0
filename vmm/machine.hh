// SPDX-License-Identifier: BSD-3-Clause
// A virtual machine put together: RAM, KVM, vCPUs, devices, from a configuration and what was
// opened for it. One run of a guest, from its first instruction to its end; a guest that begins
// anew is a new machine.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"
#include "vmm/bus.hh"
#include "vmm/config.hh"
#include "vmm/device_thread.hh"
#include "vmm/devices/power.hh"
#include "vmm/devices/serial.hh"
#include "vmm/event.hh"
#include "vmm/guest_end.hh"
#include "vmm/kvm.hh"
#include "vmm/memory.hh"
#include "vmm/pci/bus.hh"
#include "vmm/vcpu.hh"
#include "vmm/virtio/block.hh"
#include "vmm/virtio/net.hh"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace strait::vmm {

// What has to be opened while the process still may; it outlives all machines made of it.
struct resources {
    dataplane::file_descriptor kvm;
    dataplane::file_descriptor kernel;
    std::optional<dataplane::file_descriptor> initrd;
    std::vector<virtio::disk> disks;
    dataplane::file_descriptor console; // its file, if it is one

    // An error names the file, and what is wrong with it.
    [[nodiscard]] static ports::result<resources> open(const config& c);
};

// What a machine is surrounded by. The functions are called by any thread and must not wait.
struct machine_hooks {
    std::function<void(std::byte)> console; // what the guest writes to its serial port
    std::function<void(guest_end)> ended;   // once, as a rule; what comes second means nothing
    // Run first by each thread of the kind: what it may do from then on. With an error there is no
    // machine.
    std::function<ports::result<void>()> device_thread{};
    std::function<ports::result<void>()> vcpu_thread{};
};

// Stages of a start, each with the moment it was reached.
struct boot_times {
    using clock = std::chrono::steady_clock;
    clock::time_point made{};         // RAM and KVM
    clock::time_point loaded{};       // the kernel lies in RAM
    clock::time_point running{};      // the first vCPU begins
    std::atomic<clock::rep> spoke{0}; // since the clock's epoch: the first byte on the console
};

// Calls come from the main thread.
class machine {
public:
    [[nodiscard]] static ports::result<std::unique_ptr<machine>> make(const config& c, resources& r,
                                                                      machine_hooks hooks);
    machine(const machine&) = delete;
    machine& operator=(const machine&) = delete;
    ~machine() = default; // ends all of its threads

    // Lets the guest run. An error: it has not.
    [[nodiscard]] ports::result<void> start();
    void pause();
    void resume();
    [[nodiscard]] bool paused() const noexcept { return paused_; }
    // Asks the guest to switch itself off.
    void press_power_button() noexcept { power_.press_button(); }
    void remind_of_power_button() const noexcept { power_.remind(); }
    // Whether the guest has heard of it.
    [[nodiscard]] bool power_button_seen() const noexcept { return power_.is_seen(); }
    // Input for its console: how much of it there was room for.
    [[nodiscard]] std::size_t type(std::span<const std::byte> input) noexcept
    {
        return serial_.receive(input);
    }

    [[nodiscard]] const boot_times& times() const noexcept { return times_; }
    [[nodiscard]] std::uint64_t exits(exit_reason reason) const noexcept;
    [[nodiscard]] std::span<virtio::net* const> nets() const noexcept { return nets_; }

private:
    machine(const config& c, machine_hooks hooks, memory ram, std::unique_ptr<kvm> k,
            event serial_interrupt, event power_interrupt);
    [[nodiscard]] ports::result<void> add_devices(resources& r);
    [[nodiscard]] ports::result<void> add(std::string name, std::unique_ptr<virtio::device> d);
    [[nodiscard]] ports::result<void> add_cpus(const boot::entry& begin);
    [[nodiscard]] ports::result<void> prepare_vcpu(unsigned id) const;

    const config& config_;
    machine_hooks hooks_;
    boot_times times_;
    memory ram_;
    std::unique_ptr<kvm> kvm_;
    event serial_interrupt_;
    event power_interrupt_;
    serial serial_;
    power power_;
    keyboard_controller keyboard_;
    thread_begin device_threads_;
    pci::bus pci_;
    bus ports_;
    bus addresses_;
    std::vector<virtio::net*> nets_;          // of pci_
    std::vector<std::unique_ptr<vcpu>> cpus_; // last: they use all of it
    bool paused_{false};
};

} // namespace strait::vmm
