// SPDX-License-Identifier: BSD-3-Clause
// The other side of a device's queue, for the devices' tests: a guest with a driver, which is the
// ring engine's tests' own, and a transport that remembers what it is told.
#pragma once

#include "tests/unit/ports/vhost/test_ring.hh"
#include "vmm/virtio/device.hh"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace strait::vmm::virtio::test {

using vhost::test::buffer;
using vhost::test::bytes;
using vhost::test::driver;
using vhost::test::feature_bits;
using vhost::test::guest_ram;
using vhost::test::guest_range;
using vhost::test::make_driver;
using vhost::test::returned;
using vhost::test::ring_options;

inline constexpr std::chrono::seconds patience{20};

[[nodiscard]] inline queue_setup setup_of(const driver& d)
{
    return {.size = d.options().size,
            .enabled = true,
            .descriptors = d.places()[0].address,
            .driver = d.places()[1].address,
            .device = d.places()[2].address,
            .kick = d.kick_fd(),
            .call = d.call_fd()};
}

class test_transport final : public transport {
public:
    void config_changed() noexcept override {}
    void broken(const char* why) noexcept override
    {
        const std::scoped_lock lock{mutex_};
        why_.emplace_back(why);
        told_.notify_all();
    }
    // The first reason that it was or will be told, or none in time.
    [[nodiscard]] std::string wait_for_fault()
    {
        std::unique_lock lock{mutex_};
        const bool told = told_.wait_for(lock, patience, [&] { return !why_.empty(); });
        return told ? why_.front() : "not broken";
    }
    [[nodiscard]] std::vector<std::string> faults()
    {
        const std::scoped_lock lock{mutex_};
        return why_;
    }

private:
    std::mutex mutex_;
    std::condition_variable told_;
    std::vector<std::string> why_;
};

// A guest of one device with one queue.
struct guest_machine {
    explicit guest_machine(const ring_options& options, std::size_t ram_size = std::size_t{4} << 20)
        : ram{ram_size}, guest{make_driver(ram, options)}
    {}

    // With the features that the driver has of the ring, and these.
    void start(device& d, std::uint64_t more_features = 0)
    {
        d.attach(transport);
        const queue_setup setup = setup_of(*guest);
        d.start(guest->options().all_features() | more_features, {&setup, 1});
    }
    static void stop(device& d)
    {
        std::promise<void> done;
        auto stopped = done.get_future();
        d.stop([&done] { done.set_value(); });
        ASSERT_EQ(stopped.wait_for(patience), std::future_status::ready);
    }
    // Chains that come back until there are `count`, or patience ends.
    std::vector<returned> collect(std::size_t count)
    {
        std::vector<returned> all;
        const auto end = std::chrono::steady_clock::now() + patience;
        while (all.size() < count && std::chrono::steady_clock::now() < end) {
            for (const returned& r : guest->collect()) {
                all.push_back(r);
            }
            std::this_thread::sleep_for(std::chrono::microseconds{200});
        }
        EXPECT_EQ(all.size(), count);
        return all;
    }

    guest_ram ram;
    std::unique_ptr<driver> guest;
    test_transport transport;
};

} // namespace strait::vmm::virtio::test
