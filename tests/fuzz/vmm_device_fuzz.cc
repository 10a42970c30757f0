// SPDX-License-Identifier: BSD-3-Clause
// The VMM's device side as a guest's accesses reach it: both buses as the machine connects them,
// the PCI bus with one virtio function of each kind and one whose device the input plays, serial
// port, power registers and keyboard controller. An input is a sequence of operations of 8 bytes,
//   kind, where (what it is depends on the kind), offset (16 bits), value (32 bits)
// accesses of a guest, and shortcuts to states that would take many of them.
//
// Devices' threads are played (threads.hh): an operation lets them take so many steps. The network
// device's back end comes and goes as the input says, and is waited for after each operation. A
// machine is made for each input. What is left of the last one are memory and disks, put back, and
// the network device, which is made anew if it had a back end or another address.
#include "control/log.hh"
#include "ports/vhost/virtio.hh"
#include "tests/fuzz/check.hh"
#include "tests/fuzz/guarded_memory.hh"
#include "tests/fuzz/vmm_device/back_end.hh"
#include "tests/fuzz/vmm_device/parts.hh"
#include "tests/fuzz/vmm_device/threads.hh"
#include "tests/fuzz/vmm_device/watched_function.hh"
#include "vmm/bus.hh"
#include "vmm/devices/power.hh"
#include "vmm/devices/serial.hh"
#include "vmm/event.hh"
#include "vmm/pci/bus.hh"
#include "vmm/platform.hh"
#include "vmm/virtio/block.hh"
#include "vmm/virtio/entropy.hh"
#include "vmm/virtio/net.hh"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using namespace strait;
using namespace strait::vmm;
using namespace strait::fuzz;
namespace feature = vhost::feature;

constexpr std::size_t disk_size = 16 * 1024;

struct image {
    image() { check(file >= 0 && ::ftruncate(file, disk_size) == 0 && put_back()); }
    [[nodiscard]] virtio::disk open(bool read_only) const
    {
        return virtio::disk::open({.path = "/proc/self/fd/" + std::to_string(file),
                                   .read_only = read_only,
                                   .serial = "fuzz"})
            .value();
    }
    [[nodiscard]] bool put_back() const
    {
        return ::pwrite(file, content.data(), disk_size, 0) == disk_size;
    }
    [[nodiscard]] bool unchanged() const
    {
        std::vector<std::byte> now(disk_size);
        check(::pread(file, now.data(), disk_size, 0) == disk_size);
        return std::memcmp(now.data(), content.data(), disk_size) == 0 && has_its_size();
    }
    [[nodiscard]] bool has_its_size() const
    {
        struct stat status {};
        return ::fstat(file, &status) == 0 && status.st_size == disk_size;
    }
    int file{::memfd_create("fuzz-disk", MFD_CLOEXEC)};
    std::vector<std::byte> content = std::vector(disk_size, std::byte{0x5a});
};

// What machines share.
struct host {
    static constexpr std::uint64_t ram_bytes = 64 * 1024;

    host()
    {
        make_net();
        std::atexit([] { (void)::unlink(socket_path().c_str()); });
    }
    static const std::string& socket_path()
    {
        static const std::string& path =
            *new std::string{"/tmp/vmm_device_fuzz." + std::to_string(::getpid())};
        return path;
    }
    void make_net()
    {
        virtio::net_options o;
        o.name = net_name;
        o.socket = socket_path();
        o.server = true;
        o.mac = dataplane::mac_address{0x0605'0403'0252};
        o.pairs = 2;
        o.packed = true;
        net.reset();
        net = virtio::net::make(o, ram).value();
        net->attach(borrower);
        mac = mac_now();
        had_back_end = had_left = refused = false;
    }

    // Until the network device has nothing to do but to wait for kicks and time. With a back end,
    // after each operation: its control queue could not have an answer while that has to give one.
    void settle()
    {
        if (!borrower.busy && other.fd() < 0) {
            return;
        }
        wait_for_real_threads(other);
        if (other.fd() >= 0 && !net->look().connected) {
            other.leave();
            refused = true;
        }
        check(!net->look().serving || other.fd() >= 0);
    }
    // The value: bit 0: it comes; bit 1: with packed rings; bit 2: with checksums; bit 3: without
    // what every back end must have; bits 4-6: pairs.
    void change_back_end(std::uint32_t value)
    {
        if (other.fd() >= 0) {
            const bool served = net->look().serving;
            other.leave();
            wait_until([this] { return !net->look().connected; });
            refused = refused || !served || std::exchange(had_left, true);
        }
        if ((value & 1) == 0 || refused) { // the front end listens again a second later
            return;
        }
        constexpr std::uint64_t always = 1ULL << feature::version_1 |
                                         1ULL << feature::protocol_features |
                                         1ULL << feature::mergeable_buffers |
                                         1ULL << feature::indirect | 1ULL << feature::event_index;
        std::uint64_t features = (value & 8) != 0 ? 1ULL << feature::version_1 : always;
        features |= (value & 2) != 0 ? 1ULL << feature::ring_packed : 0;
        features |= (value & 4) != 0 ? 1ULL << feature::checksum : 0;
        const std::uint64_t before = net->look().connections;
        had_back_end = true;
        other.come(socket_path(), features, value >> 4 & 7);
        wait_until([&] { return net->look().connections != before || other.fd() < 0; });
        refused = other.fd() < 0;
        settle();
    }
    [[nodiscard]] std::uint64_t mac_now() const
    {
        std::array<std::byte, 6> bytes{};
        net->read_config(0, bytes);
        return number<std::uint64_t>(bytes);
    }
    [[nodiscard]] std::vector<std::byte> ram_now() const
    {
        std::vector<std::byte> all(ram_bytes);
        check(ram.read(0, all));
        return all;
    }

    memory& ram{fuzz::make_guarded(ram_bytes)};
    image writable;
    image fixed;
    virtio::disk writable_disk{writable.open(false)};
    virtio::disk fixed_disk{fixed.open(true)};
    std::vector<std::byte> blank = std::vector(ram_bytes, std::byte{0});
    lent_device::borrower borrower;
    back_end other{ram};
    std::unique_ptr<virtio::net> net;
    std::uint64_t mac{0};
    bool had_back_end{false};
    bool had_left{false};
    bool refused{false};

private:
    template <typename Condition>
    void wait_until(Condition&& condition)
    {
        constexpr std::chrono::seconds patience{30};
        const auto end = std::chrono::steady_clock::now() + patience;
        while (!condition()) {
            wait_for_real_threads(other);
            check(std::chrono::steady_clock::now() < end);
            std::this_thread::yield();
        }
    }
};

struct operation {
    std::uint8_t kind;
    std::uint8_t where;
    std::uint16_t offset;
    std::uint32_t value;
};
static_assert(sizeof(operation) == 8);

enum kind : std::uint8_t {
    in,
    out,
    load,
    store,
    load_register,
    store_register,
    read_space,
    write_space,
    set_up,
    fill_memory,
    notify,
    let_run,
    reset_device,
    describe_buffer,
    offer_buffer,
    from_outside,
    kinds
};

class machine {
public:
    explicit machine(host& h) : host_{h}
    {
        ports_.add(platform::serial, serial::ports, serial_);
        ports_.add(platform::power, platform::power_ports, power_);
        ports_.add(platform::keyboard_command, 1, keyboard_);
        pci_.connect(ports_, addresses_);
        const vhost::guest_memory& ram = h.ram.guest();
        auto played = std::make_unique<played_device>(h.ram);
        played_ = played.get();
        const auto add = [this](const char* name, std::unique_ptr<virtio::device> d) {
            slots_.push_back(std::make_unique<watched_function>(name, std::move(d), fabric_, pci_));
        };
        add(net_name, std::make_unique<lent_device>(*h.net, h.borrower));
        add("disk0", std::make_unique<virtio::block>(h.writable_disk, ram, "disk0"));
        add("disk1", std::make_unique<virtio::block>(h.fixed_disk, ram, "disk1"));
        add("rng", std::make_unique<virtio::entropy>(ram, "rng"));
        add("played", std::move(played));
    }

    void perform(const operation& o)
    {
        const std::size_t size = std::size_t{1} << (o.where & 3);
        const std::uint64_t wide = o.value | std::uint64_t{o.value} << 32;
        // Of exact size on the heap: AddressSanitizer sees what is read beyond it.
        const std::unique_ptr<std::byte[]> exact{new std::byte[size]};
        std::memcpy(exact.get(), &wide, size);
        const std::span<const std::byte> bytes{exact.get(), size};
        watched_function& s = *slots_[(o.where >> 4) % slots_.size()];
        switch (o.kind % kinds) {
        case in:
            read_port(port_of(o), size);
            break;
        case out:
            write_port(port_of(o), bytes);
            break;
        case load:
            load_from(address_of(o), size);
            break;
        case store:
            store_to(address_of(o), bytes, (o.where & 4) == 0);
            break;
        case load_register:
            load_from(bar_of(s) + o.offset, size);
            break;
        case store_register:
            store_to(bar_of(s) + o.offset, bytes, (o.where & 4) == 0);
            break;
        case read_space:
        case write_space: {
            // The upper half of the offset makes it another bus's or function's.
            constexpr std::uint32_t enable = 1U << 31;
            const std::uint32_t place = enable | (o.where >> 3 & 31U) << 11 | (o.offset & 0xfcU) |
                                        std::uint32_t{o.offset} >> 8 << 8;
            write_port(platform::pci_address, std::as_bytes(std::span{&place, 1}));
            const std::uint64_t port = platform::pci_data + (o.offset & 3U);
            if (o.kind % kinds == read_space) {
                read_port(port, size);
            } else {
                write_port(port, bytes);
            }
            break;
        }
        case set_up:
            start(s, o.offset, o.value);
            break;
        case fill_memory:
            check(host_.ram.write(o.offset & ~3U, bytes.first(std::min<std::size_t>(size, 4))));
            break;
        case notify:
            store_register_of(s, notify_at + 4U * (o.where & 15U), std::uint16_t{0});
            break;
        case let_run:
            run(1 + o.offset % 16);
            break;
        case reset_device:
            store_register_of(s, VIRTIO_PCI_COMMON_STATUS, std::uint8_t{0});
            break;
        case describe_buffer:
            describe(s.rings[(o.where & 15U) % s.rings.size()], o);
            break;
        case offer_buffer:
            offer(s.rings[(o.where & 15U) % s.rings.size()], o.value);
            store_register_of(s, notify_at + 4U * (o.where & 15U), std::uint16_t{0});
            break;
        default:
            happen(s, o);
            break;
        }
        if (host_.other.fd() >= 0) {
            host_.settle();
        }
        check_watched();
    }

    // Whatever was done: the guest resets all, and then nothing is touched any more. Left is what
    // was there before.
    void finish()
    {
        std::ranges::for_each(slots_, [](auto& s) { s->reset(); });
        check_watched();
        played_->be_quiet();
        const auto is_reset = [](const auto& s) { return s->status() == 0; };
        for (unsigned i = 0; i < reset_steps && !std::ranges::all_of(slots_, is_reset); ++i) {
            run(1);
        }
        std::ranges::for_each(slots_, [](auto& s) { s->rested(); });
        check(!host_.other.has_rings());
        host_.change_back_end(0);
        std::ranges::for_each(slots_, [](auto& s) {
            s->check_reset();
            s->check_space();
        });
        check(fabric_.addresses.empty());
        const auto started = [this](std::size_t i) { return slots_[i]->was_started(); };
        if (started(0) || started(1) || started(2) || started(3)) {
            const std::vector<std::byte> ram = host_.ram_now();
            run_played_threads(reset_steps);
            host_.settle();
            check(std::memcmp(ram.data(), host_.ram_now().data(), ram.size()) == 0);
        }
        if (started(1)) {
            check(host_.writable.has_its_size() && host_.writable.put_back());
        }
        check(!started(2) || host_.fixed.unchanged());
        check_serial();
        check(host_.ram.write(0, host_.blank));
    }

private:
    // What of a device's thread a reset may have to wait for.
    static constexpr unsigned reset_steps = 8;

    // ---- accesses, as KVM passes them on ----

    static std::uint64_t port_of(const operation& o)
    {
        constexpr std::array<std::uint16_t, 4> bases{
            platform::serial, platform::power, platform::keyboard_command, platform::pci_address};
        const unsigned which = o.where >> 4;
        return which < bases.size() ? std::uint64_t{bases[which]} + (o.offset & 15U) - 4 : o.offset;
    }
    static std::uint64_t address_of(const operation& o)
    {
        constexpr std::array<std::uint64_t, 7> bases{0,
                                                     platform::pci_window,
                                                     platform::pci_window_end - bar_bytes,
                                                     platform::local_apic,
                                                     1ULL << 32,
                                                     1ULL << 52,
                                                     0xffff'ffff'ffff'0000};
        const unsigned which = o.where >> 4;
        return (which < bases.size() ? bases[which] : std::uint64_t{o.value} << 12) + o.offset;
    }
    static std::uint64_t bar_of(const watched_function& s)
    {
        return s.address() != 0 ? s.address() : s.home;
    }

    static bool lies_in(std::uint64_t at, std::size_t size, std::uint64_t begin, std::uint64_t end)
    {
        return at >= begin && at < end && size <= end - at;
    }
    static bool port_is_there(std::uint64_t port, std::size_t size)
    {
        return lies_in(port, size, platform::serial, platform::serial + serial::ports) ||
               lies_in(port, size, platform::power, platform::power + platform::power_ports) ||
               lies_in(port, size, platform::keyboard_command, platform::keyboard_command + 1) ||
               lies_in(port, size, platform::pci_address, platform::pci_data + 4);
    }
    static bool data_access(std::uint64_t port, std::size_t size)
    {
        return lies_in(port, size, platform::pci_data, platform::pci_data + 4) && port % size == 0;
    }
    // 0 is the host bridge.
    [[nodiscard]] std::optional<std::size_t> selected() const
    {
        const std::uint32_t device = pci_address_ >> 11 & 31;
        const bool here = (pci_address_ & 0x80ff'0700) == 0x8000'0000;
        return here && device <= slots_.size() ? std::optional{std::size_t{device}} : std::nullopt;
    }
    [[nodiscard]] watched_function* at(std::uint64_t address, std::size_t size) const
    {
        for (const auto& s : slots_) {
            const std::uint64_t bar = s->address();
            if (bar != 0 && lies_in(address, size, bar, bar + bar_bytes)) {
                return s.get();
            }
        }
        return nullptr;
    }

    static bool all_ones(std::span<const std::byte> bytes)
    {
        return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0xff}; });
    }
    std::uint8_t read_port(std::uint64_t port, std::size_t size)
    {
        std::array<std::byte, 8> bytes{};
        const auto to = std::span{bytes}.first(size);
        check(ports_.read(port, to) == port_is_there(port, size));
        const bool data = data_access(port, size);
        if (!port_is_there(port, size)) {
            check(all_ones(to));
        } else if (lies_in(port, 1, platform::pci_address, platform::pci_data + 4)) {
            const bool address = port == platform::pci_address && size == 4;
            check(!address || number<std::uint32_t>(to) == pci_address_);
            check(address || (data && selected()) || all_ones(to));
        } else if (lies_in(port, 1, platform::power, platform::power + platform::power_ports)) {
            std::array<std::byte, platform::power_ports> wanted{};
            wanted[platform::event_register - platform::power] = std::byte{button_};
            check(std::ranges::equal(to, std::span{wanted}.subspan(port - platform::power, size)));
            button_ = button_ && !lies_in(platform::event_register, 1, port, port + size);
        } else if (port == platform::keyboard_command) {
            check(to.front() == std::byte{0});
        }
        return std::to_integer<std::uint8_t>(to.front());
    }
    void write_port(std::uint64_t port, std::span<const std::byte> from)
    {
        const std::size_t size = from.size();
        const bool there = port_is_there(port, size);
        const auto value = [&](std::uint64_t p) {
            return std::to_integer<std::uint8_t>(from[p - port]);
        };
        if (there && lies_in(platform::sleep_control, 1, port, port + size)) {
            constexpr std::uint8_t off = platform::sleep_enable | platform::sleep_type_off << 2;
            off_ += (value(platform::sleep_control) & 0x3c) == off ? 1U : 0U;
        }
        if (there && port == platform::keyboard_command) {
            resets_ += value(port) == platform::keyboard_reset ? 1U : 0U;
        }
        for (std::uint64_t p = port; there && p < port + size; ++p) {
            write_serial(p - platform::serial, value(p));
        }
        const bool to_data = there &&
                             lies_in(port, 1, platform::pci_data, platform::pci_data + 4) &&
                             selected().value_or(0) != 0;
        watched_function* const f = to_data ? slots_[*selected() - 1].get() : nullptr;
        const auto space = f != nullptr ? f->space() : watched_function::whole_space{};
        check(ports_.write(port, from) == there);
        check(off_ == offs_ && resets_ == reset_calls_ && sent_ == sent_calls_);
        if (port == platform::pci_address && size == 4) {
            pci_address_ = number<std::uint32_t>(from);
        } else if (f != nullptr && data_access(port, size)) {
            f->wrote_config(
                static_cast<std::uint16_t>((pci_address_ & 0xfc) + port - platform::pci_data),
                from);
        } else if (f != nullptr) {
            check(f->space() == space);
        }
    }
    // What the port sends is what is written to its data register.
    void write_serial(std::uint64_t port, std::uint8_t value)
    {
        if (port == 0) {
            sent_ += (line_control_ & 0x80) == 0 && (modem_control_ & 0x10) == 0 ? 1U : 0U;
        } else if (port == 3) {
            line_control_ = value;
        } else if (port == 4) {
            modem_control_ = value;
        }
    }
    void load_from(std::uint64_t address, std::size_t size)
    {
        const std::unique_ptr<std::byte[]> exact{new std::byte[size]};
        const std::span to{exact.get(), size};
        const bool window = lies_in(address, size, platform::pci_window, platform::pci_window_end);
        check(addresses_.read(address, to) == window);
        const watched_function* const s = at(address, size);
        if (s == nullptr) {
            check(all_ones(to));
            return;
        }
        if (address - s->address() == isr_at) {
            check((number<std::uint64_t>(to) & ~3ULL) == 0);
            return;
        }
        // All of it comes from the registers: none from what was there before.
        std::array<std::byte, 8> again;
        again.fill(std::byte{0xa5});
        check(addresses_.read(address, std::span{again}.first(size)));
        check(std::ranges::equal(to, std::span{again}.first(size)));
    }
    void store_to(std::uint64_t address, std::span<const std::byte> from, bool to_kvm)
    {
        const auto kicked =
            std::ranges::find(fabric_.addresses, address, [](const auto& a) { return a.first; });
        if (to_kvm && kicked != fabric_.addresses.end()) {
            check(::eventfd_write(kicked->second, 1) == 0);
            return;
        }
        watched_function* const s = at(address, from.size());
        const std::uint32_t bar = s == nullptr ? 0 : s->address();
        check(addresses_.write(address, from) ==
              lies_in(address, from.size(), platform::pci_window, platform::pci_window_end));
        if (s != nullptr) {
            s->wrote(static_cast<std::uint32_t>(address - bar), from);
        }
    }

    // ---- shortcuts ----

    template <typename T>
    void store_register_of(watched_function& s, std::uint32_t offset, T value)
    {
        store_to(bar_of(s) + offset, std::as_bytes(std::span{&value, 1}), true);
    }
    std::uint64_t load_register_of(watched_function& s, std::uint32_t offset, std::size_t size)
    {
        std::array<std::byte, 8> bytes{};
        (void)addresses_.read(bar_of(s) + offset, std::span{bytes}.first(size));
        return number<std::uint64_t>(bytes);
    }
    template <typename T>
    void write_space_of(const watched_function& s, std::uint16_t offset, T value)
    {
        std::uint32_t device = 1;
        while (slots_[device - 1].get() != &s) {
            ++device;
        }
        const std::uint32_t place = 1U << 31 | device << 11 | (offset & 0xfcU);
        write_port(platform::pci_address, std::as_bytes(std::span{&place, 1}));
        write_port(platform::pci_data + (offset & 3U), std::as_bytes(std::span{&value, 1}));
    }

    // A driver's way to DRIVER_OK. The value:
    //   bits 0-3    features that it does without: packed, event index, indirect, the rest
    //   bits 4-7    descriptors of a queue, as a power of two
    //   bit 8       interrupts
    //   bit 9       stops before DRIVER_OK
    //   bits 10-15  queues that it does not enable
    //   bits 16-23  added to the size
    //   bits 24-31  added to the device area's address
    void start(watched_function& s, std::uint16_t place, std::uint32_t value)
    {
        store_register_of(s, VIRTIO_PCI_COMMON_STATUS, std::uint8_t{0});
        run(reset_steps);
        std::uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
        store_register_of(s, VIRTIO_PCI_COMMON_STATUS, status);
        std::uint64_t features = 0;
        for (const std::uint32_t half : {0U, 1U}) {
            store_register_of(s, VIRTIO_PCI_COMMON_DFSELECT, half);
            features |= load_register_of(s, VIRTIO_PCI_COMMON_DF, 4) << (32 * half);
        }
        constexpr std::uint64_t event_index = 1ULL << vhost::feature::event_index;
        constexpr std::uint64_t indirect = 1ULL << vhost::feature::indirect;
        features &= ~((value & 1) != 0 ? ring_packed : 0);
        features &= ~((value & 2) != 0 ? event_index : 0);
        features &= ~((value & 4) != 0 ? indirect : 0);
        features &= (value & 8) != 0 ? ring_packed | event_index | indirect | version_1 : ~0ULL;
        for (const std::uint32_t half : {0U, 1U}) {
            store_register_of(s, VIRTIO_PCI_COMMON_GFSELECT, half);
            store_register_of(s, VIRTIO_PCI_COMMON_GF,
                              static_cast<std::uint32_t>(features >> (32 * half)));
        }
        status |= VIRTIO_CONFIG_S_FEATURES_OK;
        store_register_of(s, VIRTIO_PCI_COMMON_STATUS, status);
        const bool packed = (features & ring_packed) != 0;
        const bool interrupts = (value & 1U << 8) != 0;
        std::uint64_t next = place / 16 * 16;
        for (std::uint16_t i = 0; i < s.queues(); ++i) {
            const auto size =
                static_cast<std::uint16_t>((1U << (value >> 4 & 7)) + (value >> 16 & 0xff));
            const std::uint64_t driver = next + 16ULL * size;
            const std::uint64_t device =
                (driver + (packed ? 4 : 6 + 2ULL * size) + 3) / 4 * 4 + (value >> 24);
            store_register_of(s, VIRTIO_PCI_COMMON_Q_SELECT, i);
            store_register_of(s, VIRTIO_PCI_COMMON_Q_SIZE, size);
            store_register_of(s, VIRTIO_PCI_COMMON_Q_MSIX,
                              static_cast<std::uint16_t>(interrupts ? i + 1 : 0xffff));
            store_register_of(s, VIRTIO_PCI_COMMON_Q_DESCLO, next);
            store_register_of(s, VIRTIO_PCI_COMMON_Q_AVAILLO, driver);
            store_register_of(s, VIRTIO_PCI_COMMON_Q_USEDLO, device);
            if ((value >> 10 & 1U << i) == 0) {
                store_register_of(s, VIRTIO_PCI_COMMON_Q_ENABLE, std::uint16_t{1});
            }
            s.rings[i] = {static_cast<std::uint32_t>(next), static_cast<std::uint32_t>(driver),
                          size, packed};
            next = (device + (packed ? 4 : 6 + 8ULL * size) + 15) / 16 * 16;
        }
        if (interrupts) {
            write_space_of(s, s.messages() + PCI_MSIX_FLAGS, std::uint16_t{PCI_MSIX_FLAGS_ENABLE});
            for (std::uint32_t i = 0; i <= s.queues(); ++i) {
                store_register_of(s, table_at + 16 * i + 12, 0U);
            }
            store_register_of(s, VIRTIO_PCI_COMMON_MSIX, std::uint16_t{0});
        }
        if ((value & 1U << 9) == 0) {
            status |= VIRTIO_CONFIG_S_DRIVER_OK;
            store_register_of(s, VIRTIO_PCI_COMMON_STATUS, status);
        }
    }
    // The offset is the buffer's address. The value: its length, flags (of a packed ring's, bit 6
    // is bit 15), and which descriptor it is.
    void describe(const watched_function::ring& r, const operation& o)
    {
        const std::uint32_t index = (o.value >> 24) % r.size;
        const std::uint32_t flags = o.value >> 16 & 0xff;
        struct {
            std::uint64_t address;
            std::uint32_t length;
            std::array<std::uint16_t, 2> rest;
        } d{o.offset, o.value & 0xffff, {}};
        d.rest[r.packed ? 0 : 1] = static_cast<std::uint16_t>(index + (r.packed ? 0 : 1));
        d.rest[r.packed ? 1 : 0] = static_cast<std::uint16_t>((flags & 0xbf) | (flags & 0x40) << 9);
        (void)host_.ram.write(r.descriptors + 16ULL * index, std::as_bytes(std::span{&d, 1}));
    }
    // Makes a split ring's chain available that begins with this descriptor; turns a packed ring's
    // into an available one, or back.
    void offer(const watched_function::ring& r, std::uint32_t value)
    {
        std::uint16_t index = 0;
        const auto bytes = std::as_writable_bytes(std::span{&index, 1});
        if (r.packed) {
            const std::uint64_t flags = r.descriptors + 16ULL * (value % r.size) + 14;
            (void)host_.ram.read(flags, bytes);
            index ^= 1U << 7;
            (void)host_.ram.write(flags, bytes);
            return;
        }
        (void)host_.ram.read(r.driver + 2ULL, bytes);
        const auto head = static_cast<std::uint16_t>(value);
        (void)host_.ram.write(r.driver + 4ULL + 2ULL * (index % r.size),
                              std::as_bytes(std::span{&head, 1}));
        ++index;
        (void)host_.ram.write(r.driver + 2ULL, bytes);
    }
    void run(unsigned steps)
    {
        run_played_threads(steps);
        host_.settle();
        fabric_.raise_interrupts();
        for (const auto& s : slots_) {
            s->rested();
        }
    }
    // What the guest does not do.
    void happen(watched_function& s, const operation& o)
    {
        switch (o.where & 7) {
        case 0:
            power_.press_button();
            button_ = true;
            break;
        case 1: {
            const std::vector<std::byte> input(o.offset, std::byte{'x'});
            check(serial_.receive(input) <= std::min(input.size(), serial::input_bytes));
            break;
        }
        case 2:
            played_->be_quiet();
            break;
        case 3:
            played_->transport->config_changed();
            break;
        case 4:
            played_->transport->broken("the input says so");
            break;
        case 5:
            played_->offered = o.value | std::uint64_t{o.offset} << 32;
            break;
        case 6: // a guest does this, in many steps
            write_space_of(s, PCI_BASE_ADDRESS_0, o.value * bar_bytes + 0xc000'0000);
            break;
        default:
            host_.change_back_end(o.value);
            break;
        }
        for (const auto& each : slots_) {
            each->rested();
        }
    }

    // ---- what must hold ----

    // KVM passes just those notifications on that a started device waits for.
    void check_watched() const
    {
        std::vector<std::uint64_t> wanted;
        for (const auto& s : slots_) {
            s->add_watched(wanted);
        }
        std::vector<std::uint64_t> found;
        for (const auto& [address, event] : fabric_.addresses) {
            found.push_back(address);
        }
        std::ranges::sort(wanted);
        std::ranges::sort(found);
        check(wanted == found);
    }
    // However much came: its FIFO is no deeper than it says.
    void check_serial()
    {
        constexpr unsigned depth = 16;
        constexpr std::uint8_t loop = 0x10;
        constexpr std::uint8_t none{0};
        write_port(platform::serial + 4, std::as_bytes(std::span{&loop, 1})); // no more comes
        write_port(platform::serial + 3, std::as_bytes(std::span{&none, 1}));
        unsigned waiting = 0;
        for (; (read_port(platform::serial + 5, 1) & 1) != 0; ++waiting) {
            check(waiting < depth);
            (void)read_port(platform::serial, 1);
        }
    }

    host& host_;
    noting_fabric fabric_;
    event serial_interrupt_{event::make().value()};
    event power_interrupt_{event::make().value()};
    // Counts of what was to happen, and of what did.
    std::uint64_t off_{0}, offs_{0}, resets_{0}, reset_calls_{0}, sent_{0}, sent_calls_{0};
    std::uint8_t line_control_{0}, modem_control_{0};
    bool button_{false};
    std::uint32_t pci_address_{0};
    serial serial_{serial_interrupt_, [this](std::byte) { ++sent_calls_; }};
    power power_{power_interrupt_, [this] { ++offs_; }};
    keyboard_controller keyboard_{[this] { ++reset_calls_; }};
    bus ports_;
    bus addresses_;
    pci::bus pci_;
    played_device* played_{nullptr};
    std::vector<std::unique_ptr<watched_function>> slots_;
};

} // namespace

// In place of the C library's: the entropy device gives the same bytes each time.
extern "C" ssize_t getrandom(void* to, std::size_t size, unsigned /*flags*/)
{
    std::memset(to, 1, size);
    return static_cast<ssize_t>(size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static host& h = *[] {
        control::set_log_level(control::log_level::error); // all that guests do is less
        return new host;
    }();
    constexpr std::size_t most = 256;
    if (size < sizeof(operation)) {
        return 0;
    }
    {
        machine m{h};
        for (std::size_t i = 0; i < std::min(size / sizeof(operation), most); ++i) {
            operation o{};
            std::memcpy(&o, data + i * sizeof o, sizeof o);
            m.perform(o);
        }
        m.finish();
    }
    if (h.had_back_end || h.mac_now() != h.mac) {
        h.make_net();
    }
    return 0;
}
