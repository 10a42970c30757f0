// SPDX-License-Identifier: BSD-3-Clause
// The machine's part of KVM's interface.
#include "vmm/kvm.hh"

#include "control/log.hh"
#include "vmm/kvm_list.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/ioctl.h>

namespace strait::vmm {

namespace {

using control::log_level;
using control::log_limited;
using dataplane::file_descriptor;
using ports::describe;
using ports::error;
using ports::result;

struct needed {
    int capability;
    const char* name;
};
constexpr std::array<needed, 6> needs = {{{KVM_CAP_IRQCHIP, "interrupt controllers"},
                                          {KVM_CAP_USER_MEMORY, "memory of user space"},
                                          {KVM_CAP_IRQFD, "interrupts by eventfd"},
                                          {KVM_CAP_IOEVENTFD_ANY_LENGTH, "writes to eventfds"},
                                          {KVM_CAP_IRQ_ROUTING, "interrupt routing"},
                                          {KVM_CAP_IMMEDIATE_EXIT, "immediate exits"}}};

result<std::vector<kvm_cpuid_entry2>> supported_cpuid(int device)
{
    for (std::size_t room = 128; room <= 4096; room *= 2) {
        kvm_list<kvm_cpuid_entry2> list{room};
        if (::ioctl(device, kvm_get_supported_cpuid, list.data()) == 0) {
            return list.entries();
        }
        if (errno != E2BIG) {
            break;
        }
    }
    return error{"KVM does not tell what CPUs it has: " + describe(errno)};
}

result<void> install(int machine, const memory& ram)
{
    std::uint32_t slot = 0;
    for (const memory::region& r : ram.regions()) {
        kvm_userspace_memory_region region{};
        region.slot = slot++;
        region.guest_phys_addr = r.guest_address;
        region.memory_size = r.bytes;
        region.userspace_addr = r.mapped_at;
        if (::ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region) != 0) {
            return error{"KVM does not take the guest's memory: " + describe(errno)};
        }
    }
    return {};
}

} // namespace

result<file_descriptor> kvm::open_device()
{
    file_descriptor device{::open("/dev/kvm", O_RDWR | O_CLOEXEC)};
    if (device) {
        return device;
    }
    const int code = errno;
    const std::string why = "/dev/kvm cannot be opened: " + describe(code);
    if (code == ENOENT) {
        return error{why + "; load kvm-intel or kvm-amd, and see that virtualisation is on in the "
                           "firmware"};
    }
    if (code == EACCES || code == EPERM) {
        return error{why + "; on Debian its group is kvm"};
    }
    return error{why};
}

result<kvm> kvm::make(int device, const memory& ram)
{
    if (::ioctl(device, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
        return error{"/dev/kvm is no KVM of API version 12"};
    }
    for (const needed& n : needs) {
        if (::ioctl(device, KVM_CHECK_EXTENSION, n.capability) <= 0) {
            return error{std::string{"this kernel's KVM lacks "} + n.name +
                         "; Linux 5.10 and later have them"};
        }
    }
    auto cpuid = supported_cpuid(device);
    if (cpuid.has_error()) {
        return cpuid.error();
    }
    kvm k;
    k.cpuid_ = std::move(cpuid).value();
    const int run_size = ::ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0);
    k.machine_ = file_descriptor{::ioctl(device, KVM_CREATE_VM, 0)};
    if (run_size <= 0 || !k.machine_) {
        return error{"KVM makes no machine: " + describe(errno)};
    }
    k.run_size_ = static_cast<std::size_t>(run_size);
    // Where Intel's real mode needs pages of its own; others ignore it.
    std::uint64_t identity_map = platform::kvm_identity_map;
    (void)::ioctl(k.fd(), KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
    if (::ioctl(k.fd(), KVM_SET_TSS_ADDR, platform::kvm_tss) != 0) {
        return error{"KVM takes no place for its own pages: " + describe(errno)};
    }
    // Memory first: where it comes after the interrupt controllers, the kernel waits 5 to 10 ms for
    // what it has begun with them.
    if (auto installed = install(k.fd(), ram); installed.has_error()) {
        return installed.error();
    }
    if (::ioctl(k.fd(), KVM_CREATE_IRQCHIP, 0) != 0) {
        return error{"KVM makes no interrupt controllers: " + describe(errno)};
    }
    return k;
}

kvm::kvm(kvm&& other) noexcept
    : machine_{std::move(other.machine_)},
      cpuid_{std::move(other.cpuid_)},
      run_size_{other.run_size_},
      messages_{std::move(other.messages_)}
{}

void kvm::connect_interrupt(int event, std::uint32_t interrupt) noexcept
{
    kvm_irqfd request{};
    request.fd = static_cast<std::uint32_t>(event);
    request.gsi = interrupt;
    if (::ioctl(fd(), KVM_IRQFD, &request) != 0) {
        log_limited(log_level::error, "kvm",
                    "KVM does not listen for interrupt " + std::to_string(interrupt) + ": " +
                        describe(errno));
    }
}

void kvm::disconnect_interrupt(int event, std::uint32_t interrupt) noexcept
{
    kvm_irqfd request{};
    request.fd = static_cast<std::uint32_t>(event);
    request.gsi = interrupt;
    request.flags = KVM_IRQFD_FLAG_DEASSIGN;
    (void)::ioctl(fd(), KVM_IRQFD, &request);
}

void kvm::connect_address(std::uint64_t address, int event) noexcept
{
    kvm_ioeventfd request{};
    request.addr = address;
    request.fd = event;
    if (::ioctl(fd(), KVM_IOEVENTFD, &request) != 0) {
        log_limited(log_level::error, "kvm",
                    "KVM does not watch a queue's notification address: " + describe(errno));
    }
}

void kvm::disconnect_address(std::uint64_t address, int event) noexcept
{
    kvm_ioeventfd request{};
    request.addr = address;
    request.fd = event;
    request.flags = KVM_IOEVENTFD_FLAG_DEASSIGN;
    (void)::ioctl(fd(), KVM_IOEVENTFD, &request);
}

std::uint32_t kvm::add_message_interrupt()
{
    const std::scoped_lock lock{routes_mutex_};
    messages_.emplace_back();
    return platform::first_message_interrupt + static_cast<std::uint32_t>(messages_.size()) - 1;
}

void kvm::route(std::uint32_t interrupt, const message& m) noexcept
{
    const std::scoped_lock lock{routes_mutex_};
    message& now = messages_[interrupt - platform::first_message_interrupt];
    if (now == m) {
        return;
    }
    now = m;
    // All of them at once, and the pins that were there from the start with them.
    std::vector<kvm_irq_routing_entry> table;
    for (std::uint32_t pin = 0; pin < platform::first_message_interrupt; ++pin) {
        kvm_irq_routing_entry& e = table.emplace_back();
        e.gsi = pin;
        e.type = KVM_IRQ_ROUTING_IRQCHIP;
        e.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
        e.u.irqchip.pin = pin;
    }
    for (std::size_t i = 0; i < messages_.size(); ++i) {
        if (messages_[i].address == 0) {
            continue; // it was never given any
        }
        kvm_irq_routing_entry& e = table.emplace_back();
        e.gsi = platform::first_message_interrupt + static_cast<std::uint32_t>(i);
        e.type = KVM_IRQ_ROUTING_MSI;
        e.u.msi.address_lo = static_cast<std::uint32_t>(messages_[i].address);
        e.u.msi.address_hi = static_cast<std::uint32_t>(messages_[i].address >> 32);
        e.u.msi.data = messages_[i].data;
    }
    kvm_list<kvm_irq_routing_entry> list{table};
    if (::ioctl(fd(), kvm_set_gsi_routing, list.data()) != 0) {
        log_limited(log_level::error, "kvm",
                    "KVM does not route interrupt " + std::to_string(interrupt) + ": " +
                        describe(errno));
    }
}

} // namespace strait::vmm
