// SPDX-License-Identifier: BSD-3-Clause
// What virtio functions are put between: a hypervisor that notes what is connected, and devices
// that see how they are called.
#pragma once

#include "tests/fuzz/check.hh"
#include "vmm/fabric.hh"
#include "vmm/memory.hh"
#include "vmm/platform.hh"
#include "vmm/virtio/device.hh"
#include "vmm/virtio/packed_position.hh"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <sys/eventfd.h>

namespace strait::fuzz {

namespace virtio = vmm::virtio;

template <typename T>
T number(std::span<const std::byte> bytes)
{
    T value{};
    std::memcpy(&value, bytes.data(), std::min(sizeof value, bytes.size()));
    return value;
}

inline bool is_open(int fd)
{
    return ::fcntl(fd, F_GETFD) >= 0;
}

// Notes what is connected, as KVM does: several events at an address, where guests have put two
// BARs in one place, of which the first gets what is written.
class noting_fabric final : public vmm::fabric {
public:
    noting_fabric() = default;
    noting_fabric(const noting_fabric&) = delete;
    noting_fabric& operator=(const noting_fabric&) = delete;
    ~noting_fabric() { check(interrupts.empty() && addresses.empty()); }

    void connect_interrupt(int event, std::uint32_t interrupt) noexcept override
    {
        check(is_open(event) && interrupts.emplace(interrupt, event).second);
    }
    void disconnect_interrupt(int event, std::uint32_t interrupt) noexcept override
    {
        const auto found = interrupts.find(interrupt);
        check(found != interrupts.end() && found->second == event);
        interrupts.erase(found);
    }
    [[nodiscard]] std::uint32_t add_message_interrupt() override { return next++; }
    void route(std::uint32_t interrupt, const vmm::message& m) noexcept override
    {
        check(interrupt < next);
        routes[interrupt] = m;
    }
    void connect_address(std::uint64_t address, int event) noexcept override
    {
        check(is_open(event) &&
              std::ranges::find(addresses, std::pair{address, event}) == addresses.end());
        addresses.emplace_back(address, event);
    }
    void disconnect_address(std::uint64_t address, int event) noexcept override
    {
        check(std::erase(addresses, std::pair{address, event}) == 1);
    }
    void raise_interrupts() const
    {
        for (const auto& [interrupt, event] : interrupts) {
            eventfd_t count = 0;
            (void)::eventfd_read(event, &count);
        }
    }

    std::uint32_t next{vmm::platform::first_message_interrupt};
    std::map<std::uint32_t, int> interrupts;
    std::map<std::uint32_t, vmm::message> routes;
    std::vector<std::pair<std::uint64_t, int>> addresses;
};

inline constexpr std::uint64_t version_1 = 1ULL << VIRTIO_F_VERSION_1;
inline constexpr std::uint64_t ring_packed = 1ULL << VIRTIO_F_RING_PACKED;

// What any device may rely on when it is started.
inline void check_setup(const virtio::queue_setup& q, bool packed, std::uint16_t most)
{
    check(q.size != 0 && q.size <= most && (packed || std::has_single_bit(q.size)));
    check(q.descriptors % 16 == 0 && q.driver % (packed ? 4 : 2) == 0 && q.device % 4 == 0);
    check(is_open(q.kick) && is_open(q.call));
}

// A device that does nothing by itself, and sees that it is called as devices may be.
class played_device final : public virtio::device {
public:
    static constexpr std::uint16_t most = 256;

    explicit played_device(const vmm::memory& ram) : ram_{ram} {}

    [[nodiscard]] std::uint16_t type() const noexcept override { return 3; }
    [[nodiscard]] std::uint64_t features() noexcept override { return told_ = offered; }
    [[nodiscard]] std::uint16_t queues() const noexcept override { return 3; }
    [[nodiscard]] std::uint16_t max_queue_size(std::uint16_t queue) const noexcept override
    {
        check(queue < 3);
        return most;
    }
    [[nodiscard]] std::size_t config_size() const noexcept override { return config_bytes_; }
    void read_config(std::size_t offset, std::span<std::byte> to) noexcept override
    {
        std::memcpy(to.data(), config_.get() + offset, to.size());
    }
    void write_config(std::size_t offset, std::span<const std::byte> from) noexcept override
    {
        check(!done_);
        std::memcpy(config_.get() + offset, from.data(), from.size());
    }
    void attach(virtio::transport& t) noexcept override { transport = &t; }
    void start(std::uint64_t features, std::span<const virtio::queue_setup> queues) override
    {
        check(!started_ && !done_ && queues.size() == 3);
        check((features & ~(told_ | version_1)) == 0 && (features & version_1) != 0);
        started_ = true;
        const bool packed = (features & ring_packed) != 0;
        for (const virtio::queue_setup& q : queues) {
            if (!q.enabled) {
                continue;
            }
            check_setup(q, packed, most);
            if (packed) { // what the network device finds out for its next back end
                const auto stands = virtio::packed_position(ram_, q);
                check(!stands || (*stands & 0x7fff) < q.size);
            }
        }
    }
    void stop(std::function<void()> done) override
    {
        check(started_ && !done_);
        started_ = false;
        done_ = std::move(done);
    }
    // Was asked to, and is.
    void be_quiet()
    {
        if (done_) {
            std::exchange(done_, nullptr)();
        }
    }

    std::uint64_t offered{0xf000'0000 | ring_packed};
    virtio::transport* transport{nullptr};

private:
    static constexpr std::size_t config_bytes_ = 13;

    const vmm::memory& ram_;
    std::unique_ptr<std::byte[]> config_{new std::byte[config_bytes_]{}}; // AddressSanitizer's
    std::uint64_t told_{0};
    bool started_{false};
    std::function<void()> done_;
};

// A device that outlives its machine: passes calls on both ways.
class lent_device final : public virtio::device {
public:
    // The machine that a device is lent to.
    class borrower final : public virtio::transport {
    public:
        void be(virtio::transport* t)
        {
            const std::scoped_lock lock{mutex_};
            now_ = t;
        }
        void config_changed() noexcept override
        {
            const std::scoped_lock lock{mutex_};
            if (now_ != nullptr) {
                now_->config_changed();
            }
        }
        void broken(const char* why) noexcept override
        {
            const std::scoped_lock lock{mutex_};
            if (now_ != nullptr) {
                now_->broken(why);
            }
        }

        std::atomic<bool> busy{false}; // from its start until it has stopped

    private:
        std::mutex mutex_;
        virtio::transport* now_{nullptr};
    };

    lent_device(virtio::device& d, borrower& b) : device_{d}, borrower_{b} {}
    ~lent_device() override { borrower_.be(nullptr); }

    [[nodiscard]] std::uint16_t type() const noexcept override { return device_.type(); }
    [[nodiscard]] std::uint64_t features() noexcept override { return device_.features(); }
    [[nodiscard]] std::uint16_t queues() const noexcept override { return device_.queues(); }
    [[nodiscard]] std::uint16_t max_queue_size(std::uint16_t queue) const noexcept override
    {
        return device_.max_queue_size(queue);
    }
    [[nodiscard]] std::size_t config_size() const noexcept override
    {
        return device_.config_size();
    }
    void read_config(std::size_t offset, std::span<std::byte> to) noexcept override
    {
        device_.read_config(offset, to);
    }
    void write_config(std::size_t offset, std::span<const std::byte> from) noexcept override
    {
        device_.write_config(offset, from);
    }
    void attach(virtio::transport& t) noexcept override { borrower_.be(&t); }
    [[nodiscard]] const char*
    fault_of(std::uint64_t features,
             std::span<const virtio::queue_setup> queues) const noexcept override
    {
        return device_.fault_of(features, queues);
    }
    void start(std::uint64_t features, std::span<const virtio::queue_setup> queues) override
    {
        borrower_.busy = true;
        device_.start(features, queues);
    }
    void stop(std::function<void()> done) override
    {
        device_.stop([this, done = std::move(done)] {
            done();
            borrower_.busy = false;
        });
    }

private:
    virtio::device& device_;
    borrower& borrower_;
};

} // namespace strait::fuzz
