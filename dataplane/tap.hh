// SPDX-License-Identifier: BSD-3-Clause
// What captures and mirrors ask of the workers: which packets they want to see, at which point of
// their way, and where copies go. Built by control, part of a snapshot; what a worker does about it
// is in tapper.hh, what becomes of the copies is control's business.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/flow/key.hh"
#include "dataplane/packet.hh"
#include "dataplane/snapshot.hh"
#include "dataplane/types.hh"

#include <atomic>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace strait::dataplane {

using port_set = std::bitset<max_ports>;

// All of the sets may have packets; `vlans` and `flows` then narrow them.
struct tap_filter {
    port_set received;  // as they came from these ports
    port_set sent;      // as they leave by these
    port_set sent_from; // as they leave, by whatever port, after they came from these
    port_set dropped;   // that came from these, or were to leave by these, and did not
    std::optional<std::bitset<4096>> vlans;
    std::vector<flow::match> flows; // within one of these; empty: all

    // By VLAN and flow, of a packet as it stands. `at`: the port it comes from or leaves by; `in`:
    // the one it came from, if that is known.
    [[nodiscard]] bool wants(const packet& p, const port_config& at,
                             const port_config* in) const noexcept;
};

// The VLAN that a frame as it stands belongs to at a port.
[[nodiscard]] vlan_id vlan_at(const packet& p, const port_config& at) noexcept;

enum class tap_event : std::uint8_t { received, sent, dropped };

// What is known of a copied packet; its bytes follow.
struct tap_record {
    std::uint64_t tsc{0};         // when it was seen
    std::uint32_t incarnation{0}; // of the port it came from, left by or was charged to
    std::uint32_t length{0};      // of the frame
    std::uint32_t captured{0};    // so many bytes of it are here
    tap_event event{tap_event::received};
    drop_reason reason{};   // of dropped
    port_index at{no_port}; // that port, while it is there
};

// A bounded ring of copies, from one worker to one reader. What finds no room is counted, by port.
class tap_ring {
public:
    // A power of two.
    explicit tap_ring(std::size_t bytes);

    // The worker. Copies `snaplen` bytes at most. False: there was no room.
    bool put(const packet& p, tap_record r, port_index at, std::uint32_t snaplen) noexcept;

    // The reader. Null: there is none. It stays until pop().
    [[nodiscard]] const tap_record* front() noexcept;
    [[nodiscard]] static std::span<const std::byte> bytes_of(const tap_record& r) noexcept
    {
        return {reinterpret_cast<const std::byte*>(&r + 1), r.captured};
    }
    void pop() noexcept;
    // Any thread: packets at this port that found no room.
    [[nodiscard]] std::uint64_t lost(port_index at) const noexcept
    {
        return lost_[to_index(at)].read();
    }
    // What a copy of so many bytes takes of a ring.
    [[nodiscard]] static constexpr std::size_t room_for(std::uint32_t bytes) noexcept
    {
        return sizeof(tap_record) + (bytes + unit - 1) / unit * unit;
    }

private:
    static constexpr std::size_t unit = 8;
    static constexpr std::uint64_t skipped = ~std::uint64_t{0}; // in place of a tsc: to the start

    std::size_t size_;
    std::unique_ptr<std::byte[]> memory_;
    std::unique_ptr<counter[]> lost_;
    alignas(64) std::uint64_t head_{0}; // the worker's; both only grow
    std::uint64_t known_tail_{0};       // what it has last seen of the reader
    alignas(64) std::atomic<std::uint64_t> published_head_{0};
    alignas(64) std::atomic<std::uint64_t> tail_{0};
};

// Where a tap's packets go: to rings, or to ports.
struct tap_outlet {
    struct alignas(64) totals {
        counter packets;
        counter bytes;
        counter drops; // copies that found no room, or could not be sent
    };

    explicit tap_outlet(std::size_t workers) : by_worker{workers} {}

    std::string name;
    std::uint32_t snaplen{~std::uint32_t{0}};
    // One bit, of a mirror: a packet is its once. 0: a capture's, which has it wherever it is seen.
    std::uint32_t once{0};
    std::vector<std::unique_ptr<tap_ring>> rings; // by worker; empty: to ports
    std::vector<totals> by_worker;
};

struct tap {
    tap_filter filter; // follows the ports that there are
    std::shared_ptr<tap_outlet> outlet;
    port_index output{no_port};            // of a mirror to a port
    vlan_id output_vlan{};                 // to a VLAN; 0: it is to none
    bridge_index output_bridge{no_bridge}; // of that VLAN
};

struct tap_set {
    std::vector<tap> all;
    bool any_dropped{false}; // whether one of them has packets that are dropped
};

} // namespace strait::dataplane
