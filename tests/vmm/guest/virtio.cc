// SPDX-License-Identifier: BSD-3-Clause
// The driver's side of virtio over PCI; polls where the device may take time.

#include "tests/vmm/guest/virtio.hh"

#include "tests/vmm/guest/console.hh"
#include "vmm/platform.hh"

namespace strait::guest {

namespace {

// Of virtio's capabilities: types (byte 3), and offsets of fields.
constexpr std::uint8_t common_structure = 1;
constexpr std::uint8_t notify_structure = 2;
constexpr std::uint8_t device_structure = 4;
constexpr std::uint8_t cap_bar = 4;
constexpr std::uint8_t cap_offset = 8;
constexpr std::uint8_t cap_multiplier = 16;

// The common configuration structure.
namespace reg {
constexpr std::uint64_t device_feature_select = 0;
constexpr std::uint64_t device_feature = 4;
constexpr std::uint64_t driver_feature_select = 8;
constexpr std::uint64_t driver_feature = 12;
constexpr std::uint64_t config_message = 16;
constexpr std::uint64_t num_queues = 18;
constexpr std::uint64_t status = 20;
constexpr std::uint64_t generation = 21;
constexpr std::uint64_t queue_select = 22;
constexpr std::uint64_t queue_size = 24;
constexpr std::uint64_t queue_message = 26;
constexpr std::uint64_t queue_enable = 28;
constexpr std::uint64_t queue_notify_offset = 30;
constexpr std::uint64_t queue_descriptors = 32;
constexpr std::uint64_t queue_driver = 40;
constexpr std::uint64_t queue_device = 48;
} // namespace reg

constexpr std::uint16_t message_enable = 0x8000; // of MSI-X's control word
constexpr std::uint16_t message_mask_all = 0x4000;

void store_address(std::uint64_t at, std::uint64_t value) noexcept
{
    store(at, static_cast<std::uint32_t>(value));
    store(at + 4, static_cast<std::uint32_t>(value >> 32));
}

} // namespace

std::uint16_t virtio_device::type_of(pci::function f) noexcept
{
    const auto id = pci::read<std::uint16_t>(f, pci::device);
    const bool is_one =
        pci::read<std::uint16_t>(f, pci::vendor) == 0x1af4 && id > 0x1040 && id < 0x1080;
    return is_one ? static_cast<std::uint16_t>(id - 0x1040) : std::uint16_t{0};
}

virtio_device::virtio_device(pci::function f) noexcept : function_{f}, bars_{pci::bars(f)}
{
    pci::write(
        f, pci::command,
        static_cast<std::uint16_t>(pci::read<std::uint16_t>(f, pci::command) | pci::bus_master));
    unsigned left = 48;
    for (std::uint8_t at = 0; left > 0 && (at = pci::next_capability(f, at)) != 0; --left) {
        const auto field = [f, at](std::uint8_t offset) {
            return pci::read<std::uint32_t>(f, static_cast<std::uint8_t>(at + offset));
        };
        const auto id = pci::read<std::uint8_t>(f, at);
        if (id == pci::msix_capability) {
            msix_ = at;
            const std::uint64_t count = (field(0) >> 16 & 0x7ff) + 1;
            table_ = {place(field(4) & 7, field(4) & ~7U), 16 * count};
        }
        if (id != pci::vendor_capability) {
            continue;
        }
        const auto type = static_cast<std::uint8_t>(field(0) >> 24);
        const auto bar = static_cast<std::uint8_t>(field(cap_bar));
        const auto whole = [&] { return reach(place(bar, field(cap_offset)), 0x1000); };
        // The first of each type is the one to use.
        if (type == common_structure && common_ == 0) {
            common_ = whole();
        } else if (type == notify_structure && notify_ == 0) {
            notify_ = whole();
            notify_multiplier_ = field(cap_multiplier);
        } else if (type == device_structure && device_ == 0) {
            device_ = whole();
        }
    }
    if (common_ == 0 || notify_ == 0) {
        panic("a virtio device lacks a structure");
    }
}

std::uint64_t virtio_device::place(std::uint8_t bar, std::uint32_t offset) const noexcept
{
    if (bar >= bars_.size() || !bars_[bar].memory || offset >= bars_[bar].size) {
        panic("a capability names no memory");
    }
    return bars_[bar].address + offset;
}

std::uint8_t virtio_device::status() const noexcept
{
    return load<std::uint8_t>(common_ + reg::status);
}

void virtio_device::add_status(std::uint8_t bits) noexcept
{
    store(common_ + reg::status, static_cast<std::uint8_t>(status() | bits));
}

bool virtio_device::reset() noexcept
{
    store<std::uint8_t>(common_ + reg::status, 0);
    const std::uint64_t began = cycles();
    while (status() != 0) {
        if (cycles() - began > 5 * cycles_per_second()) {
            return false;
        }
    }
    return true;
}

std::uint64_t virtio_device::offered() noexcept
{
    store<std::uint32_t>(common_ + reg::device_feature_select, 0);
    const std::uint64_t low = load<std::uint32_t>(common_ + reg::device_feature);
    store<std::uint32_t>(common_ + reg::device_feature_select, 1);
    const std::uint64_t high = load<std::uint32_t>(common_ + reg::device_feature);
    return high << 32 | low;
}

bool virtio_device::negotiate(std::uint64_t features) noexcept
{
    add_status(device_status::acknowledge);
    add_status(device_status::driver);
    store<std::uint32_t>(common_ + reg::driver_feature_select, 0);
    store(common_ + reg::driver_feature, static_cast<std::uint32_t>(features));
    store<std::uint32_t>(common_ + reg::driver_feature_select, 1);
    store(common_ + reg::driver_feature, static_cast<std::uint32_t>(features >> 32));
    add_status(device_status::features_ok);
    return (status() & device_status::features_ok) != 0;
}

std::uint16_t virtio_device::queues() const noexcept
{
    return load<std::uint16_t>(common_ + reg::num_queues);
}

std::uint16_t virtio_device::max_size(std::uint16_t queue) noexcept
{
    store(common_ + reg::queue_select, queue);
    return load<std::uint16_t>(common_ + reg::queue_size);
}

unsigned virtio_device::use_messages() noexcept
{
    if (msix_ == 0) {
        return 0;
    }
    const auto control = static_cast<std::uint8_t>(msix_ + 2);
    const auto kept = static_cast<std::uint16_t>(pci::read<std::uint16_t>(function_, control) &
                                                 ~unsigned{message_mask_all});
    pci::write(function_, control, static_cast<std::uint16_t>(kept | message_enable));
    const auto count = static_cast<unsigned>(table_.length / 16);
    std::uint64_t entry = reach(table_.address, table_.length);
    for (std::uint16_t i = 0; i < count && i < vector::messages; ++i, entry += 16) {
        store_address(entry, vmm::platform::local_apic | std::uint64_t{own_apic_id()} << 12);
        store<std::uint32_t>(entry + 8, cpu_vector(i));
        store<std::uint32_t>(entry + 12, 0); // not masked
    }
    return count;
}

bool virtio_device::set_config_message(std::uint16_t message) noexcept
{
    store(common_ + reg::config_message, message);
    return load<std::uint16_t>(common_ + reg::config_message) == message;
}

bool virtio_device::start(std::uint16_t queue, std::uint16_t size, const virtqueue::places& at,
                          std::uint16_t message, std::uint64_t& notify) noexcept
{
    store(common_ + reg::queue_select, queue);
    store(common_ + reg::queue_size, size);
    store_address(common_ + reg::queue_descriptors, at.descriptors);
    store_address(common_ + reg::queue_driver, at.driver);
    store_address(common_ + reg::queue_device, at.device);
    store(common_ + reg::queue_message, message);
    const bool taken = load<std::uint16_t>(common_ + reg::queue_message) == message &&
                       load<std::uint16_t>(common_ + reg::queue_size) == size;
    notify = notify_ + std::uint64_t{load<std::uint16_t>(common_ + reg::queue_notify_offset)} *
                           notify_multiplier_;
    store<std::uint16_t>(common_ + reg::queue_enable, 1);
    return taken && load<std::uint16_t>(common_ + reg::queue_enable) == 1;
}

std::uint8_t virtio_device::config_generation() const noexcept
{
    return load<std::uint8_t>(common_ + reg::generation);
}

} // namespace strait::guest
