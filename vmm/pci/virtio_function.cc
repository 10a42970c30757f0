// SPDX-License-Identifier: BSD-3-Clause
// The registers of a virtio device.
#include "vmm/pci/virtio_function.hh"

#include "control/log.hh"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

namespace strait::vmm::pci {

namespace {

// The BAR: one page a structure, the notification addresses behind them.
constexpr std::uint32_t common_at = 0x0000;
constexpr std::uint32_t isr_at = 0x1000;
constexpr std::uint32_t device_at = 0x2000;
constexpr std::uint32_t table_at = 0x3000;
constexpr std::uint32_t pending_at = 0x3800;
constexpr std::uint32_t notify_at = 0x4000;
constexpr std::uint32_t bar_size = 0x8000;
constexpr std::uint32_t page = 0x1000;
constexpr std::uint32_t notify_step = 4; // bytes from one queue's address to the next

constexpr std::uint16_t no_vector = VIRTIO_MSI_NO_VECTOR;
constexpr std::uint8_t isr_configuration = 2;

constexpr std::uint16_t virtio_vendor = 0x1af4;
constexpr std::uint16_t modern_device = 0x1040; // and the device's type
constexpr std::uint64_t version_1 = 1ULL << VIRTIO_F_VERSION_1;
constexpr std::uint64_t ring_packed = 1ULL << VIRTIO_F_RING_PACKED;

std::uint32_t class_of(std::uint16_t type) noexcept
{
    switch (type) {
    case 1:
        return 0x02'0000; // Ethernet controller
    case 2:
        return 0x01'8000; // other mass storage
    default:
        return 0xff'0000; // no class fits
    }
}

std::uint64_t number(std::span<const std::byte> bytes) noexcept
{
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
    return value;
}

// Replaces the half of a 64-bit register that a write of 4 bytes means, or all of it.
void replace(std::uint64_t& whole, std::size_t offset, std::uint64_t value,
             std::size_t size) noexcept
{
    if (size == sizeof whole) {
        whole = value;
    } else if (size == sizeof(std::uint32_t)) {
        const auto shift = static_cast<unsigned>(offset % sizeof whole * 8);
        whole = (whole & ~(std::uint64_t{0xffff'ffff} << shift)) | value << shift;
    }
}

// What a capability of the vendor says, behind its id and the next one's offset.
struct [[gnu::packed]] location {
    std::uint8_t length;
    std::uint8_t type;
    std::uint8_t bar{0};
    std::array<std::uint8_t, 3> padding{};
    std::uint32_t offset;
    std::uint32_t size;
    std::uint32_t more{0}; // notification: the step; the window: its data
};
constexpr std::size_t short_location = 14;

} // namespace

ports::result<std::unique_ptr<virtio_function>>
virtio_function::make(std::string name, std::unique_ptr<virtio::device> device, fabric& f)
{
    const std::uint16_t count = device->queues();
    auto vectors = message_vectors::make(f, std::size_t{count} + 1);
    if (vectors.has_error()) {
        return vectors.error();
    }
    std::vector<queue> queues;
    for (std::uint16_t i = 0; i < count; ++i) {
        auto kick = event::make();
        if (kick.has_error()) {
            return kick.error();
        }
        queues.push_back({std::move(kick).value(), device->max_queue_size(i), no_vector});
    }
    auto unheard = event::make();
    if (unheard.has_error()) {
        return unheard.error();
    }
    return std::unique_ptr<virtio_function>{
        new virtio_function{std::move(name), std::move(device), f, std::move(vectors).value(),
                            std::move(queues), std::move(unheard).value()}};
}

virtio_function::virtio_function(std::string name, std::unique_ptr<virtio::device> device,
                                 fabric& f, message_vectors vectors, std::vector<queue> queues,
                                 event unheard)
    : function{{virtio_vendor, static_cast<std::uint16_t>(modern_device + device->type()),
                class_of(device->type()), 1, virtio_vendor, modern_device},
               bar_size},
      name_{std::move(name)},
      device_{std::move(device)},
      fabric_{f},
      vectors_{std::move(vectors)},
      queues_{std::move(queues)},
      unheard_{std::move(unheard)},
      config_vector_{no_vector}
{
    add_capabilities();
    device_->attach(*this);
}

virtio_function::~virtio_function()
{
    device_.reset(); // first: its threads may be telling us something
}

void virtio_function::add_capabilities()
{
    const struct [[gnu::packed]] {
        std::uint16_t control;
        std::uint32_t table;
        std::uint32_t pending;
    } messages{static_cast<std::uint16_t>(vectors_.count() - 1), table_at, pending_at};
    message_control_ = add_capability(PCI_CAP_ID_MSIX, std::as_bytes(std::span{&messages, 1}));
    allow_writes(message_control_ + std::size_t{PCI_MSIX_FLAGS} + 1,
                 (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8);

    const auto add = [this](std::uint8_t type, std::uint32_t offset, std::uint32_t size,
                            std::uint32_t more, bool longer) {
        const std::size_t bytes = longer ? sizeof(location) : short_location;
        const location l{.length = static_cast<std::uint8_t>(bytes + 2),
                         .type = type,
                         .offset = offset,
                         .size = size,
                         .more = more};
        return add_capability(PCI_CAP_ID_VNDR, std::as_bytes(std::span{&l, 1}).first(bytes));
    };
    (void)add(VIRTIO_PCI_CAP_COMMON_CFG, common_at, sizeof(virtio_pci_common_cfg), 0, false);
    (void)add(VIRTIO_PCI_CAP_ISR_CFG, isr_at, 1, 0, false);
    if (device_->config_size() != 0) {
        (void)add(VIRTIO_PCI_CAP_DEVICE_CFG, device_at,
                  static_cast<std::uint32_t>(device_->config_size()), 0, false);
    }
    (void)add(VIRTIO_PCI_CAP_NOTIFY_CFG, notify_at,
              static_cast<std::uint32_t>(queues_.size()) * notify_step, notify_step, true);
    // The window to the BAR for who cannot map it: place and length are the driver's to write.
    window_ = add(VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0, true);
    for (const std::size_t field :
         {offsetof(virtio_pci_cap, offset), offsetof(virtio_pci_cap, length)}) {
        for (std::size_t i = 0; i < sizeof(std::uint32_t); ++i) {
            allow_writes(window_ + field + i, 0xff);
        }
    }
    allow_writes(window_ + offsetof(virtio_pci_cap, bar), 0xff);
}

void virtio_function::read_config(std::size_t offset, std::span<std::byte> to) noexcept
{
    constexpr std::size_t data = offsetof(virtio_pci_cfg_cap, pci_cfg_data);
    function::read_config(offset, to);
    if (offset == window_ + data) {
        const auto at = config<std::uint32_t>(window_ + offsetof(virtio_pci_cap, offset));
        if (at % to.size() == 0 && at <= bar_size - to.size()) {
            read_bar(at, to);
        }
    }
}

void virtio_function::write_config(std::size_t offset, std::span<const std::byte> from) noexcept
{
    constexpr std::size_t data = offsetof(virtio_pci_cfg_cap, pci_cfg_data);
    function::write_config(offset, from);
    if (offset == window_ + data) {
        const auto at = config<std::uint32_t>(window_ + offsetof(virtio_pci_cap, offset));
        if (at % from.size() == 0 && at <= bar_size - from.size()) {
            write_bar(at, from);
        }
    }
    const auto control = config<std::uint16_t>(message_control_ + std::size_t{PCI_MSIX_FLAGS});
    const std::scoped_lock lock{mutex_};
    vectors_.enable((control & PCI_MSIX_FLAGS_ENABLE) != 0,
                    (control & PCI_MSIX_FLAGS_MASKALL) != 0);
}

void virtio_function::moved(std::uint32_t from, std::uint32_t to) noexcept
{
    const std::scoped_lock lock{mutex_};
    if (started_ && from != 0) {
        watch_notifications(from, false);
    }
    if (started_ && to != 0) {
        watch_notifications(to, true);
    }
}

void virtio_function::watch_notifications(std::uint32_t bar, bool on) noexcept
{
    std::uint64_t at = std::uint64_t{bar} + notify_at;
    for (const queue& q : queues_) {
        if (q.enabled && on) {
            fabric_.connect_address(at, q.kick.fd());
        } else if (q.enabled) {
            fabric_.disconnect_address(at, q.kick.fd());
        }
        at += notify_step;
    }
}

void virtio_function::read_bar(std::uint32_t offset, std::span<std::byte> to) noexcept
{
    const std::scoped_lock lock{mutex_};
    std::ranges::fill(to, std::byte{0});
    const std::uint32_t within = offset % page;
    if (within + to.size() > page) {
        return;
    }
    switch (offset - within) {
    case common_at:
        read_common(within, to);
        break;
    case isr_at:
        if (within == 0) {
            to[0] = std::byte{std::exchange(pending_, std::uint8_t{0})};
        }
        break;
    case device_at:
        if (within + to.size() <= device_->config_size()) {
            device_->read_config(within, to);
        }
        break;
    case table_at:
        if (offset >= pending_at) {
            vectors_.read_pending(offset - pending_at, to);
        } else if (within + to.size() <= vectors_.count() * message_vectors::entry_bytes) {
            vectors_.read_table(within, to);
        }
        break;
    default:
        break;
    }
}

void virtio_function::write_bar(std::uint32_t offset, std::span<const std::byte> from) noexcept
{
    const std::scoped_lock lock{mutex_};
    const std::uint32_t within = offset % page;
    if (offset >= notify_at) {
        // As a rule KVM takes these.
        const std::uint32_t index = (offset - notify_at) / notify_step;
        if (index < queues_.size()) {
            queues_[index].kick.signal();
        }
        return;
    }
    if (within + from.size() > page) {
        return;
    }
    switch (offset - within) {
    case common_at:
        write_common(within, number(from), from.size());
        break;
    case device_at:
        if (!stopping_ && within + from.size() <= device_->config_size()) {
            device_->write_config(within, from);
        }
        break;
    case table_at:
        if (within + from.size() <= vectors_.count() * message_vectors::entry_bytes) {
            vectors_.write_table(within, from);
        }
        break;
    default:
        break;
    }
}

std::uint64_t virtio_function::offered() noexcept
{
    if (!offered_) {
        offered_ = device_->features() | version_1;
    }
    return *offered_;
}

void virtio_function::read_common(std::size_t offset, std::span<std::byte> to) noexcept
{
    // Whatever part of it is asked for.
    virtio_pci_common_cfg all{};
    all.device_feature_select = offered_half_;
    all.device_feature =
        offered_half_ < 2 ? static_cast<std::uint32_t>(offered() >> (32 * offered_half_)) : 0;
    all.guest_feature_select = accepted_half_;
    all.guest_feature =
        accepted_half_ < 2 ? static_cast<std::uint32_t>(accepted_ >> (32 * accepted_half_)) : 0;
    all.msix_config = config_vector_;
    all.num_queues = static_cast<std::uint16_t>(queues_.size());
    all.device_status = status_;
    all.config_generation = generation_;
    all.queue_select = selected_;
    if (selected_ < queues_.size()) {
        const queue& q = queues_[selected_];
        all.queue_size = q.size;
        all.queue_msix_vector = q.vector;
        all.queue_enable = q.enabled ? 1 : 0;
        all.queue_notify_off = selected_;
        const auto halves = [](std::uint64_t area, __le32& low, __le32& high) {
            low = static_cast<std::uint32_t>(area);
            high = static_cast<std::uint32_t>(area >> 32);
        };
        halves(q.areas[0], all.queue_desc_lo, all.queue_desc_hi);
        halves(q.areas[1], all.queue_avail_lo, all.queue_avail_hi);
        halves(q.areas[2], all.queue_used_lo, all.queue_used_hi);
    }
    if (offset + to.size() <= sizeof all) {
        std::memcpy(to.data(), reinterpret_cast<const std::byte*>(&all) + offset, to.size());
    }
}

std::uint16_t virtio_function::checked_vector(std::uint64_t value) const noexcept
{
    // The guest reads back what it got.
    return value < vectors_.count() ? static_cast<std::uint16_t>(value) : no_vector;
}

void virtio_function::write_common(std::size_t offset, std::uint64_t value,
                                   std::size_t size) noexcept
{
    if (stopping_) {
        return;
    }
    // Each register by its own width; the rest is no register.
    if (offset == VIRTIO_PCI_COMMON_STATUS && size == 1) {
        write_status(static_cast<std::uint8_t>(value));
    } else if (offset == VIRTIO_PCI_COMMON_DFSELECT && size == 4) {
        offered_half_ = static_cast<std::uint32_t>(value);
    } else if (offset == VIRTIO_PCI_COMMON_GFSELECT && size == 4) {
        accepted_half_ = static_cast<std::uint32_t>(value);
    } else if (offset == VIRTIO_PCI_COMMON_GF && size == 4) {
        if (accepted_half_ < 2 && (status_ & VIRTIO_CONFIG_S_FEATURES_OK) == 0) {
            replace(accepted_, std::size_t{accepted_half_} * 4, value, size);
        }
    } else if (offset == VIRTIO_PCI_COMMON_MSIX && size == 2) {
        config_vector_ = checked_vector(value);
    } else if (offset == VIRTIO_PCI_COMMON_Q_SELECT && size == 2) {
        selected_ = static_cast<std::uint16_t>(value);
    } else if (selected_ < queues_.size()) {
        write_queue(offset, value, size);
    }
}

void virtio_function::write_queue(std::size_t offset, std::uint64_t value,
                                  std::size_t size) noexcept
{
    // What the device was given at DRIVER_OK stays as it was checked then (CVE-2026-5747 was this).
    queue& q = queues_[selected_];
    if (q.enabled || (status_ & VIRTIO_CONFIG_S_DRIVER_OK) != 0) {
        return;
    }
    if (offset == VIRTIO_PCI_COMMON_Q_SIZE && size == 2) {
        if (value != 0 && value <= device_->max_queue_size(selected_)) {
            q.size = static_cast<std::uint16_t>(value);
        }
    } else if (offset == VIRTIO_PCI_COMMON_Q_MSIX && size == 2) {
        q.vector = checked_vector(value);
    } else if (offset == VIRTIO_PCI_COMMON_Q_ENABLE && size == 2) {
        q.enabled = value == 1;
    } else if (offset >= VIRTIO_PCI_COMMON_Q_DESCLO && offset < VIRTIO_PCI_COMMON_Q_USEDHI + 4 &&
               offset % size == 0) {
        replace(q.areas[(offset - VIRTIO_PCI_COMMON_Q_DESCLO) / 8], offset, value, size);
    }
}

void virtio_function::write_status(std::uint8_t value) noexcept
{
    if (value == 0) {
        stop();
        return;
    }
    // Bits are only ever added; NEEDS_RESET is the device's.
    const auto added = static_cast<std::uint8_t>(value & ~status_);
    status_ |=
        added & (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FAILED);
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) != 0 && (accepted_ & ~offered()) == 0 &&
        (accepted_ & version_1) != 0) {
        status_ |= VIRTIO_CONFIG_S_FEATURES_OK;
    }
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) != 0 &&
        (status_ & (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_NEEDS_RESET)) ==
            VIRTIO_CONFIG_S_FEATURES_OK) {
        status_ |= VIRTIO_CONFIG_S_DRIVER_OK;
        start();
    }
}

const char* virtio_function::fault_of(const queue& q) const noexcept
{
    const bool packed = (accepted_ & ring_packed) != 0;
    if (!packed && (q.size & (q.size - 1)) != 0) {
        return "the size of a split queue is no power of two";
    }
    constexpr std::uint64_t descriptors = 16;
    const std::uint64_t driver = packed ? 4 : 2;
    constexpr std::uint64_t device = 4;
    if (q.areas[0] % descriptors != 0 || q.areas[1] % driver != 0 || q.areas[2] % device != 0) {
        return "a part of a queue is not aligned";
    }
    return nullptr;
}

void virtio_function::start() noexcept
{
    std::vector<virtio::queue_setup> setups;
    for (const queue& q : queues_) {
        const event& call = q.vector == no_vector ? unheard_ : vectors_.at(q.vector);
        setups.push_back({.size = q.size,
                          .enabled = q.enabled,
                          .descriptors = q.areas[0],
                          .driver = q.areas[1],
                          .device = q.areas[2],
                          .kick = q.kick.fd(),
                          .call = call.fd()});
        if (const char* const fault = q.enabled ? fault_of(q) : nullptr) {
            fail(fault);
            return;
        }
    }
    if (const char* const fault = device_->fault_of(accepted_, setups)) {
        fail(fault);
        return;
    }
    started_ = true;
    if (address() != 0) {
        watch_notifications(address(), true);
    }
    device_->start(accepted_, setups);
}

// The status stays as it was until the device is quiet: the guest reads it until it is 0.
void virtio_function::stop() noexcept
{
    if (!started_) {
        clear();
        return;
    }
    if (address() != 0) {
        watch_notifications(address(), false);
    }
    started_ = false;
    stopping_ = true;
    device_->stop([this] {
        const std::scoped_lock lock{mutex_};
        stopping_ = false;
        clear();
    });
}

void virtio_function::clear() noexcept
{
    for (std::uint16_t i = 0; i < queues_.size(); ++i) {
        queue& q = queues_[i];
        (void)q.kick.take();
        q.size = device_->max_queue_size(i);
        q.vector = no_vector;
        q.enabled = false;
        q.areas = {};
    }
    offered_.reset();
    accepted_ = 0;
    offered_half_ = accepted_half_ = 0;
    config_vector_ = no_vector;
    selected_ = 0;
    status_ = 0;
    pending_ = 0;
}

void virtio_function::config_changed() noexcept
{
    const std::scoped_lock lock{mutex_};
    ++generation_;
    if ((status_ & VIRTIO_CONFIG_S_DRIVER_OK) == 0) {
        return;
    }
    pending_ |= isr_configuration;
    if (config_vector_ != no_vector) {
        vectors_.at(config_vector_).signal();
    }
}

void virtio_function::broken(const char* why) noexcept
{
    const std::scoped_lock lock{mutex_};
    fail(why);
}

void virtio_function::fail(const char* why) noexcept
{
    control::log_limited(control::log_level::warning, name_,
                         std::string{"the guest broke the protocol: "} + why +
                             "; the device waits for a reset");
    status_ |= VIRTIO_CONFIG_S_NEEDS_RESET;
    pending_ |= isr_configuration;
    if (config_vector_ != no_vector) {
        vectors_.at(config_vector_).signal();
    }
}

} // namespace strait::vmm::pci
