// SPDX-License-Identifier: BSD-3-Clause
// Putting a machine together.
#include "vmm/machine.hh"

#include "vmm/boot/acpi.hh"
#include "vmm/boot/loader.hh"
#include "vmm/devices/console.hh"
#include "vmm/memory_loss.hh"
#include "vmm/pci/virtio_function.hh"
#include "vmm/platform.hh"
#include "vmm/virtio/entropy.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <future>
#include <string>
#include <utility>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

namespace strait::vmm {

namespace {

using dataplane::file_descriptor;
using ports::error;
using ports::result;

result<file_descriptor> open_file(const std::string& what, const std::string& path)
{
    // Not to wait for a FIFO's other end; who reads it says that it is no regular file.
    file_descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!file) {
        return error{what + " " + path + " cannot be opened: " + ports::describe(errno)};
    }
    return file;
}

// All the firmware there is, in 16-bit code: resets the machine by its keyboard controller. Linux
// jumps there to reboot where ACPI's hardware is reduced and there is no EFI.
constexpr std::array<std::uint8_t, 7> firmware = {0xb0, platform::keyboard_reset,   // mov al, 0xfe
                                                  0xe6, platform::keyboard_command, // out 0x64, al
                                                  0xf4,                             // hlt
                                                  0xeb, 0xfd}; // jmp to the hlt

} // namespace

result<resources> resources::open(const config& c)
{
    resources r;
    auto device = kvm::open_device();
    if (device.has_error()) {
        return device.error();
    }
    r.kvm = std::move(device).value();
    auto kernel = open_file("the kernel", c.kernel);
    if (kernel.has_error()) {
        return kernel.error();
    }
    r.kernel = std::move(kernel).value();
    if (!c.initrd.empty()) {
        auto initrd = open_file("the initial RAM disk", c.initrd);
        if (initrd.has_error()) {
            return initrd.error();
        }
        r.initrd = std::move(initrd).value();
    }
    for (const disk_config& d : c.disks) {
        auto opened = virtio::disk::open({d.path, d.read_only, d.serial});
        if (opened.has_error()) {
            return opened.error();
        }
        r.disks.push_back(std::move(opened).value());
    }
    // Last: nothing is made for a guest that is refused.
    auto file = console::open_file(c.console);
    if (file.has_error()) {
        return file.error();
    }
    r.console = std::move(file).value();
    return r;
}

result<std::unique_ptr<machine>> machine::make(const config& c, resources& r, machine_hooks hooks)
{
    auto ram = memory::make(c.memory);
    if (ram.has_error()) {
        return ram.error();
    }
    auto serial_interrupt = event::make();
    auto power_interrupt = event::make();
    if (serial_interrupt.has_error() || power_interrupt.has_error()) {
        return serial_interrupt.has_error() ? serial_interrupt.error() : power_interrupt.error();
    }
    auto made = kvm::make(r.kvm.get(), *ram);
    if (made.has_error()) {
        return made.error();
    }
    std::unique_ptr<machine> m{new machine{
        c, std::move(hooks), std::move(ram).value(), std::make_unique<kvm>(std::move(made).value()),
        std::move(serial_interrupt).value(), std::move(power_interrupt).value()}};
    explain_losses(m->ram_.regions(), c.memory.huge_page != 0);
    if (auto added = m->add_devices(r); added.has_error()) {
        return added.error();
    }
    m->times_.made = boot_times::clock::now();

    const boot::image_files files{r.kernel.get(), c.kernel,
                                  r.initrd ? std::optional{r.initrd->get()} : std::nullopt,
                                  c.initrd, c.command_line};
    const auto begin = boot::load(files, m->ram_);
    if (begin.has_error()) {
        return begin.error();
    }
    if (!m->ram_.write(platform::acpi_tables, boot::acpi_tables(c.cpus)) ||
        !m->ram_.write(platform::reset_vector, std::as_bytes(std::span{firmware}))) {
        return error{"the guest's memory has no room for its ACPI tables"};
    }
    m->times_.loaded = boot_times::clock::now();
    if (auto added = m->add_cpus(*begin); added.has_error()) {
        return added.error();
    }
    if (auto begun = m->device_threads_.wait(); begun.has_error()) {
        return begun.error();
    }
    return m;
}

machine::machine(const config& c, machine_hooks hooks, memory ram, std::unique_ptr<kvm> k,
                 event serial_interrupt, event power_interrupt)
    : config_{c},
      hooks_{std::move(hooks)},
      ram_{std::move(ram)},
      kvm_{std::move(k)},
      serial_interrupt_{std::move(serial_interrupt)},
      power_interrupt_{std::move(power_interrupt)},
      serial_{serial_interrupt_,
              [this](std::byte b) {
                  if (times_.spoke.load(std::memory_order_relaxed) == 0) {
                      times_.spoke = boot_times::clock::now().time_since_epoch().count();
                  }
                  hooks_.console(b);
              }},
      power_{power_interrupt_,
             [this] {
                 hooks_.ended({guest_end::kind::power_off, {}});
             }},
      keyboard_{[this] {
          hooks_.ended({guest_end::kind::reset, {}});
      }},
      device_threads_{hooks_.device_thread}
{
    kvm_->connect_interrupt(serial_interrupt_.fd(), platform::serial_interrupt);
    kvm_->connect_interrupt(power_interrupt_.fd(), platform::event_interrupt);
    ports_.add(platform::serial, serial::ports, serial_);
    ports_.add(platform::power, platform::power_ports, power_);
    ports_.add(platform::keyboard_command, 1, keyboard_);
    pci_.connect(ports_, addresses_);
}

result<void> machine::add_devices(resources& r)
{
    static_assert(max_devices + 2 == pci::max_functions); // the host bridge, and entropy
    for (virtio::net_options o : config_.nets) {
        o.begin = &device_threads_;
        auto net = virtio::net::make(o, ram_);
        if (net.has_error()) {
            return net.error();
        }
        nets_.push_back(net->get());
        if (auto added = add(o.name, std::move(net).value()); added.has_error()) {
            return added;
        }
    }
    unsigned number = 0;
    for (virtio::disk& d : r.disks) {
        const std::string name = "disk" + std::to_string(number++);
        if (auto added =
                add(name, std::make_unique<virtio::block>(d, ram_.guest(), name, &device_threads_));
            added.has_error()) {
            return added;
        }
    }
    return add("rng", std::make_unique<virtio::entropy>(ram_.guest(), "rng", &device_threads_));
}

result<void> machine::add(std::string name, std::unique_ptr<virtio::device> d)
{
    auto function = pci::virtio_function::make(std::move(name), std::move(d), *kvm_);
    if (function.has_error()) {
        return function.error();
    }
    pci_.add(std::move(function).value());
    return {};
}

result<void> machine::add_cpus(const boot::entry& begin)
{
    for (unsigned id = 0; id < config_.cpus; ++id) {
        auto cpu = vcpu::make(*kvm_, id, config_.cpus, {&ports_, &addresses_, hooks_.ended});
        if (cpu.has_error()) {
            return cpu.error();
        }
        cpus_.push_back(std::move(cpu).value());
    }
    return cpus_.front()->begin_at(begin);
}

// The others wait for the first one to start them: before it is there, the guest does nothing.
result<void> machine::start()
{
    const auto begin = [this](unsigned id) {
        return cpus_[id]->start([this, id] { return prepare_vcpu(id); });
    };
    std::vector<std::future<result<void>>> others;
    for (unsigned id = 1; id < cpus_.size(); ++id) {
        others.push_back(begin(id));
    }
    for (auto& other : others) {
        if (auto ready = other.get(); ready.has_error()) {
            return ready;
        }
    }
    times_.running = boot_times::clock::now();
    return begin(0).get();
}

// On the vCPU's own thread.
result<void> machine::prepare_vcpu(unsigned id) const
{
    ::pthread_setname_np(::pthread_self(), ("vcpu" + std::to_string(id)).c_str());
    if (const auto pin = config_.cpu_pins.find(id); pin != config_.cpu_pins.end()) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(pin->second, &one);
        if (::sched_setaffinity(0, sizeof one, &one) != 0) {
            return error{"vCPU " + std::to_string(id) + " cannot be pinned to CPU " +
                         std::to_string(pin->second) + ": " + ports::describe(errno) +
                         "; --vcpu-pin takes CPUs that are online and in this process's cpuset"};
        }
    }
    if (config_.realtime) {
        sched_param how{};
        how.sched_priority = static_cast<int>(*config_.realtime);
        if (::sched_setscheduler(0, SCHED_FIFO, &how) != 0) {
            const std::string priority = std::to_string(*config_.realtime);
            return error{"a vCPU cannot have real-time priority " + priority + ": " +
                         ports::describe(errno) + "; --realtime takes what this process's limit " +
                         "(ulimit -r, LimitRTPRIO=) allows"};
        }
    }
    return hooks_.vcpu_thread ? hooks_.vcpu_thread() : result<void>{};
}

void machine::pause()
{
    if (!std::exchange(paused_, true)) {
        std::ranges::for_each(cpus_, [](auto& c) { c->pause(); });
    }
}

void machine::resume()
{
    if (std::exchange(paused_, false)) {
        std::ranges::for_each(cpus_, [](auto& c) { c->resume(); });
    }
}

std::uint64_t machine::exits(exit_reason reason) const noexcept
{
    std::uint64_t sum = 0;
    for (const auto& c : cpus_) {
        sum += c->exits(reason);
    }
    return sum;
}

} // namespace strait::vmm
