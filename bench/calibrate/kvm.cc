// SPDX-License-Identifier: BSD-3-Clause
// Kicks of a KVM guest: what an exit to an eventfd takes (the guest's clock), what it takes to
// interrupt it by one, and how long until it has handled that (both the worker's clock). The guest
// is a page of machine code in long mode, on one vCPU with KVM's own interrupt controllers.
// Source: Linux's Documentation/virt/kvm/api.rst.
#include "bench/calibrate/calibrate.hh"
#include "bench/generator/cpu.hh"
#include "dataplane/file_descriptor.hh"
#include "vmm/kvm_list.hh"
#include "vmm/platform.hh"

#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <exception>
#include <filesystem>
#include <span>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

// RDI: what it shares with us (guest_page below), RBX: the local APIC, RSI: an address that leads
// to an eventfd, as port 0xe1 does. Port 0x80 leads nowhere, but out of KVM_RUN.
asm(R"(
    .pushsection .rodata
    .balign 16
    .globl strait_calibrate_guest, strait_calibrate_interrupt, strait_calibrate_end
strait_calibrate_guest:
    movl $0x1ff, 0xf0(%rbx)
    sti
1:  movl (%rdi), %eax
    testl %eax, %eax
    jz 1b
    cmpl $1, %eax
    je 2f
    cmpl $2, %eax
    je 4f
    cmpl $3, %eax
    je 4f
    outb %al, $0x80
2:  cli
    cmpl $1, (%rdi)
    jne 3f
    sti
    hlt
    jmp 1b
3:  sti
    jmp 1b
4:  movl %eax, %r8d
    movl 4(%rdi), %ecx
    rdtsc
    shlq $32, %rdx
    orq %rax, %rdx
    movq %rdx, 8(%rdi)
    cmpl $2, %r8d
    jne 6f
5:  movl %ecx, (%rsi)
    decl %ecx
    jnz 5b
    jmp 7f
6:  outb %al, $0xe1
    decl %ecx
    jnz 6b
7:  rdtsc
    shlq $32, %rdx
    orq %rax, %rdx
    movq %rdx, 16(%rdi)
    movl $0, (%rdi)
    incl 24(%rdi)
    jmp 1b
strait_calibrate_interrupt:
    incl 64(%rdi)
    movl $0, 0xb0(%rbx)
    iretq
strait_calibrate_end:
    .popsection
)");
extern "C" const std::byte strait_calibrate_guest[];
extern "C" const std::byte strait_calibrate_interrupt[];
extern "C" const std::byte strait_calibrate_end[];

namespace strait::bench {

namespace {

using dataplane::file_descriptor;
using vmm::kvm_list;
namespace platform = vmm::platform;

enum class wish : std::uint32_t { spin, sleep, write_memory, write_port, end };

// What the code above has offsets of.
struct guest_page {
    std::uint32_t wanted; // a wish; writing sets it to spin when it is done
    std::uint32_t writes; // how many
    std::uint64_t begun;  // the guest's TSC
    std::uint64_t ended;
    std::uint32_t done;                // times that it has written
    alignas(64) std::uint32_t handled; // interrupts
};
static_assert(offsetof(guest_page, done) == 24 && offsetof(guest_page, handled) == 64);

// Guest-physical addresses, one to one with virtual ones.
constexpr std::uint64_t memory_bytes = 0x2'0000;
constexpr std::uint64_t page_at = 0x1000;
constexpr std::uint64_t code_at = 0x2000;
constexpr std::uint64_t interrupts_at = 0x3000; // the table
constexpr std::uint64_t segments_at = 0x4000;
constexpr std::uint64_t tables_at = 0x5000; // four of them
constexpr std::uint64_t stack_end = memory_bytes;
constexpr std::uint64_t doorbell = 0x18'0000;
constexpr std::uint16_t doorbell_port = 0xe1;
constexpr std::uint8_t vector = 0x40;
constexpr std::uint32_t interrupt = platform::first_message_interrupt;

constexpr std::uint32_t writes_at_once = 100;
constexpr unsigned loops_a_round = 21;
constexpr unsigned kicks_a_round = 200;
constexpr std::chrono::microseconds pause{50};
constexpr std::chrono::microseconds least_until_halted{2000};
constexpr std::chrono::microseconds most_until_halted{50'000};

[[noreturn]] void give_up(const std::string& what)
{
    throw std::runtime_error{what + ": " + std::strerror(errno)};
}

template <typename... Argument>
int ask(const file_descriptor& fd, unsigned long request, const char* what, Argument... argument)
{
    const int answer = ::ioctl(fd.get(), request, argument...);
    if (answer < 0) {
        give_up(std::string{"KVM refuses "} + what);
    }
    return answer;
}

file_descriptor event()
{
    file_descriptor fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!fd) {
        give_up("there is no eventfd");
    }
    return fd;
}

// How long after its HLT a vCPU sleeps: KVM polls before, for as long as its parameter says at
// most.
std::chrono::microseconds until_halted(const boost::json::value& halt_poll_ns)
{
    std::uint64_t polls = 0;
    if (const auto* const text = halt_poll_ns.if_string()) {
        (void)std::from_chars(text->data(), text->data() + text->size(), polls);
    }
    constexpr std::uint64_t most = most_until_halted / std::chrono::nanoseconds{2};
    if (polls > most) {
        throw std::runtime_error{"KVM polls for " + std::to_string(polls) +
                                 " ns before a vCPU sleeps (halt_poll_ns), too long to wait each "
                                 "time; at most " +
                                 std::to_string(most) + " would be right"};
    }
    return std::max(least_until_halted,
                    std::chrono::microseconds{static_cast<std::int64_t>(2 * polls / 1000 + 1)});
}

class guest {
public:
    explicit guest(unsigned cpu)
    {
        open_machine();
        fill_memory();
        make_cpu();
        connect();
        struct sigaction nothing {};
        nothing.sa_handler = [](int) {};
        ::sigaction(SIGUSR1, &nothing, nullptr);
        thread_ = std::thread{[this, cpu] { run(cpu); }};
    }
    guest(const guest&) = delete;
    guest& operator=(const guest&) = delete;
    ~guest()
    {
        __atomic_store_n(&run_->immediate_exit, 1, __ATOMIC_SEQ_CST);
        while (!ended_) {
            (void)::pthread_kill(thread_.native_handle(), SIGUSR1);
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        thread_.join();
        (void)::munmap(run_, run_size_);
        (void)::munmap(memory_, memory_bytes);
    }

    // Cycles of some writes, by its own clock.
    [[nodiscard]] std::uint64_t write(wish how)
    {
        const std::uint32_t before = load(page().done);
        page().writes = writes_at_once;
        want(how);
        wait([&] { return load(page().done) != before; });
        return page().ended - page().begun;
    }
    // Whether it runs or sleeps between interrupts.
    void want(wish w)
    {
        __atomic_store_n(&page().wanted, static_cast<std::uint32_t>(w), __ATOMIC_SEQ_CST);
    }
    // Cycles until the write has returned, and until the guest has handled it.
    [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> kick()
    {
        const std::uint32_t before = load(page().handled);
        const std::uint64_t begin = now();
        const int written = ::eventfd_write(interrupt_.get(), 1);
        const std::uint64_t returned = now();
        if (written != 0) {
            give_up("the guest's eventfd cannot be written to");
        }
        wait([&] { return load(page().handled) != before; });
        return {returned - begin, now() - begin};
    }

private:
    template <typename T>
    [[nodiscard]] static T load(const T& value) noexcept
    {
        return __atomic_load_n(&value, __ATOMIC_ACQUIRE);
    }
    [[nodiscard]] guest_page& page() noexcept
    {
        return *reinterpret_cast<guest_page*>(memory_ + page_at);
    }
    template <typename Done>
    void wait(Done done)
    {
        spin_until([&] { return done() || ended_; }, [] { return "KVM's guest does nothing"; });
        if (ended_) {
            throw std::runtime_error{fault_};
        }
    }

    void open_machine()
    {
        device_ = file_descriptor{::open("/dev/kvm", O_RDWR | O_CLOEXEC)};
        if (!device_) {
            give_up("/dev/kvm cannot be opened");
        }
        machine_ = file_descriptor{ask(device_, KVM_CREATE_VM, "a machine", 0)};
        std::uint64_t identity_map = platform::kvm_identity_map; // Intel's
        (void)::ioctl(machine_.get(), KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
        (void)ask(machine_, KVM_SET_TSS_ADDR, "a place for its own pages", platform::kvm_tss);
        void* const at = ::mmap(nullptr, memory_bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (at == MAP_FAILED) {
            give_up("there is no memory");
        }
        memory_ = static_cast<std::byte*>(at);
        kvm_userspace_memory_region region{};
        region.memory_size = memory_bytes;
        region.userspace_addr = reinterpret_cast<std::uint64_t>(at);
        (void)ask(machine_, KVM_SET_USER_MEMORY_REGION, "memory", &region);
        (void)ask(machine_, KVM_CREATE_IRQCHIP, "interrupt controllers", 0);
    }

    void put(std::uint64_t at, std::uint64_t value) noexcept
    {
        std::memcpy(memory_ + at, &value, sizeof value);
    }
    void fill_memory() noexcept
    {
        std::memcpy(memory_ + code_at, strait_calibrate_guest,
                    static_cast<std::size_t>(strait_calibrate_end - strait_calibrate_guest));
        put(segments_at + 8, 0x00af'9b00'0000'ffff);  // code
        put(segments_at + 16, 0x00cf'9300'0000'ffff); // data
        const std::uint64_t handler =
            code_at +
            static_cast<std::uint64_t>(strait_calibrate_interrupt - strait_calibrate_guest);
        put(interrupts_at + 16 * vector,
            (handler & 0xffff) | 0x8e00'0008'0000 | handler >> 16 << 48);
        // The first 2 MiB, and the 2 MiB of the local APIC, uncached.
        constexpr std::uint64_t table = 0x3;
        constexpr std::uint64_t large = 0x83;
        constexpr std::uint64_t uncached = 0x18;
        put(tables_at, tables_at + 0x1000 + table);
        put(tables_at + 0x1000, tables_at + 0x2000 + table);
        put(tables_at + 0x1018, tables_at + 0x3000 + table);
        put(tables_at + 0x2000, large);
        constexpr std::uint64_t apic_entry = (platform::local_apic >> 21 & 511) * 8;
        put(tables_at + 0x3000 + apic_entry, platform::local_apic + large + uncached);
    }

    void make_cpu()
    {
        cpu_ = file_descriptor{ask(machine_, KVM_CREATE_VCPU, "a vCPU", 0)};
        run_size_ = static_cast<std::size_t>(
            ask(device_, KVM_GET_VCPU_MMAP_SIZE, "a vCPU's shared page", 0));
        void* const at =
            ::mmap(nullptr, run_size_, PROT_READ | PROT_WRITE, MAP_SHARED, cpu_.get(), 0);
        if (at == MAP_FAILED) {
            give_up("a vCPU's shared page cannot be mapped");
        }
        run_ = static_cast<kvm_run*>(at);
        kvm_list<kvm_cpuid_entry2> features{1024};
        (void)ask(device_, vmm::kvm_get_supported_cpuid, "to say what CPUs it has",
                  features.data());
        (void)ask(cpu_, vmm::kvm_set_cpuid, "a vCPU's features", features.data());

        kvm_sregs special{};
        (void)ask(cpu_, KVM_GET_SREGS, "a vCPU's system registers", &special);
        special.gdt.base = segments_at;
        special.gdt.limit = 23;
        special.idt.base = interrupts_at;
        special.idt.limit = 4095;
        special.cs = {.base = 0,
                      .limit = 0xffff'ffff,
                      .selector = 8,
                      .type = 0xb,
                      .present = 1,
                      .dpl = 0,
                      .db = 0,
                      .s = 1,
                      .l = 1,
                      .g = 1,
                      .avl = 0,
                      .unusable = 0,
                      .padding = 0};
        special.ds = special.cs;
        special.ds.selector = 16;
        special.ds.type = 3;
        special.ds.l = 0;
        special.ds.db = 1;
        special.es = special.fs = special.gs = special.ss = special.ds;
        special.tr.type = 0xb;
        special.tr.present = 1;
        special.tr.limit = 0x67;
        special.cr0 = 0x8000'0011; // PG, ET, PE
        special.cr3 = tables_at;
        special.cr4 = 0x20;   // PAE
        special.efer = 0x500; // LMA, LME
        (void)ask(cpu_, KVM_SET_SREGS, "a vCPU's system registers", &special);
        kvm_regs general{};
        general.rip = code_at;
        general.rsp = stack_end;
        general.rflags = 2;
        general.rdi = page_at;
        general.rsi = doorbell;
        general.rbx = platform::local_apic;
        (void)ask(cpu_, KVM_SET_REGS, "a vCPU's registers", &general);
    }

    void connect()
    {
        kvm_ioeventfd kick{};
        kick.addr = doorbell;
        kick.fd = kicked_.get();
        (void)ask(machine_, KVM_IOEVENTFD, "an eventfd for an address", &kick);
        kick.addr = doorbell_port;
        kick.len = 1;
        kick.flags = KVM_IOEVENTFD_FLAG_PIO;
        (void)ask(machine_, KVM_IOEVENTFD, "an eventfd for a port", &kick);

        kvm_irq_routing_entry route{};
        route.gsi = interrupt;
        route.type = KVM_IRQ_ROUTING_MSI;
        route.u.msi.address_lo = static_cast<std::uint32_t>(platform::local_apic);
        route.u.msi.data = vector;
        kvm_list<kvm_irq_routing_entry> routes{std::span<const kvm_irq_routing_entry>{&route, 1}};
        (void)ask(machine_, vmm::kvm_set_gsi_routing, "a message interrupt", routes.data());
        kvm_irqfd request{};
        request.fd = static_cast<std::uint32_t>(interrupt_.get());
        request.gsi = interrupt;
        (void)ask(machine_, KVM_IRQFD, "an eventfd for an interrupt", &request);
    }

    void run(unsigned cpu) noexcept
    {
        try {
            stay_on(cpu);
            // A signal ends it for a moment only, as SIGCONT does, unless it is ours.
            while (::ioctl(cpu_.get(), KVM_RUN, 0) != 0 &&
                   (errno == EAGAIN ||
                    (errno == EINTR &&
                     __atomic_load_n(&run_->immediate_exit, __ATOMIC_SEQ_CST) == 0))) {}
            fault_ = "KVM's guest ended by itself, for KVM's reason " +
                     std::to_string(run_->exit_reason);
        } catch (const std::exception& e) {
            fault_ = e.what();
        }
        ended_ = true;
    }

    file_descriptor device_;
    file_descriptor machine_;
    file_descriptor cpu_;
    file_descriptor kicked_{event()};
    file_descriptor interrupt_{event()};
    std::byte* memory_{nullptr};
    kvm_run* run_{nullptr};
    std::size_t run_size_{0};
    std::string fault_; // before ended_
    std::atomic<bool> ended_{false};
    std::thread thread_;
};

void measure_writes(guest& g, boost::json::object& cycles, const char* name, wish how)
{
    std::vector<std::uint64_t> took;
    for (unsigned i = 0; i < loops_a_round; ++i) {
        took.push_back(g.write(how));
    }
    add_round(cycles, name, median(took) / writes_at_once);
}

void measure_kicks(guest& g, boost::json::object& cycles, const std::string& name,
                   std::chrono::microseconds settle)
{
    std::vector<std::uint64_t> writes;
    std::vector<std::uint64_t> handled;
    for (unsigned i = 0; i < kicks_a_round; ++i) {
        spin_for(settle);
        const auto [write, all] = g.kick();
        writes.push_back(write);
        handled.push_back(all);
    }
    add_round(cycles, "irqfd_write_" + name, median(writes));
    add_round(cycles, "irqfd_handled_" + name, median(handled));
}

} // namespace

boost::json::object calibrate_kvm(const calibration_options& o)
{
    const auto halt_poll_ns = fact("/sys/module/kvm/parameters/halt_poll_ns");
    const auto asleep_after = until_halted(halt_poll_ns);
    guest g{o.other_cpu};
    boost::json::object cycles;
    for (unsigned i = 0; i < o.rounds; ++i) {
        measure_writes(g, cycles, "ioeventfd_mmio", wish::write_memory);
        measure_writes(g, cycles, "ioeventfd_pio", wish::write_port);
        measure_kicks(g, cycles, "running", pause);
        g.want(wish::sleep);
        (void)g.kick(); // it may have been asleep when it was told
        measure_kicks(g, cycles, "halted", asleep_after);
        g.want(wish::spin);
        (void)g.kick();
    }
    const auto has = [](const char* module) {
        return std::filesystem::exists(std::string{"/sys/module/"} + module);
    };
    boost::json::object facts{{"module", has("kvm_intel") ? "kvm_intel"
                                         : has("kvm_amd") ? "kvm_amd"
                                                          : "neither"},
                              {"apicv", fact("/sys/module/kvm_intel/parameters/enable_apicv")},
                              {"avic", fact("/sys/module/kvm_amd/parameters/avic")},
                              {"halt_poll_ns", halt_poll_ns}};
    return {{"facts", std::move(facts)}, {"cycles", std::move(cycles)}};
}

} // namespace strait::bench
