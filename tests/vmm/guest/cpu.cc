// SPDX-License-Identifier: BSD-3-Clause
// Interrupts by the local APIC, whose timer counts nanoseconds in every virtual machine there is
// here: KVM's and QEMU's.

#include "tests/vmm/guest/cpu.hh"

#include "tests/vmm/guest/console.hh"
#include "vmm/platform.hh"

#include <array>

namespace strait::guest {

namespace {

namespace platform = vmm::platform;

extern "C" {
extern std::byte interrupt_entries[]; // 16 bytes each
extern std::uint32_t interrupt_counts[];
extern std::byte trampoline[];
extern std::byte trampoline_end[];
extern std::uint32_t other_cpus;
extern std::uint64_t window_entries[]; // of the page table for the 1 GiB from `windows` on
}

constexpr std::uint16_t code_segment = 0x10;
constexpr std::uint64_t trampoline_at = 0x8000; // start.S knows it, too
constexpr std::uint64_t windows = 8ULL << 30;
constexpr unsigned window_count = 512;
constexpr std::uint64_t large_page = 2ULL << 20;

// The local APIC's registers.
namespace apic {
constexpr std::uint64_t id = platform::local_apic + 0x20;
constexpr std::uint64_t spurious = platform::local_apic + 0xf0;
constexpr std::uint64_t command = platform::local_apic + 0x300;
constexpr std::uint64_t command_target = platform::local_apic + 0x310;
constexpr std::uint64_t timer_entry = platform::local_apic + 0x320;
constexpr std::uint64_t timer_start = platform::local_apic + 0x380;
constexpr std::uint64_t timer_now = platform::local_apic + 0x390;
constexpr std::uint64_t timer_divider = platform::local_apic + 0x3e0;
constexpr std::uint32_t divide_by_1 = 0xb;
constexpr std::uint32_t masked = 1U << 16;
constexpr std::uint32_t init = 0x4500;
constexpr std::uint32_t startup = 0x4600;
constexpr std::uint32_t pending = 1U << 12;
} // namespace apic

struct gate {
    std::uint16_t low;
    std::uint16_t segment;
    std::uint16_t kind;
    std::uint16_t middle;
    std::uint32_t high;
    std::uint32_t reserved;
};
static_assert(sizeof(gate) == 16);
alignas(16) std::array<gate, 256> gates;

struct [[gnu::packed]] table_pointer {
    std::uint16_t limit;
    std::uint64_t base;
};

std::uint64_t rate;
unsigned next_window;

void load_interrupt_table(std::uint16_t limit) noexcept
{
    const table_pointer to{limit, reinterpret_cast<std::uint64_t>(gates.data())};
    asm volatile("lidt %0" : : "m"(to));
}

void measure_rate() noexcept
{
    constexpr std::uint32_t most = 0xffff'ffff;
    constexpr std::uint32_t enough = 20'000'000;
    store<std::uint32_t>(apic::timer_entry, apic::masked | vector::timer);
    store<std::uint32_t>(apic::timer_start, most);
    const std::uint32_t first = load<std::uint32_t>(apic::timer_now);
    const std::uint64_t began = cycles();
    std::uint32_t last = first;
    while (first - last < enough) {
        last = load<std::uint32_t>(apic::timer_now);
    }
    rate = (cycles() - began) * 1'000'000'000 / (first - last);
    store<std::uint32_t>(apic::timer_start, 0);
}

void command(std::uint8_t target, std::uint32_t what) noexcept
{
    store<std::uint32_t>(apic::command_target, std::uint32_t{target} << 24);
    store<std::uint32_t>(apic::command, what);
    while ((load<std::uint32_t>(apic::command) & apic::pending) != 0) {}
}

struct fault_frame {
    std::uint64_t vector;
    std::uint64_t error;
    std::uint64_t instruction;
    std::uint64_t code;
    std::uint64_t flags;
    std::uint64_t stack;
};

extern "C" [[noreturn]] void fault(const fault_frame& f) noexcept;

void fault(const fault_frame& f) noexcept
{
    std::uint64_t address = 0;
    asm volatile("mov %%cr2, %0" : "=r"(address));
    print("panic=exception ", f.vector, " error ", hex{f.error}, " at ", hex{f.instruction},
          " ring ", f.code & 3, " stack ", hex{f.stack}, " cr2 ", hex{address});
    reset();
}

} // namespace

void start_cpu() noexcept
{
    for (unsigned i = 0; i < gates.size(); ++i) {
        const auto at = reinterpret_cast<std::uint64_t>(interrupt_entries) + 16 * std::uint64_t{i};
        gates[i] = {static_cast<std::uint16_t>(at),
                    code_segment,
                    0x8e00,
                    static_cast<std::uint16_t>(at >> 16),
                    static_cast<std::uint32_t>(at >> 32),
                    0};
    }
    load_interrupt_table(sizeof(gates) - 1);
    out<std::uint8_t>(0x21, 0xff); // the old interrupt controllers, if there are any
    out<std::uint8_t>(0xa1, 0xff);
    store<std::uint32_t>(apic::spurious, 0x1ff);
    store<std::uint32_t>(apic::timer_divider, apic::divide_by_1);
    measure_rate();
    store<std::uint32_t>(apic::timer_entry, vector::timer);
}

std::uint32_t interrupts(unsigned vector) noexcept
{
    return *static_cast<volatile std::uint32_t*>(interrupt_counts + vector);
}

std::uint8_t own_apic_id() noexcept
{
    return static_cast<std::uint8_t>(load<std::uint32_t>(apic::id) >> 24);
}

std::uint64_t cycles_per_second() noexcept
{
    return rate;
}

void sleep(std::uint64_t nanoseconds) noexcept
{
    constexpr std::uint64_t longest = 4'000'000'000; // the register's, nearly
    store(apic::timer_start,
          static_cast<std::uint32_t>(nanoseconds < longest ? nanoseconds + 1 : longest));
    // An interrupt between sti and hlt waits for hlt.
    asm volatile("sti\n\thlt\n\tcli" : : : "memory");
    store<std::uint32_t>(apic::timer_start, 0);
}

void wait(std::uint64_t nanoseconds) noexcept
{
    const std::uint64_t until = cycles() + nanoseconds * (rate / 1'000'000) / 1000;
    while (cycles() < until) {
        sleep(nanoseconds);
    }
}

void route_pin(unsigned pin, std::uint8_t vector) noexcept
{
    const std::uint32_t entry = 0x10 + 2 * pin;
    const auto set = [](std::uint32_t index, std::uint32_t value) {
        store(platform::io_apic, index);
        store(platform::io_apic + 0x10, value);
    };
    set(entry + 1, std::uint32_t{own_apic_id()} << 24);
    set(entry, vector);
}

unsigned start_others(std::span<const std::uint8_t> apic_ids) noexcept
{
    const std::uint64_t length = static_cast<std::uint64_t>(trampoline_end - trampoline);
    for (std::uint64_t i = 0; i < length; ++i) {
        store(trampoline_at + i, trampoline[i]);
    }
    auto& count = *static_cast<volatile std::uint32_t*>(&other_cpus);
    count = 0;
    unsigned started = 0;
    for (const std::uint8_t id : apic_ids) {
        if (id == own_apic_id()) {
            continue;
        }
        ++started;
        command(id, apic::init);
        wait(10'000'000);
        command(id, apic::startup | trampoline_at >> 12);
    }
    for (unsigned i = 0; i < 200 && count < started; ++i) {
        wait(10'000'000);
    }
    return count;
}

std::uint64_t reach(std::uint64_t physical, std::uint64_t length) noexcept
{
    if (physical < windows && length <= windows - physical) {
        return physical;
    }
    const std::uint64_t page = physical & ~(large_page - 1);
    const std::uint64_t pages = (physical + length - page + large_page - 1) / large_page;
    if (next_window + pages > window_count) {
        next_window = 0;
    }
    const std::uint64_t base = windows + next_window * large_page;
    for (std::uint64_t i = 0; i < pages; ++i) {
        constexpr std::uint64_t uncached_for_all = 0xff;
        window_entries[next_window++] = (page + i * large_page) | uncached_for_all;
        asm volatile("invlpg (%0)" : : "r"(base + i * large_page) : "memory");
    }
    return base + (physical - page);
}

void power_off() noexcept
{
    out<std::uint8_t>(platform::sleep_control,
                      platform::sleep_type_off << 2 | platform::sleep_enable);
    wait(3'000'000'000); // a VMM may take its time
    print("poweroff=failed");
    reset();
}

void reset() noexcept
{
    out<std::uint8_t>(platform::keyboard_command, platform::keyboard_reset);
    halt();
}

void triple_fault() noexcept
{
    load_interrupt_table(0);
    asm volatile("ud2");
    halt();
}

void halt() noexcept
{
    for (;;) {
        asm volatile("cli\n\thlt" : : : "memory");
    }
}

} // namespace strait::guest
