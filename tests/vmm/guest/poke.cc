// SPDX-License-Identifier: BSD-3-Clause
// Interrupts stay disabled meanwhile: what devices raise waits, and is counted some time later.

#include "tests/vmm/guest/poke.hh"

#include "tests/vmm/guest/boot.hh"
#include "tests/vmm/guest/console.hh"
#include "tests/vmm/guest/cpu.hh"
#include "tests/vmm/guest/pci.hh"
#include "tests/vmm/guest/virtio.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <array>
#include <cstring>

namespace strait::guest {

namespace {

namespace platform = vmm::platform;

constexpr std::uint64_t four_gib = 1ULL << 32;

struct place {
    std::uint64_t start;
    std::uint64_t length;
};

constexpr std::array<place, 5> ports{{{0x60, 1},
                                      {platform::keyboard_command, 1},
                                      {platform::serial, 8},
                                      {platform::power, platform::power_ports},
                                      {platform::pci_address, 8}}};

class poker {
public:
    explicit poker(std::uint64_t seed) noexcept : state_{seed}
    {
        for (const pci::function f : pci::find()) {
            const auto bars = pci::bars(f);
            for (const pci::bar& b : bars) {
                if (b.size != 0 && bar_count_ < bars_.size()) {
                    bars_[bar_count_] = {b.address, b.size};
                    is_memory_[bar_count_++] = b.memory;
                }
            }
            if (virtio_device::type_of(f) != 0 && table_count_ < tables_.size()) {
                const auto t = virtio_device{f}.message_table();
                tables_[table_count_++] = {t.address, t.length};
            }
            if (function_count_ < functions_.size()) {
                auto& kept = functions_[function_count_++];
                kept.where = f;
                for (std::uint8_t i = 0; i < kept.header.size(); ++i) {
                    kept.header[i] = pci::read<std::uint32_t>(f, offset_of(i));
                }
            }
        }
        for (const memory_range& r : read_boot_info().memory) {
            if (r.type == 1) {
                memory_end_ = std::max(memory_end_, r.start + r.length);
            }
        }
        std::uint32_t leaf = 0x8000'0008;
        asm volatile("cpuid" : "+a"(leaf) : : "ebx", "ecx", "edx");
        address_end_ = 1ULL << std::clamp(leaf & 0xff, 36U, 52U);
    }

    void run(std::uint64_t count) noexcept
    {
        for (std::uint64_t i = 0; i < count; ++i) {
            one();
            if (i % 32 == 31) {
                put_back();
            }
        }
        put_back();
    }

    // BARs and commands as they were, for the BARs to be where accesses go to.
    void put_back() noexcept
    {
        for (std::size_t i = 0; i < function_count_; ++i) {
            for (std::uint8_t k = 0; k < functions_[i].header.size(); ++k) {
                pci::write(functions_[i].where, offset_of(k), functions_[i].header[k]);
            }
        }
    }

private:
    struct function {
        pci::function where;
        std::array<std::uint32_t, 7> header; // BARs, then the command
    };

    static constexpr std::uint8_t offset_of(std::uint8_t i) noexcept
    {
        return i < 6 ? static_cast<std::uint8_t>(pci::first_bar + 4 * i) : pci::command;
    }

    // Splitmix: any seed is as good as any other.
    std::uint64_t random() noexcept
    {
        state_ += 0x9e37'79b9'7f4a'7c15;
        std::uint64_t x = state_;
        x = (x ^ x >> 30) * 0xbf58'476d'1ce4'e5b9;
        x = (x ^ x >> 27) * 0x94d0'49bb'1331'11eb;
        return x ^ x >> 31;
    }
    std::uint64_t below(std::uint64_t n) noexcept { return random() % n; }

    // Addresses among them are of memory that nobody uses.
    std::uint64_t value() noexcept
    {
        switch (below(6)) {
        case 0:
            return 0;
        case 1:
            return ~std::uint64_t{0};
        case 2:
            return 1ULL << below(64);
        case 3:
            return below(256);
        case 4:
            return spare_memory() + below(spare_length / 2) / 16 * 16;
        default:
            return random();
        }
    }

    std::uint64_t any_of(place p) noexcept { return p.start + below(p.length); }

    std::uint64_t tame_port(std::uint16_t port, std::uint64_t v, unsigned size) const noexcept
    {
        for (unsigned i = 0; i < size; ++i) {
            std::uint64_t cleared = 0;
            const std::uint64_t byte = v >> 8 * i & 0xff;
            const unsigned at = port + i;
            // Of QEMU's keyboard controller, each byte of a wider write is a command; others than
            // ours reset, too.
            if (at >= platform::keyboard_command && at < platform::keyboard_command + 4U) {
                cleared = byte >= 0xd0 ? 0xf0 : 0;
            } else if (at == platform::sleep_control) {
                cleared = platform::sleep_enable;
            } else if (at == platform::pci_address + 1U) { // a PC's reset control
                cleared = 4;
            }
            v &= ~(cleared << 8 * i);
        }
        return v;
    }

    // A message may be any vector from 128 on, but no NMI or INIT.
    std::uint64_t tame_message(std::uint64_t address, std::uint64_t v, unsigned size) const noexcept
    {
        for (unsigned i = 0; i < size; ++i) {
            for (std::size_t t = 0; t < table_count_; ++t) {
                const std::uint64_t offset = address + i - tables_[t].start;
                if (offset >= tables_[t].length) {
                    continue;
                }
                if (offset % 16 == 8) {
                    v |= 0x80ULL << 8 * i;
                } else if (offset % 16 == 9) {
                    v &= ~(0x07ULL << 8 * i);
                }
            }
        }
        return v;
    }

    template <typename T>
    void strings(std::uint16_t port) noexcept
    {
        std::array<T, 16> buffer;
        std::uint64_t count = 1 + below(buffer.size());
        void* at = buffer.data();
        if (below(2) == 0) {
            if constexpr (sizeof(T) == 1) {
                asm volatile("rep insb" : "+D"(at), "+c"(count) : "d"(port) : "memory");
            } else if constexpr (sizeof(T) == 2) {
                asm volatile("rep insw" : "+D"(at), "+c"(count) : "d"(port) : "memory");
            } else {
                asm volatile("rep insl" : "+D"(at), "+c"(count) : "d"(port) : "memory");
            }
            return;
        }
        for (T& one : buffer) {
            one = static_cast<T>(tame_port(port, value(), sizeof(T)));
        }
        if constexpr (sizeof(T) == 1) {
            asm volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(port) : "memory");
        } else if constexpr (sizeof(T) == 2) {
            asm volatile("rep outsw" : "+S"(at), "+c"(count) : "d"(port) : "memory");
        } else {
            asm volatile("rep outsl" : "+S"(at), "+c"(count) : "d"(port) : "memory");
        }
    }

    template <typename T>
    void port(std::uint16_t p) noexcept
    {
        if (below(8) == 0) {
            strings<T>(p);
        } else if (below(2) == 0) {
            static_cast<void>(in<T>(p));
        } else {
            out(p, static_cast<T>(tame_port(p, value(), sizeof(T))));
        }
    }

    void some_port(std::uint64_t p) noexcept
    {
        const auto at = static_cast<std::uint16_t>(p);
        switch (below(3)) {
        case 0:
            port<std::uint8_t>(at);
            break;
        case 1:
            port<std::uint16_t>(at);
            break;
        default:
            port<std::uint32_t>(at);
            break;
        }
    }

    template <typename T>
    void memory(std::uint64_t address) noexcept
    {
        const std::uint64_t at = reach(address, sizeof(T));
        if (below(2) == 0) {
            static_cast<void>(load<T>(at));
        } else {
            store(at, static_cast<T>(tame_message(address, value(), sizeof(T))));
        }
    }

    void some_memory(std::uint64_t address) noexcept
    {
        const std::uint64_t size = 1ULL << below(4);
        if (below(2) == 0) {
            address &= ~(size - 1);
        }
        switch (size) {
        case 1:
            memory<std::uint8_t>(address);
            break;
        case 2:
            memory<std::uint16_t>(address);
            break;
        case 4:
            memory<std::uint32_t>(address);
            break;
        default:
            memory<std::uint64_t>(address);
            break;
        }
    }

    void some_configuration() noexcept
    {
        std::uint32_t address = static_cast<std::uint32_t>(random());
        if (function_count_ != 0 && below(4) != 0) {
            const pci::function f = functions_[below(function_count_)].where;
            address = 1U << 31 | std::uint32_t{f.device} << 11 | std::uint32_t{f.number} << 8 |
                      (address & 0xfc);
        }
        out(platform::pci_address, address);
        some_port(platform::pci_data + below(4));
    }

    void some_bar() noexcept
    {
        if (bar_count_ == 0) {
            return;
        }
        const std::size_t i = below(bar_count_);
        const place& b = bars_[i];
        // Registers lie at the begin of each page, if anywhere.
        std::uint64_t offset = below(b.length);
        if (below(2) == 0) {
            offset = (offset & ~std::uint64_t{0xfff}) + below(64);
        }
        if (is_memory_[i]) {
            some_memory(b.start + offset % b.length);
        } else {
            some_port(b.start + offset % b.length);
        }
    }

    void nowhere() noexcept
    {
        const std::uint64_t low = std::min(low_memory_end(), platform::pci_window);
        switch (below(3)) {
        case 0:
            some_memory(any_of(
                {platform::pci_window, platform::pci_window_end - platform::pci_window - 8}));
            break;
        case 1:
            if (low < platform::pci_window) {
                some_memory(any_of({low, platform::pci_window - low}));
            }
            break;
        default: {
            const std::uint64_t start = std::max(memory_end_, four_gib);
            some_memory(
                any_of({start, (1ULL << (33 + below(20))) % (address_end_ - start - 8) + 1}));
            break;
        }
        }
    }

    void one() noexcept
    {
        switch (below(8)) {
        case 0:
            some_port(any_of(ports[below(ports.size())]));
            break;
        case 1:
            some_port(any_of({0x1000, 0xf000 - 4}));
            break;
        case 2:
            some_configuration();
            break;
        case 3:
            nowhere();
            break;
        default:
            some_bar();
            break;
        }
    }

    std::uint64_t state_;
    std::array<place, 64> bars_;
    std::array<bool, 64> is_memory_;
    std::size_t bar_count_{0};
    std::array<function, 32> functions_;
    std::size_t function_count_{0};
    std::array<place, 32> tables_;
    std::size_t table_count_{0};
    std::uint64_t memory_end_{0};
    std::uint64_t address_end_{0};
};

// What strait-vmm serves, and KVM: two PICs with their trigger modes, timer and speaker.
constexpr std::array<place, 9> assigned{{{0x20, 2},
                                         {0x40, 4},
                                         {0x61, 1},
                                         {platform::keyboard_command, 1},
                                         {0xa0, 2},
                                         {platform::serial, 8},
                                         {0x4d0, 2},
                                         {platform::power, platform::power_ports},
                                         {platform::pci_address, 8}}};

// How many ports there are that answer.
template <typename T>
std::uint64_t look_at_ports() noexcept
{
    std::uint64_t answers = 0;
    for (std::uint32_t port = 0; port + sizeof(T) <= 0x1'0000; ++port) {
        const auto meets = [port](place p) {
            return port < p.start + p.length && p.start < port + sizeof(T);
        };
        if (std::ranges::any_of(assigned, meets)) {
            continue;
        }
        const auto at = static_cast<std::uint16_t>(port);
        out(at, static_cast<T>(0xa5a5'a5a5));
        if (in<T>(at) != static_cast<T>(~T{0})) {
            print("port_answers=", port);
            ++answers;
        }
    }
    return answers;
}

// Devices of other types than the network's: they run, without queues.
bool each_device(bool run) noexcept
{
    bool all = true;
    for (const pci::function f : pci::find()) {
        const auto type = virtio_device::type_of(f);
        if (type == 0 || (run && type == virtio_device::network)) {
            continue;
        }
        virtio_device d{f};
        all &= d.reset();
        if (run) {
            all &= d.negotiate(1ULL << vhost::feature::version_1);
            d.add_status(device_status::driver_ok);
        }
    }
    return all;
}

} // namespace

void poke(std::uint64_t seed, std::uint64_t count, network& net, const net_settings& s) noexcept
{
    print("poke_seed=", seed);
    if (!each_device(false)) {
        panic("a device is not reset");
    }
    poker p{seed};
    p.run(count);
    start_console();
    print("\npoke_idle=", count);
    const bool started = each_device(true) && net.start(s);
    print("poke_started=", started ? 1U : 0U);
    p.run(count);
    start_console();
    print("\npoke_running=", count);
    print("poke_reset=", each_device(false) ? 1U : 0U);
    print("poke=done");
}

void look_at_all_ports() noexcept
{
    const std::uint64_t answers = look_at_ports<std::uint8_t>() + look_at_ports<std::uint16_t>() +
                                  look_at_ports<std::uint32_t>();
    print("ports_that_answer=", answers);
}

} // namespace strait::guest
