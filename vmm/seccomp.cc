// SPDX-License-Identifier: BSD-3-Clause
// Filters, by libseccomp.
#include "vmm/seccomp.hh"

#include "vmm/kvm_list.hh"

#include <array>
#include <cerrno>
#include <memory>
#include <span>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <linux/kvm.h>
#include <malloc.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace strait::vmm {

namespace {

// Threads themselves, memory, waiting, and descriptors that are open.
constexpr std::array every_thread = {SCMP_SYS(read),
                                     SCMP_SYS(preadv2),
                                     SCMP_SYS(write),
                                     SCMP_SYS(readv),
                                     SCMP_SYS(writev),
                                     SCMP_SYS(close),
                                     SCMP_SYS(futex),
                                     SCMP_SYS(poll),
                                     SCMP_SYS(ppoll),
                                     SCMP_SYS(epoll_wait),
                                     SCMP_SYS(epoll_pwait),
                                     SCMP_SYS(epoll_ctl),
                                     SCMP_SYS(timerfd_settime),
                                     SCMP_SYS(mmap),
                                     SCMP_SYS(munmap),
                                     SCMP_SYS(mremap),
                                     SCMP_SYS(mprotect),
                                     SCMP_SYS(madvise),
                                     SCMP_SYS(brk),
                                     SCMP_SYS(rt_sigaction),
                                     SCMP_SYS(rt_sigprocmask),
                                     SCMP_SYS(rt_sigreturn),
                                     SCMP_SYS(sigaltstack),
                                     SCMP_SYS(tgkill),
                                     SCMP_SYS(getpid),
                                     SCMP_SYS(gettid),
                                     SCMP_SYS(clock_gettime),
                                     SCMP_SYS(clock_nanosleep),
                                     SCMP_SYS(nanosleep),
                                     SCMP_SYS(sched_yield),
                                     SCMP_SYS(getrandom),
                                     SCMP_SYS(exit),
                                     SCMP_SYS(exit_group),
                                     SCMP_SYS(restart_syscall),
                                     SCMP_SYS(rseq),
                                     SCMP_SYS(set_robust_list)};

// Disks, and vhost-user's sockets.
constexpr std::array devices = {
    SCMP_SYS(preadv),    SCMP_SYS(pwritev),       SCMP_SYS(pread64),        SCMP_SYS(pwrite64),
    SCMP_SYS(fdatasync), SCMP_SYS(fsync),         SCMP_SYS(fallocate),      SCMP_SYS(socket),
    SCMP_SYS(connect),   SCMP_SYS(accept4),       SCMP_SYS(sendmsg),        SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),    SCMP_SYS(recvfrom),      SCMP_SYS(fcntl),          SCMP_SYS(prctl),
    SCMP_SYS(dup),       SCMP_SYS(shutdown),      SCMP_SYS(getsockopt),     SCMP_SYS(setsockopt),
    SCMP_SYS(eventfd2),  SCMP_SYS(epoll_create1), SCMP_SYS(timerfd_create), SCMP_SYS(fstat),
    SCMP_SYS(newfstatat)};

// A guest that begins anew: memory, threads, sockets that listen, files that are read again.
constexpr std::array starting = {SCMP_SYS(memfd_create),
                                 SCMP_SYS(ftruncate),
                                 SCMP_SYS(mbind),
                                 SCMP_SYS(bind),
                                 SCMP_SYS(listen),
                                 SCMP_SYS(unlink),
                                 SCMP_SYS(chmod),
                                 SCMP_SYS(fchmod),
                                 SCMP_SYS(umask),
                                 SCMP_SYS(stat),
                                 SCMP_SYS(lstat),
                                 SCMP_SYS(lseek),
                                 SCMP_SYS(sendfile),
                                 SCMP_SYS(seccomp),
                                 SCMP_SYS(uname),
                                 SCMP_SYS(sched_getaffinity),
                                 SCMP_SYS(sched_setaffinity),
                                 SCMP_SYS(sched_setscheduler),
                                 SCMP_SYS(getsockname),
                                 SCMP_SYS(getpeername),
                                 SCMP_SYS(accept),
                                 SCMP_SYS(set_tid_address),
                                 SCMP_SYS(wait4),
                                 SCMP_SYS(getuid),
                                 SCMP_SYS(geteuid),
                                 SCMP_SYS(rename),
                                 SCMP_SYS(prlimit64),
                                 SCMP_SYS(openat)};

// Of a vCPU, of the registers by which a guest moves its interrupts and queues, and of whatever
// thread puts the terminal back when memory is lost.
constexpr std::array<unsigned long, 6> running_requests = {
    KVM_RUN, KVM_IRQFD, KVM_IOEVENTFD, kvm_set_gsi_routing, TCGETS, TCSETS};
constexpr std::array<unsigned long, 1> flag_requests = {F_SETFL};
constexpr std::array<unsigned long, 17> starting_requests = {KVM_GET_API_VERSION,
                                                             KVM_CHECK_EXTENSION,
                                                             KVM_GET_VCPU_MMAP_SIZE,
                                                             KVM_CREATE_VM,
                                                             KVM_SET_IDENTITY_MAP_ADDR,
                                                             KVM_SET_TSS_ADDR,
                                                             KVM_CREATE_IRQCHIP,
                                                             KVM_SET_USER_MEMORY_REGION,
                                                             KVM_CREATE_VCPU,
                                                             KVM_GET_SREGS,
                                                             KVM_SET_SREGS,
                                                             KVM_SET_REGS,
                                                             kvm_get_supported_cpuid,
                                                             kvm_set_cpuid,
                                                             kvm_set_msrs,
                                                             TCSETSW,
                                                             TCSETSF};
constexpr std::array<unsigned long, 1> device_requests = {FIONBIO};

class filter {
public:
    filter() : context_{::seccomp_init(SCMP_ACT_KILL_PROCESS), &::seccomp_release} {}

    void allow(std::span<const int> calls)
    {
        for (const int call : calls) {
            keep(::seccomp_rule_add(context_.get(), SCMP_ACT_ALLOW, call, 0));
        }
    }
    // Of a call that has them second: ioctl and fcntl.
    void allow_requests(int call, std::span<const unsigned long> requests)
    {
        for (const unsigned long request : requests) {
            // The kernel looks at 32 bits of it. As an array: the macro is C99's.
            const scmp_arg_cmp second{1, SCMP_CMP_MASKED_EQ, 0xffff'ffff, request};
            keep(::seccomp_rule_add_array(context_.get(), SCMP_ACT_ALLOW, call, 1, &second));
        }
    }
    // With that as its first argument.
    void allow_of(int call, int descriptor)
    {
        const scmp_arg_cmp first{0, SCMP_CMP_MASKED_EQ, 0xffff'ffff,
                                 static_cast<scmp_datum_t>(descriptor)};
        keep(::seccomp_rule_add_array(context_.get(), SCMP_ACT_ALLOW, call, 1, &first));
    }
    // Threads, and no processes. Of clone3, whose flags are in memory, no filter can tell: the
    // library uses clone where the kernel has no other.
    void allow_threads()
    {
        const scmp_arg_cmp first{0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD};
        keep(::seccomp_rule_add_array(context_.get(), SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, &first));
        keep(::seccomp_rule_add(context_.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0));
    }
    // 0, or a negative error.
    [[nodiscard]] int load()
    {
        if (context_ == nullptr) {
            return -ENOMEM;
        }
        return error_ != 0 ? error_ : ::seccomp_load(context_.get());
    }

private:
    void keep(int error) noexcept { error_ = error_ != 0 ? error_ : error; }

    std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
    int error_{0};
};

} // namespace

ports::result<void> confine(thread_kind kind, bool bounded_log)
{
    filter f;
    f.allow(every_thread);
    f.allow_requests(SCMP_SYS(ioctl), running_requests);
    f.allow_requests(SCMP_SYS(fcntl), flag_requests);
    if (bounded_log) {
        f.allow_of(SCMP_SYS(ftruncate), STDERR_FILENO);
    }
    if (kind != thread_kind::vcpu) {
        f.allow(devices);
        f.allow_requests(SCMP_SYS(ioctl), device_requests);
    }
    if (kind == thread_kind::main) {
        f.allow(starting);
        f.allow_threads();
        // Memory from one heap for all threads: a thread's own, when it shrinks, has the library
        // look into /proc, by calls that only this thread has (glibc's malloc/arena.c).
        (void)::mallopt(M_ARENA_MAX, 1);
        f.allow_requests(SCMP_SYS(ioctl), starting_requests);
    }
    if (const int error = f.load(); error != 0) {
        return ports::error{"the kernel takes no filter of system calls: " +
                            std::generic_category().message(-error) +
                            " (--no-jail runs the guest without)"};
    }
    return {};
}

} // namespace strait::vmm
