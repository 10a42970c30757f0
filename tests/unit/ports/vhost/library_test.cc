// SPDX-License-Identifier: BSD-3-Clause
// The threads that look after ports. What connections do is connection_test.cc's.
#include "ports/vhost/library.hh"

#include "lab.hh"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace strait::vhost::test {
namespace {

using namespace std::chrono_literals;

// Looks after itself as one does that takes a port away: waits for a worker that has to be freed.
class waiting final : public endpoint {
public:
    bool connected(int /*vid*/) noexcept override { return false; }
    void disconnected(int /*vid*/) noexcept override {}
    void device_ready(int /*vid*/) noexcept override {}
    void device_stopped(int /*vid*/) noexcept override {}
    void ring_state(int /*vid*/, unsigned /*ring*/, bool /*ready*/) noexcept override {}
    verdict before(int /*vid*/, message /*m*/) noexcept override { return verdict::error; }
    void after(int /*vid*/, message /*m*/) noexcept override {}
    void memory_lost(int /*vid*/) noexcept override {}
    void look() noexcept override
    {
        if (looked_.exchange(true)) {
            return;
        }
        const unsigned before = freed_;
        well_ = eventually([&] { return freed_ >= before + 20; }, 5s);
        done_ = true;
    }
    bool free_workers() noexcept override
    {
        ++freed_;
        return true; // again soon
    }

    [[nodiscard]] bool done() const noexcept { return done_; }
    [[nodiscard]] bool well() const noexcept { return well_; }

private:
    std::atomic<bool> looked_{false};
    std::atomic<unsigned> freed_{0};
    std::atomic<bool> well_{false};
    std::atomic<bool> done_{false};
};

TEST(vhost_library, frees_workers_also_while_a_look_at_a_port_waits_for_one)
{
    const lab with_library{1};
    waiting port;
    const std::string path = with_library.socket(7);
    ASSERT_TRUE(register_socket(port, path, false, 0, 0).has_value());
    EXPECT_TRUE(eventually([&] { return port.done(); }, 10s));
    EXPECT_TRUE(port.well());
    unregister_socket(port, path);
}

} // namespace
} // namespace strait::vhost::test
