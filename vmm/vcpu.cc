// SPDX-License-Identifier: BSD-3-Clause
// A vCPU's registers, its thread and its exits.
#include "vmm/vcpu.hh"

#include "vmm/cpuid.hh"
#include "vmm/kvm_list.hh"
#include "vmm/memory_loss.hh"

#include <cerrno>
#include <csignal>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

namespace strait::vmm {

namespace {

using ports::error;
using ports::result;

error refused(const char* what)
{
    return {std::string{"KVM does not set a vCPU's "} + what + ": " + ports::describe(errno)};
}

// Takes the thread out of KVM_RUN. Nothing is done in the handler, but there must be one.
int wake_signal() noexcept
{
    static const int number = [] {
        struct sigaction action {};
        action.sa_handler = [](int) {};
        ::sigemptyset(&action.sa_mask);
        ::sigaction(SIGRTMIN, &action, nullptr);
        return SIGRTMIN;
    }();
    return number;
}

result<void> set_model_registers(int fd)
{
    constexpr std::uint32_t misc_enable = 0x1a0; // IA32_MISC_ENABLE
    constexpr std::uint64_t fast_strings = 1;
    constexpr std::uint32_t mtrr_default = 0x2ff; // IA32_MTRR_DEF_TYPE
    constexpr std::uint64_t enabled_write_back = 1U << 11U | 6U;
    for (const auto& [index, value] :
         {std::pair{misc_enable, fast_strings}, std::pair{mtrr_default, enabled_write_back}}) {
        const std::array<kvm_msr_entry, 1> one{{{index, 0, value}}};
        kvm_list<kvm_msr_entry> list{one};
        // 0, and no error: this CPU has no such register, and needs none.
        if (::ioctl(fd, kvm_set_msrs, list.data()) < 0) {
            return refused("model-specific registers");
        }
    }
    return {};
}

kvm_segment segment(std::uint16_t selector, std::uint8_t type, bool code, bool wide) noexcept
{
    kvm_segment s{};
    s.limit = 0xffff'ffff;
    s.selector = selector;
    s.type = type;
    s.present = 1;
    s.s = 1;
    s.g = 1;
    s.l = code && wide ? 1 : 0;
    s.db = s.l == 0 ? 1 : 0;
    return s;
}

} // namespace

std::string_view name_of(exit_reason reason) noexcept
{
    switch (reason) {
    case exit_reason::port:
        return "port";
    case exit_reason::mmio:
        return "mmio";
    case exit_reason::interrupted:
        return "interrupted";
    case exit_reason::shutdown:
        return "shutdown";
    case exit_reason::other:
        break;
    }
    return "other";
}

result<std::unique_ptr<vcpu>> vcpu::make(const kvm& machine, unsigned id, unsigned count,
                                         surroundings s)
{
    dataplane::file_descriptor fd{::ioctl(machine.fd(), KVM_CREATE_VCPU, id)};
    if (!fd) {
        return error{"KVM makes no vCPU " + std::to_string(id) + ": " + ports::describe(errno)};
    }
    std::unique_ptr<vcpu> v{new vcpu{std::move(fd), machine.run_size(), std::move(s)}};
    if (v->run_ == nullptr) {
        return error{"a vCPU's shared page cannot be mapped: " + ports::describe(errno)};
    }
    if (auto set = set_cpuid(v->fd_.get(), machine.cpu_features(), id, count); set.has_error()) {
        return set.error();
    }
    if (auto set = set_model_registers(v->fd_.get()); set.has_error()) {
        return set.error();
    }
    return v;
}

vcpu::vcpu(dataplane::file_descriptor fd, std::size_t run_size, surroundings s) noexcept
    : fd_{std::move(fd)}, run_size_{run_size}, surroundings_{std::move(s)}
{
    void* const page = ::mmap(nullptr, run_size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    run_ = page == MAP_FAILED ? nullptr : static_cast<kvm_run*>(page);
}

vcpu::~vcpu()
{
    if (thread_.joinable()) {
        want(wish::stop);
        thread_.join();
    }
    if (run_ != nullptr) {
        ::munmap(run_, run_size_);
    }
}

result<void> vcpu::begin_at(const boot::entry& e)
{
    constexpr std::uint16_t code = 0x10;
    constexpr std::uint16_t data = 0x18;
    constexpr std::uint16_t task = 0x20;
    constexpr std::uint8_t execute_read = 0xb;
    constexpr std::uint8_t read_write = 0x3;
    constexpr std::uint64_t protection = 1;                 // CR0.PE
    constexpr std::uint64_t extension = 1U << 4;            // CR0.ET, always one
    constexpr std::uint64_t paging = 1U << 31;              // CR0.PG
    constexpr std::uint64_t wide_tables = 1U << 5;          // CR4.PAE
    constexpr std::uint64_t long_mode = 1U << 8 | 1U << 10; // EFER.LME, LMA

    kvm_sregs special{};
    if (::ioctl(fd_.get(), KVM_GET_SREGS, &special) != 0) {
        return refused("system registers");
    }
    const bool wide = e.how == boot::entry::mode::long_mode;
    special.cs = segment(code, execute_read, true, wide);
    special.ds = segment(data, read_write, false, wide);
    special.es = special.fs = special.gs = special.ss = special.ds;
    special.tr = {};
    special.tr.limit = 0x67; // without an I/O map
    special.tr.selector = task;
    special.tr.type = 0xb; // a busy one
    special.tr.present = 1;
    special.ldt = {};
    special.ldt.unusable = 1;
    special.gdt.base = e.descriptors;
    special.gdt.limit = data + 7;
    special.idt = {};
    special.cr0 = protection | extension;
    if (wide) {
        special.cr0 |= paging;
        special.cr3 = e.page_tables;
        special.cr4 = wide_tables;
        special.efer = long_mode;
    }
    if (::ioctl(fd_.get(), KVM_SET_SREGS, &special) != 0) {
        return refused("system registers");
    }
    kvm_regs general{};
    general.rip = e.instruction;
    general.rsi = wide ? e.argument : 0;
    general.rbx = wide ? 0 : e.argument;
    general.rflags = 2; // the bit that is always one
    if (::ioctl(fd_.get(), KVM_SET_REGS, &general) != 0) {
        return refused("registers");
    }
    return {};
}

std::future<result<void>> vcpu::start(std::function<result<void>()> prepare)
{
    (void)wake_signal();
    resting_ = false;
    std::promise<result<void>> prepared;
    auto answer = prepared.get_future();
    thread_ =
        std::thread{[this, prepare = std::move(prepare), prepared = std::move(prepared)]() mutable {
            sigset_t wake;
            sigemptyset(&wake);
            sigaddset(&wake, wake_signal());
            (void)::pthread_sigmask(SIG_UNBLOCK, &wake, nullptr); // whatever was inherited
            auto ready = prepare();
            const bool runs = ready.has_value();
            prepared.set_value(std::move(ready));
            if (runs) {
                run();
            }
            const std::scoped_lock lock{mutex_};
            resting_ = true;
            changed_.notify_all();
        }};
    return answer;
}

void vcpu::pause()
{
    want(wish::pause);
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return resting_; });
}

void vcpu::resume()
{
    const std::scoped_lock lock{mutex_};
    wish_.store(wish::run);
    changed_.notify_all();
}

// The order, and that of may_run(): a wish that the thread does not see makes its next KVM_RUN
// return at once.
void vcpu::want(wish w)
{
    const std::scoped_lock lock{mutex_};
    wish_.store(w);
    __atomic_store_n(&run_->immediate_exit, 1, __ATOMIC_SEQ_CST);
    changed_.notify_all();
    if (!resting_) {
        ::pthread_kill(thread_.native_handle(), wake_signal());
    }
}

bool vcpu::may_run()
{
    __atomic_store_n(&run_->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (wish_.load() == wish::run) [[likely]] {
        return true;
    }
    std::unique_lock lock{mutex_};
    resting_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return wish_.load() != wish::pause; });
    resting_ = false;
    return wish_.load() == wish::run;
}

void vcpu::run()
{
    while (may_run()) {
        if (::ioctl(fd_.get(), KVM_RUN, 0) == 0) {
            if (!handle_exit()) {
                return;
            }
        } else if (errno == EINTR || errno == EAGAIN) {
            count(exit_reason::interrupted);
        } else {
            end(guest_end::kind::failed, errno == EFAULT
                                             ? loss_of_guest_memory()
                                             : "KVM_RUN says " + ports::describe(errno));
            return;
        }
    }
}

bool vcpu::handle_exit()
{
    switch (run_->exit_reason) {
    case KVM_EXIT_IO:
        count(exit_reason::port);
        port_access();
        return true;
    case KVM_EXIT_MMIO:
        count(exit_reason::mmio);
        mmio_access();
        return true;
    case KVM_EXIT_INTR:
        count(exit_reason::interrupted);
        return true;
    case KVM_EXIT_SHUTDOWN:
        count(exit_reason::shutdown);
        return end(guest_end::kind::reset, "by a triple fault");
    case KVM_EXIT_SYSTEM_EVENT:
        count(exit_reason::shutdown);
        return end(run_->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? guest_end::kind::power_off
                                                                        : guest_end::kind::reset,
                   "by a system event");
    case KVM_EXIT_FAIL_ENTRY:
        count(exit_reason::other);
        return end(guest_end::kind::failed,
                   "its CPU refuses to run it (hardware reason " +
                       std::to_string(run_->fail_entry.hardware_entry_failure_reason) + ")");
    case KVM_EXIT_INTERNAL_ERROR:
        count(exit_reason::other);
        return end(guest_end::kind::failed, "KVM cannot execute what it does (internal error " +
                                                std::to_string(run_->internal.suberror) + ")");
    default:
        count(exit_reason::other);
        return end(guest_end::kind::failed, "KVM gave it up for a reason that is not handled (" +
                                                std::to_string(run_->exit_reason) + ")");
    }
}

void vcpu::port_access() noexcept
{
    const auto& io = run_->io;
    auto* at = reinterpret_cast<std::byte*>(run_) + io.data_offset;
    for (std::uint32_t i = 0; i < io.count; ++i, at += io.size) {
        if (io.direction == KVM_EXIT_IO_IN) {
            surroundings_.ports->read(io.port, {at, io.size});
        } else {
            surroundings_.ports->write(io.port, {at, io.size});
        }
    }
}

void vcpu::mmio_access() noexcept
{
    auto& access = run_->mmio;
    const std::span<std::byte> data{reinterpret_cast<std::byte*>(access.data), access.len};
    if (access.is_write != 0) {
        surroundings_.addresses->write(access.phys_addr, data);
    } else {
        surroundings_.addresses->read(access.phys_addr, data);
    }
}

bool vcpu::end(guest_end::kind how, std::string detail)
{
    surroundings_.ended({how, std::move(detail)});
    return false;
}

} // namespace strait::vmm
