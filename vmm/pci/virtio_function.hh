// SPDX-License-Identifier: BSD-3-Clause
// A virtio device on the PCI bus: VIRTIO 1.1, 4.1, the modern interface alone, interrupts by MSI-X
// alone. It has the registers and decides what of the guest's writes to them counts; what the
// device does is in virtio/.
#pragma once

#include "ports/error.hh"
#include "vmm/event.hh"
#include "vmm/fabric.hh"
#include "vmm/pci/function.hh"
#include "vmm/pci/message_vectors.hh"
#include "vmm/virtio/device.hh"

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace strait::vmm::pci {

class virtio_function final : public function, public virtio::transport {
public:
    // One vector a queue and one for the configuration. `f` outlives it. `name` is for the log.
    [[nodiscard]] static ports::result<std::unique_ptr<virtio_function>>
    make(std::string name, std::unique_ptr<virtio::device> device, fabric& f);
    ~virtio_function() override;

    void read_config(std::size_t offset, std::span<std::byte> to) noexcept override;
    void write_config(std::size_t offset, std::span<const std::byte> from) noexcept override;
    void read_bar(std::uint32_t offset, std::span<std::byte> to) noexcept override;
    void write_bar(std::uint32_t offset, std::span<const std::byte> from) noexcept override;

    void config_changed() noexcept override;
    void broken(const char* why) noexcept override;

private:
    // A queue's registers, which the guest writes until it is enabled.
    struct queue {
        event kick;
        std::uint16_t size;
        std::uint16_t vector;
        bool enabled{false};
        std::array<std::uint64_t, 3> areas{}; // descriptors, driver, device
    };

    virtio_function(std::string name, std::unique_ptr<virtio::device> device, fabric& f,
                    message_vectors vectors, std::vector<queue> queues, event unheard);
    void add_capabilities();
    void moved(std::uint32_t from, std::uint32_t to) noexcept override;

    // Of the guest's view, all with mutex_ held.
    [[nodiscard]] std::uint64_t offered() noexcept;
    void read_common(std::size_t offset, std::span<std::byte> to) noexcept;
    void write_common(std::size_t offset, std::uint64_t value, std::size_t size) noexcept;
    void write_queue(std::size_t offset, std::uint64_t value, std::size_t size) noexcept;
    void write_status(std::uint8_t value) noexcept;
    [[nodiscard]] const char* fault_of(const queue& q) const noexcept;
    void start() noexcept;
    void stop() noexcept;
    void clear() noexcept;
    void fail(const char* why) noexcept;
    void watch_notifications(std::uint32_t bar, bool on) noexcept;
    [[nodiscard]] std::uint16_t checked_vector(std::uint64_t value) const noexcept;

    std::string name_;
    std::unique_ptr<virtio::device> device_;
    fabric& fabric_;
    std::uint8_t message_control_{0}; // offsets of capabilities
    std::uint8_t window_{0};

    std::mutex mutex_; // taken under the bus's, and by the device's thread
    message_vectors vectors_;
    std::vector<queue> queues_;
    event unheard_;                        // the call of queues without a vector
    std::optional<std::uint64_t> offered_; // once the guest has looked, until it resets
    std::uint64_t accepted_{0};
    std::uint32_t offered_half_{0};
    std::uint32_t accepted_half_{0};
    std::uint16_t config_vector_;
    std::uint16_t selected_{0};
    std::uint8_t status_{0};
    std::uint8_t generation_{0};
    std::uint8_t pending_{0}; // the ISR register
    bool started_{false};
    bool stopping_{false};
};

} // namespace strait::vmm::pci
