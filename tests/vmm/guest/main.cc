// SPDX-License-Identifier: BSD-3-Clause
// The guest by which strait-vmm is tested: it does what the words of its command line say, one
// after the other. "key=value" words that are settings hold for all that comes after them; `net`
// sets a device up when the next word is no setting, so that they can stand behind it.
//
//   hello           what the VMM handed over        smp           starts all CPUs
//   pci             the functions of bus 0          button        waits for the power button
//   net             sets a network device up: device=N features=MASK force=MASK packed=1 mrg=1
//                   queues=N msix=0 ring=SIZE buffer=BYTES high=1 keep=1
//   tx=N rx=N echo ping=N irq=N stop link=0|1       with the device, for size=BYTES dst=MAC src=MAC
//                   seconds=N wait=irq|poll
//   pass=N          sent by the device that keep=1 left as it was, and received by the last one
//   poke=SEED,N     accesses without rules          sleep=MILLISECONDS
//   ports           every port that the machine has not
//   end=poweroff|reset|resets|triple|hlt|panic

#include "tests/vmm/guest/boot.hh"
#include "tests/vmm/guest/console.hh"
#include "tests/vmm/guest/cpu.hh"
#include "tests/vmm/guest/net.hh"
#include "tests/vmm/guest/pci.hh"
#include "tests/vmm/guest/poke.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

namespace strait::guest {

namespace {

namespace platform = vmm::platform;

struct word {
    std::string_view key;
    std::string_view value;
};

// The next of the line, which loses it; no key: there is none.
word next_word(std::string_view& line) noexcept
{
    while (!line.empty() && line.front() == ' ') {
        line.remove_prefix(1);
    }
    const std::size_t length = std::min(line.find(' '), line.size());
    std::string_view key{line.data(), length};
    line.remove_prefix(length);
    std::string_view value;
    if (const std::size_t equals = key.find('='); equals != std::string_view::npos) {
        value = {key.data() + equals + 1, key.size() - equals - 1};
        key = {key.data(), equals};
    }
    return {key, value};
}

std::optional<unsigned> digit(char c, unsigned base) noexcept
{
    const std::size_t d = std::string_view{"0123456789abcdef"}.find(c);
    return d < base ? std::optional{static_cast<unsigned>(d)} : std::nullopt;
}

// Decimal, or hexadecimal after 0x.
std::uint64_t number(std::string_view text) noexcept
{
    const std::string_view whole = text;
    unsigned base = 10;
    if (text.starts_with("0x")) {
        base = 16;
        text.remove_prefix(2);
    }
    std::uint64_t result = 0;
    for (const char c : text) {
        const auto d = digit(c, base);
        if (!d) {
            panic("no number: ", whole);
        }
        result = result * base + *d;
    }
    if (text.empty()) {
        panic("no number: ", whole);
    }
    return result;
}

mac_address mac(std::string_view text) noexcept
{
    mac_address result{};
    for (std::size_t i = 0; i < text.size() && i < 17; ++i) {
        const auto d = digit(text[i], 16);
        if (text.size() != 17 || (i % 3 == 2 ? text[i] != ':' : !d)) {
            panic("no MAC address: ", text);
        }
        if (d) {
            result[i / 3] = static_cast<std::uint8_t>(unsigned{result[i / 3]} << 4 | *d);
        }
    }
    return result;
}

struct {
    net_settings net{};
    run_settings run{};
} constinit settings;
constinit std::array<network, 2> nets; // the second is that after keep=1
constinit network* net = nets.data();

// False: it is none.
bool take_setting(const word& w) noexcept
{
    net_settings& n = settings.net;
    run_settings& r = settings.run;
    if (w.key == "device") {
        n.device = static_cast<unsigned>(number(w.value));
    } else if (w.key == "features") {
        n.features = number(w.value);
    } else if (w.key == "force") {
        n.force = number(w.value);
    } else if (w.key == "packed") {
        n.packed = number(w.value) != 0;
    } else if (w.key == "mrg") {
        n.mergeable = number(w.value) != 0;
    } else if (w.key == "queues") {
        n.pairs = number(w.value);
    } else if (w.key == "msix") {
        n.messages = number(w.value) != 0;
    } else if (w.key == "ring") {
        n.ring = number(w.value);
    } else if (w.key == "buffer") {
        n.buffer = number(w.value);
    } else if (w.key == "high") {
        n.high = number(w.value) != 0;
    } else if (w.key == "keep") {
        n.keep = number(w.value) != 0;
    } else if (w.key == "size") {
        r.size = number(w.value);
    } else if (w.key == "dst") {
        r.destination = mac(w.value);
    } else if (w.key == "src") {
        r.source = mac(w.value);
    } else if (w.key == "seconds") {
        r.seconds = number(w.value);
    } else if (w.key == "wait") {
        r.sleep = w.value == "irq";
    } else {
        return false;
    }
    return true;
}

struct bytes {
    std::uint64_t at;
    std::uint64_t count;
};

// FNV-1a, by which the VMM's side compares them. In ring 3, because they may be many.
std::uint64_t hash(void* argument)
{
    const auto& b = *static_cast<const bytes*>(argument);
    std::uint64_t sum = 0xcbf2'9ce4'8422'2325;
    for (std::uint64_t i = 0; i < b.count; ++i) {
        sum = (sum ^ load<std::uint8_t>(b.at + i)) * 0x100'0000'01b3;
    }
    return sum;
}

bool start_net() noexcept
{
    if (!settings.net.keep) {
        nets[1].end();
    }
    net = &nets[settings.net.keep ? 1 : 0];
    return net->start(settings.net);
}

void hello() noexcept
{
    const boot_info& boot = read_boot_info();
    print("hello=strait-test-guest");
    print("boot=", boot.by_pvh ? "pvh" : "linux");
    print("command_line=", boot.command_line);
    for (const memory_range& r : boot.memory) {
        print("memory=", hex{r.start}, " ", hex{r.length}, " ", r.type);
    }
    print("initrd=", hex{boot.initrd}, " ", hex{boot.initrd_length});
    bytes initrd{boot.initrd, boot.initrd_length};
    print("initrd_hash=", hex{call_in_ring_3(hash, &initrd)});
    print("tsc=", cycles_per_second());
    const acpi_info& acpi = read_acpi();
    print("rsdp=", hex{boot.rsdp});
    write("acpi_tables=");
    for (std::size_t i = 0; i < acpi.table_count; ++i) {
        write(i == 0 ? "" : " ");
        write(std::string_view{acpi.tables[i].data(), acpi.tables[i].size()});
    }
    print("\nacpi=", acpi.fault.empty() ? "ok" : acpi.fault);
    print("cpus=", acpi.cpu_count);
}

void smp() noexcept
{
    const acpi_info& acpi = read_acpi();
    print("smp=", 1 + start_others({acpi.apic_ids.data(), acpi.cpu_count}));
}

void button() noexcept
{
    static_cast<void>(in<std::uint8_t>(platform::event_register)); // one of before
    route_pin(platform::event_interrupt, vector::button);
    print("button=waiting");
    const std::uint64_t deadline = cycles() + settings.run.seconds * cycles_per_second();
    while (interrupts(vector::button) == 0 && cycles() < deadline) {
        sleep(100'000'000);
    }
    print("button_interrupts=", interrupts(vector::button));
    const auto pressed = in<std::uint8_t>(platform::event_register) & platform::power_button;
    const auto left = in<std::uint8_t>(platform::event_register) & platform::power_button;
    print("button_after_read=", static_cast<unsigned>(left));
    print("button=", static_cast<unsigned>(pressed));
}

[[noreturn]] void end(std::string_view how) noexcept
{
    print("end=", how);
    if (how == "poweroff") {
        power_off();
    } else if (how == "reset") {
        reset();
    } else if (how == "resets") {
        for (;;) {
            out<std::uint8_t>(platform::keyboard_command, platform::keyboard_reset);
        }
    } else if (how == "triple") {
        triple_fault();
    } else if (how == "hlt") {
        halt();
    } else if (how == "panic") {
        asm volatile("ud2");
    }
    panic("no such end: ", how);
}

// False: there is no such word.
bool act(const word& w) noexcept
{
    const run_settings& r = settings.run;
    if (w.key == "hello") {
        hello();
    } else if (w.key == "smp") {
        smp();
    } else if (w.key == "pci") {
        pci::print_all();
    } else if (w.key == "button") {
        button();
    } else if (w.key == "sleep") {
        wait(number(w.value) * 1'000'000);
    } else if (w.key == "tx") {
        net->run("tx", traffic::kind::transmit, number(w.value), r);
    } else if (w.key == "stop") {
        net->run("stop", traffic::kind::transmit, 1, r, true);
    } else if (w.key == "rx") {
        net->run("rx", traffic::kind::receive, number(w.value), r);
    } else if (w.key == "echo") {
        net->run("echo", traffic::kind::echo, 0, r);
    } else if (w.key == "pass") {
        net->run("pass", traffic::kind::pass, number(w.value), r, false, nets.data());
    } else if (w.key == "ping") {
        net->run("ping", traffic::kind::ping, number(w.value), r);
    } else if (w.key == "irq") {
        run_settings sleeping = r;
        sleeping.sleep = true;
        net->run("irq", traffic::kind::ping, number(w.value), sleeping);
    } else if (w.key == "link") {
        net->wait_link(number(w.value) != 0, r);
    } else if (w.key == "poke") {
        const std::size_t comma = std::min(w.value.find(','), w.value.size() - 1);
        poke(number({w.value.data(), comma}),
             number({w.value.data() + comma + 1, w.value.size() - comma - 1}), *net, settings.net);
    } else if (w.key == "ports") {
        look_at_all_ports();
    } else if (w.key == "end") {
        end(w.value);
    } else {
        return false;
    }
    return true;
}

} // namespace

extern "C" [[noreturn]] void guest_main() noexcept;

void guest_main() noexcept
{
    start_console();
    start_cpu();
    std::string_view line = read_boot_info().command_line;
    bool wanted = false;
    for (;;) {
        const word w = next_word(line);
        if (!w.key.empty() && take_setting(w)) {
            continue;
        }
        if (wanted && !start_net()) {
            panic("no network device");
        }
        wanted = w.key == "net";
        if (w.key.empty()) {
            end("poweroff");
        }
        if (!wanted && !act(w)) {
            panic("no such word: ", w.key);
        }
    }
}

} // namespace strait::guest
