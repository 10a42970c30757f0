// SPDX-License-Identifier: BSD-3-Clause
// One worker's part in captures and mirrors: it is shown packets as they come, as they leave and
// where they are dropped, and copies what taps want. Nothing of it is called while there are none.
// Who wants what is in tap.hh.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/packet.hh"
#include "dataplane/snapshot.hh"
#include "dataplane/tap.hh"

#include <array>
#include <cstdint>
#include <memory>
#include <span>

namespace strait::dataplane {

// Sends what a mirror copied.
class mirror_sender {
public:
    // Packets as they are, of which nothing may be kept or changed; counts in `counters`. Whether
    // they are on their way only: handed to another worker, or waiting for a rate.
    virtual bool send(std::span<packet* const> packets, const port_config& port,
                      port_counters& counters) noexcept = 0;

protected:
    ~mirror_sender() = default;
};

class tapper final : public drop_watcher {
public:
    // `counters`: the worker's own, by port.
    tapper(worker_index worker, port_counters* counters);
    ~tapper() = default;
    tapper(const tapper&) = delete;
    tapper& operator=(const tapper&) = delete;

    // With each iteration: what is published now.
    void look_at(const snapshot& config) noexcept
    {
        if (config.taps != nullptr || taps_ != nullptr) [[unlikely]] {
            take(config);
        }
    }
    [[nodiscard]] bool active() const noexcept { return taps_ != nullptr; }

    // While active: a burst as it came, with no place of the packets' in it taken by another yet.
    void received(burst& b, const port_config& in, rte_mempool* pool, mirror_sender& out) noexcept;
    // Packets as they are given to a port.
    void sent(std::span<packet* const> packets, const port_config& by, rte_mempool* pool,
              mirror_sender& out) noexcept;
    void dropped(const packet& p, drop_reason reason, const port_counters& at) noexcept override;

    // For copies that another worker handed over: counters to give a queue, and what is to be done
    // with them then.
    [[nodiscard]] port_counters& scratch() noexcept { return *scratch_; }
    void settle(port_counters& port) noexcept;

private:
    struct saved { // of a packet that is sent as it is between others
        std::uint16_t destinations;
        std::uint8_t tagged;
    };

    void take(const snapshot& config) noexcept;
    void record(const tap& t, const packet& p, const port_config& at, tap_event event,
                drop_reason reason = {}) noexcept;
    [[nodiscard]] bool first_time(const tap& t, const packet& p) noexcept;
    void see(const tap& t, std::span<packet* const> packets, const port_config& at, tap_event event,
             rte_mempool* pool, mirror_sender& out) noexcept;
    void mirror(const tap& t, std::span<packet* const> packets, const port_config& at,
                rte_mempool* pool, mirror_sender& out) noexcept;
    void send(const tap& t, std::span<packet* const> packets, const port_config& port,
              mirror_sender& out) noexcept;
    void send_to_vlan(const tap& t, std::span<packet* const> packets, const port_config& at,
                      rte_mempool* pool, mirror_sender& out) noexcept;
    [[nodiscard]] std::size_t copy(const tap& t, std::span<packet* const> packets,
                                   rte_mempool* pool) noexcept;

    worker_index worker_;
    port_counters* counters_;
    const snapshot* config_{nullptr};
    const tap_set* taps_{nullptr};
    bool watching_{false};
    // By origin: bits of mirrors that had it. Behind those of a burst are fragments that had
    // waited.
    std::array<std::uint32_t, 2 * burst::capacity> mirrored_{};
    std::unique_ptr<burst> copies_{new burst};
    std::unique_ptr<port_counters> scratch_{new port_counters};
};

} // namespace strait::dataplane
