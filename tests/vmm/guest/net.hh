// SPDX-License-Identifier: BSD-3-Clause
// A virtio network device, as the command line wants it set up, and what it can be told to do.
#pragma once

#include "tests/vmm/guest/traffic.hh"
#include "tests/vmm/guest/virtio.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace strait::guest {

struct net_settings {
    unsigned device{0};        // which of them
    std::uint64_t features{0}; // of those offered, beside what is needed
    std::uint64_t force{0};    // offered or not
    bool packed{false};
    bool mergeable{false};
    std::uint64_t pairs{1};
    bool messages{true}; // MSI-X
    std::uint64_t ring{256};
    std::uint64_t buffer{2048}; // bytes, the virtio header included
    bool high{false};           // rings and buffers beyond 4 GiB
    bool keep{false};           // the device set up before stays, to be the sender of pass
};

struct run_settings {
    std::uint64_t size{60};
    mac_address destination{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    mac_address source{}; // zeros: the device's own
    std::uint64_t seconds{10};
    bool sleep{false}; // until interrupts, instead of polling
};

class network {
public:
    // Resets and sets up; prints lines "net_…", the last "net=ok" or "net=" and why not: false
    // then.
    [[nodiscard]] bool start(const net_settings& s) noexcept;
    // Resets the device, if one was set up.
    void end() noexcept;

    // Prints lines that begin with `name` and an underline, the last "name=" and a count.
    void run(std::string_view name, traffic::kind what, std::uint64_t count, const run_settings& s,
             bool stop = false, network* sender = nullptr) noexcept;

    // Waits for the link to be as said.
    void wait_link(bool up, const run_settings& s) noexcept;

private:
    [[nodiscard]] static std::uint64_t wanted(const net_settings& s,
                                              std::uint64_t offered) noexcept;
    [[nodiscard]] bool start_queue(data_queue& q, std::uint16_t index,
                                   const net_settings& s) noexcept;
    [[nodiscard]] std::uint16_t message_of(std::uint16_t queue) const noexcept;
    [[nodiscard]] bool is_link_up() const noexcept;
    void print_config() noexcept;
    [[nodiscard]] bool set_pairs() noexcept;
    [[nodiscard]] static std::uint32_t message_count() noexcept;
    static void rest(traffic& t) noexcept;
    static void want_none(traffic& t) noexcept;

    std::optional<virtio_device> device_;
    std::uint64_t features_{0};
    unsigned messages_{0};
    mac_address mac_{};
    std::array<queue_pair, max_pairs> pairs_{};
    std::size_t pair_count_{0};
    data_queue control_{};
};

// Of the RAM that the guest does not use itself, from a fixed place on. Panics if there is no more.
[[nodiscard]] std::byte* allocate(std::size_t bytes, bool high) noexcept;
// All of it again.
void free_all() noexcept;
// The last of the RAM below 4 GiB, which allocate() leaves out.
inline constexpr std::uint64_t spare_length = 8ULL << 20;
[[nodiscard]] std::uint64_t spare_memory() noexcept;

} // namespace strait::guest
