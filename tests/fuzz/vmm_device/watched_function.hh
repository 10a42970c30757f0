// SPDX-License-Identifier: BSD-3-Clause
// A virtio function, and what must hold of its registers whatever the guest writes.
#pragma once

#include "tests/fuzz/check.hh"
#include "tests/fuzz/vmm_device/parts.hh"
#include "vmm/pci/bus.hh"
#include "vmm/pci/virtio_function.hh"
#include "vmm/platform.hh"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <poll.h>

namespace strait::fuzz {

namespace pci = vmm::pci;
namespace platform = vmm::platform;

// Registers of a function's BAR.
inline constexpr std::uint32_t isr_at = 0x1000;
inline constexpr std::uint32_t table_at = 0x3000;
inline constexpr std::uint32_t notify_at = 0x4000;
inline constexpr std::uint32_t bar_bytes = 0x8000;
inline constexpr std::uint8_t known_status = 0xcf;

// A queue's registers from its size to the device area: words 0 to 3.
using queue_registers = std::array<std::uint64_t, 4>;
inline std::uint16_t size_of(const queue_registers& q)
{
    return static_cast<std::uint16_t>(q[0]);
}
inline std::uint16_t vector_of(const queue_registers& q)
{
    return static_cast<std::uint16_t>(q[0] >> 16);
}
inline bool enabled(const queue_registers& q)
{
    return static_cast<std::uint16_t>(q[0] >> 32) == 1;
}

// One of the bus.
class watched_function {
public:
    watched_function(const char* name, std::unique_ptr<virtio::device> device,
                     noting_fabric& fabric, pci::bus& bus)
        : fabric_{fabric}, device_{*device}, first_interrupt_{fabric.next}
    {
        auto made = pci::virtio_function::make(name, std::move(device), fabric).value();
        function_ = made.get();
        bus.add(std::move(made));
        home = function_->address();
        space_ = space();
        for (std::uint16_t at = 0; at < pci::config_bytes; at += 4) {
            const std::uint32_t head = space_[at / 4];
            if ((head & 0xff) == PCI_CAP_ID_VNDR && head >> 24 == VIRTIO_PCI_CAP_PCI_CFG) {
                window_ = at;
            } else if ((head & 0xff) == PCI_CAP_ID_MSIX && messages_ == 0) {
                messages_ = at;
            }
        }
        rings.resize(device_.queues());
        queues_ = read_queues();
        table_ = table();
    }

    [[nodiscard]] std::uint32_t address() const { return function_->address(); }
    [[nodiscard]] std::uint16_t queues() const { return device_.queues(); }
    [[nodiscard]] std::uint16_t messages() const { return messages_; }
    [[nodiscard]] std::uint8_t status() const
    {
        return peek<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS);
    }
    [[nodiscard]] bool was_started() const { return was_started_; }

    // An access to its BAR was made.
    void wrote(std::uint32_t offset, std::span<const std::byte> from)
    {
        const bool to_status = offset == VIRTIO_PCI_COMMON_STATUS && from.size() == 1;
        if (to_status) {
            look(std::to_integer<std::uint8_t>(from[0]), looked_at::all);
        } else {
            look({}, offset >= isr_at                    ? looked_at::status
                     : offset < VIRTIO_PCI_COMMON_STATUS ? looked_at::all
                                                         : looked_at::selected);
        }
        if (offset >= table_at && offset < notify_at) {
            const std::vector<std::uint32_t> before = std::exchange(table_, table());
            check(table_ == before || (offset % 4 == 0 && from.size() % 4 == 0));
            check_vectors();
        }
    }
    // To its configuration space.
    void wrote_config(std::uint16_t offset, std::span<const std::byte> from)
    {
        const auto at = peek_config(window_ + 8U);
        if (offset == window_ + 16 && at % from.size() == 0 && at <= bar_bytes - from.size()) {
            wrote(at, from);
        }
        check_vectors();
        const auto bar = peek_config(PCI_BASE_ADDRESS_0);
        const bool on = (peek_config(PCI_COMMAND) & PCI_COMMAND_MEMORY) != 0;
        check(bar % bar_bytes == 0);
        const bool there = on && bar >= platform::pci_window &&
                           bar + std::uint64_t{bar_bytes} <= platform::pci_window_end;
        check(address() == (there ? bar : 0));
    }
    // Its device's thread did something, or somebody read.
    void rested() { look({}, looked_at::status); }

    void add_watched(std::vector<std::uint64_t>& all) const
    {
        for (std::uint32_t i = 0; started_ && address() != 0 && i < queues_.size(); ++i) {
            if (enabled(queues_[i])) {
                all.push_back(std::uint64_t{address()} + notify_at + 4 * i);
            }
        }
    }

    // As a guest resets it, whatever state it is in.
    void reset()
    {
        poke(VIRTIO_PCI_COMMON_STATUS, std::uint8_t{0});
        look(0, looked_at::all);
    }
    void check_reset() const { check(status_ == 0 && !stopping_); }
    using whole_space = std::array<std::uint32_t, pci::config_bytes / 4>;
    [[nodiscard]] whole_space space() const
    {
        whole_space all{};
        for (std::size_t i = 0; i < all.size(); ++i) {
            all[i] = peek_config(4 * i);
        }
        return all;
    }
    // What the guest cannot write stayed as it was.
    void check_space() const
    {
        for (std::uint16_t at = 0; at < pci::config_bytes; at += 4) {
            std::uint32_t mine = 0;
            if (at == PCI_COMMAND) {
                mine = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;
            } else if (at == PCI_CACHE_LINE_SIZE || at == PCI_INTERRUPT_LINE) {
                mine = 0xff;
            } else if (at == PCI_BASE_ADDRESS_0) {
                mine = ~(bar_bytes - 1);
            } else if (at == messages_) {
                mine = std::uint32_t{PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL} << 16;
            } else if (at == window_ + 4) {
                mine = 0xff; // the BAR's number
            } else if (at == window_ + 8 || at == window_ + 12) {
                mine = ~0U;
            }
            check(((peek_config(at) ^ space_[at / 4]) & ~mine) == 0);
        }
    }

    std::uint32_t home{0}; // where its BAR was
    struct ring {
        std::uint32_t descriptors{0};
        std::uint32_t driver{0};
        std::uint16_t size{1};
        bool packed{false};
    };
    std::vector<ring> rings; // as the last shortcut placed them

private:
    // Past the bus, for the BAR may be anywhere. None of it has effects.
    template <typename T>
    [[nodiscard]] T peek(std::uint32_t offset) const
    {
        T value{};
        function_->read_bar(offset, std::as_writable_bytes(std::span{&value, 1}));
        return value;
    }
    template <typename T>
    void poke(std::uint32_t offset, T value) const
    {
        function_->write_bar(offset, std::as_bytes(std::span{&value, 1}));
    }
    [[nodiscard]] std::uint32_t peek_config(std::size_t offset) const
    {
        std::uint32_t value = 0; // not what is behind the window in it
        function_->function::read_config(offset, std::as_writable_bytes(std::span{&value, 1}));
        return value;
    }
    [[nodiscard]] std::vector<std::uint32_t> table() const
    {
        std::vector<std::uint32_t> all(4 * (device_.queues() + std::size_t{1}));
        for (std::uint32_t i = 0; i < all.size(); ++i) {
            all[i] = peek<std::uint32_t>(table_at + 4 * i);
        }
        return all;
    }
    [[nodiscard]] std::vector<queue_registers> read_queues() const
    {
        const auto selected = peek<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SELECT);
        std::vector<queue_registers> all(device_.queues());
        for (std::uint16_t i = 0; i < all.size(); ++i) {
            poke(VIRTIO_PCI_COMMON_Q_SELECT, i);
            all[i] = read_selected();
        }
        poke(VIRTIO_PCI_COMMON_Q_SELECT, selected);
        return all;
    }
    [[nodiscard]] queue_registers read_selected() const
    {
        queue_registers q{};
        for (std::uint32_t w = 0; w < q.size(); ++w) {
            q[w] = peek<std::uint64_t>(VIRTIO_PCI_COMMON_Q_SIZE + 8 * w);
        }
        return q;
    }
    [[nodiscard]] std::uint64_t both_halves(std::uint32_t select, std::uint32_t at) const
    {
        const auto selected = peek<std::uint32_t>(select);
        std::uint64_t all = 0;
        for (const std::uint32_t half : {0U, 1U}) {
            poke(select, half);
            all |= std::uint64_t{peek<std::uint32_t>(at)} << (32 * half);
        }
        poke(select, selected);
        return all;
    }
    [[nodiscard]] std::uint64_t accepted() const
    {
        return both_halves(VIRTIO_PCI_COMMON_GFSELECT, VIRTIO_PCI_COMMON_GF);
    }
    // All of it but status and generation.
    [[nodiscard]] std::array<std::uint64_t, 7> common() const
    {
        std::array<std::uint64_t, 7> all{};
        for (std::uint32_t w = 0; w < all.size(); ++w) {
            all[w] = peek<std::uint64_t>(8 * w);
        }
        all[VIRTIO_PCI_COMMON_STATUS / 8] &= ~0x0000'ffff'0000'0000ULL;
        return all;
    }

    enum class looked_at : std::uint8_t { status, selected, all }; // queues, too

    // `written`: what the guest has just written to the status.
    void look(std::optional<std::uint8_t> written, looked_at what)
    {
        const std::uint8_t before = status_;
        status_ = status();
        check((status_ & ~known_status) == 0);
        if (stopping_) {
            if (status_ == 0) {
                stopping_ = false;
                check_cleared();
            } else { // nothing counts until it is quiet, but that the device may be broken
                check((status_ & ~VIRTIO_CONFIG_S_NEEDS_RESET) ==
                      (before & ~VIRTIO_CONFIG_S_NEEDS_RESET));
                check(common() == frozen_);
            }
            return;
        }
        if (written == 0) {
            if (std::exchange(started_, false) && status_ != 0) {
                check(status_ == before);
                stopping_ = true;
                frozen_ = common();
            } else {
                check_cleared();
            }
            return;
        }
        const auto added = static_cast<std::uint8_t>(status_ & ~before);
        check((before & ~status_) == 0);
        const bool begun = (added & VIRTIO_CONFIG_S_DRIVER_OK) != 0;
        const bool broken = (added & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
        check((added & ~VIRTIO_CONFIG_S_NEEDS_RESET & ~written.value_or(0)) == 0);
        check(!broken || begun || !written); // the guest says no such thing
        check((status_ & VIRTIO_CONFIG_S_DRIVER_OK) == 0 ||
              (status_ & VIRTIO_CONFIG_S_FEATURES_OK) != 0);
        check(!begun || (before & VIRTIO_CONFIG_S_NEEDS_RESET) == 0);
        const auto selected = peek<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SELECT);
        if (what == looked_at::selected && selected < queues_.size()) {
            check_queue(before, selected, read_selected());
        } else if (what == looked_at::all) {
            check_registers(before);
        }
        if ((added & VIRTIO_CONFIG_S_FEATURES_OK) != 0) {
            check((features_ & version_1) != 0);
            check((features_ & ~both_halves(VIRTIO_PCI_COMMON_DFSELECT, VIRTIO_PCI_COMMON_DF)) ==
                  0);
        }
        if (begun && !broken) {
            started_ = was_started_ = true;
            remember_kicks();
            check_started();
        }
    }
    void check_queue(std::uint8_t before, std::uint16_t index, const queue_registers& now)
    {
        check(size_of(now) != 0 && size_of(now) <= device_.max_queue_size(index));
        check(vector_of(now) <= device_.queues() || vector_of(now) == VIRTIO_MSI_NO_VECTOR);
        if (enabled(queues_[index]) || (before & VIRTIO_CONFIG_S_DRIVER_OK) != 0) {
            check(now == queues_[index]);
        }
        queues_[index] = now;
    }
    void check_registers(std::uint8_t before)
    {
        const std::vector<queue_registers> now = read_queues();
        for (std::uint16_t i = 0; i < now.size(); ++i) {
            check_queue(before, i, now[i]);
        }
        const auto vector = peek<std::uint16_t>(VIRTIO_PCI_COMMON_MSIX);
        check(vector <= device_.queues() || vector == VIRTIO_MSI_NO_VECTOR);
        const bool a_half = peek<std::uint32_t>(VIRTIO_PCI_COMMON_GFSELECT) < 2;
        const std::uint64_t features = accepted();
        if (!a_half || (before & VIRTIO_CONFIG_S_FEATURES_OK) != 0) {
            check(features == features_);
        }
        features_ = features;
    }
    void remember_kicks()
    {
        kicks_.clear();
        const std::uint64_t first = std::uint64_t{address()} + notify_at;
        for (const auto& [at, event] : fabric_.addresses) {
            if (at >= first && at - first < 4 * queues_.size()) {
                kicks_.push_back(event);
            }
        }
        std::vector<std::uint64_t> mine;
        add_watched(mine);
        if (kicks_.size() != mine.size()) {
            kicks_.clear(); // another's BAR is there, too
        }
    }
    void check_started() const
    {
        const bool packed = (features_ & ring_packed) != 0;
        for (const queue_registers& q : queues_) {
            check(!enabled(q) || packed || std::has_single_bit(size_of(q)));
            check(!enabled(q) || (q[1] % 16 == 0 && q[2] % (packed ? 4 : 2) == 0 && q[3] % 4 == 0));
        }
    }
    void check_cleared()
    {
        check(status_ == 0);
        queues_ = read_queues();
        for (std::uint16_t i = 0; i < queues_.size(); ++i) {
            const queue_registers& q = queues_[i];
            check(size_of(q) == device_.max_queue_size(i) && !enabled(q));
            check(vector_of(q) == VIRTIO_MSI_NO_VECTOR && q[1] == 0 && q[2] == 0 && q[3] == 0);
        }
        for (const int kick : kicks_) { // the next driver's are its own
            pollfd one{kick, POLLIN, 0};
            check(::poll(&one, 1, 0) == 0);
        }
        features_ = accepted();
        check(features_ == 0 && peek<std::uint8_t>(isr_at) == 0);
        check(peek<std::uint16_t>(VIRTIO_PCI_COMMON_MSIX) == VIRTIO_MSI_NO_VECTOR);
    }
    // Those interrupt that the guest has unmasked, and send what the table says.
    void check_vectors() const
    {
        const std::uint32_t control = peek_config(messages_) >> 16;
        const bool on =
            (control & PCI_MSIX_FLAGS_ENABLE) != 0 && (control & PCI_MSIX_FLAGS_MASKALL) == 0;
        for (std::uint32_t i = 0; i < device_.queues() + 1U; ++i) {
            const std::uint32_t* const entry = table_.data() + std::size_t{4} * i;
            check(entry[3] <= 1);
            const bool live = on && entry[3] == 0;
            check(fabric_.interrupts.contains(first_interrupt_ + i) == live);
            if (live) {
                const vmm::message m{std::uint64_t{entry[1]} << 32 | entry[0], entry[2]};
                check(fabric_.routes.at(first_interrupt_ + i) == m);
            }
        }
    }

    noting_fabric& fabric_;
    virtio::device& device_;
    std::uint32_t first_interrupt_;
    pci::virtio_function* function_{nullptr}; // the bus has it
    std::uint16_t window_{0};                 // capabilities
    std::uint16_t messages_{0};
    whole_space space_{}; // at first
    std::uint8_t status_{0};
    std::uint64_t features_{0};
    std::vector<queue_registers> queues_;
    std::vector<std::uint32_t> table_;
    std::vector<int> kicks_; // of queues that KVM watches
    std::array<std::uint64_t, 7> frozen_{};
    bool started_{false};
    bool stopping_{false};
    bool was_started_{false};
};

} // namespace strait::fuzz
