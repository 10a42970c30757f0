// SPDX-License-Identifier: BSD-3-Clause
// What a worker does for ports without queues: frames to a tunnel port get their outer headers and
// go on from the underlay bridge's LOCAL port; frames to a LOCAL port are the switch's own (ARP,
// neighbour discovery, echo) or a tunnel's, and then go on, without their outer headers, from the
// tunnel port. Packets whose next hop is not known wait here, bounded in number, bytes and time.
// How what goes on is forwarded is the worker's business.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/endpoint/error_limit.hh"
#include "dataplane/endpoint/messages.hh"
#include "dataplane/endpoint/neighbours.hh"
#include "dataplane/packet.hh"
#include "dataplane/snapshot.hh"
#include "dataplane/tunnel/notes.hh"
#include "dataplane/tunnel/ports.hh"
#include "dataplane/tunnel/templates.hh"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace strait::tunnel {

// What is forwarded so often, from one port without queues after the other, is dropped:
// tunnel_nested.
inline constexpr std::size_t most_rounds = 4;

// Packets that are to be forwarded, each as if it had come from a port.
struct ready_packets {
    dataplane::burst copies; // memory of those that were made or copied
    std::size_t count{0};
    std::array<dataplane::packet_slot*, dataplane::burst::capacity> packets;
    std::array<dataplane::port_index, dataplane::burst::capacity> from;

    // After they were forwarded and delivered.
    void clear() noexcept;
};

class continuation {
public:
    virtual ~continuation() = default;
    // Forwards and delivers what is ready, of which nothing is left then.
    virtual void go_on() noexcept = 0;
};

struct surroundings {
    const dataplane::snapshot& config;
    dataplane::seconds_t now;
    std::uint64_t tsc;
    rte_mempool* pool;
    dataplane::port_counters* counters; // by port_index
    ready_packets& ready;
    continuation& next;
};

// One worker's.
class carrier {
public:
    static constexpr std::size_t most_waiting = 256;                // packets
    static constexpr std::size_t most_waiting_for_one = 32;         // of a neighbour
    static constexpr std::size_t most_waiting_bytes = 512 * 1024UL; // of all
    static constexpr unsigned patience = 2;                         // seconds

    carrier(endpoint::neighbours& known, std::uint64_t tsc_hz);
    ~carrier();
    carrier(const carrier&) = delete;
    carrier& operator=(const carrier&) = delete;

    // To a port without queues: a tunnel's, or a bridge's LOCAL.
    void take(std::span<dataplane::packet* const> packets, const dataplane::port_config& to,
              const surroundings& around) noexcept;

    // Whether packets wait for their next hops, and it is time to look at them again.
    [[nodiscard]] bool idle() const noexcept { return waiting_.empty(); }
    [[nodiscard]] bool due(std::uint64_t tsc) const noexcept
    {
        return !waiting_.empty() && (tsc >= next_look_ || known_.generation() != seen_);
    }
    void look(const surroundings& around) noexcept;

    [[nodiscard]] tunnel::notes& notes() noexcept { return notes_; }
    // Of all ICMP errors that the worker sends.
    [[nodiscard]] endpoint::error_limit& errors() noexcept { return errors_; }
    // Has the sender told that by this port, from which its receiver seems to say so, IP packets of
    // more than `mtu` bytes do not go. Not if it has been told too often, or is not to be. There is
    // room for one more packet that is ready.
    void refuse(const dataplane::packet& too_big, const dataplane::port_config& port,
                std::uint32_t mtu, const surroundings& around) noexcept;

private:
    // The way to a tunnel's far end, as it was found this second.
    struct path {
        endpoint::ip_address remote;
        endpoint::ip_address local; // as it was asked for
        endpoint::ip_address source;
        endpoint::ip_address next_hop;
        dataplane::mac_address mac; // zero: not known
        std::uint64_t version{0};   // of the endpoint's configuration
        std::uint64_t generation{0};
        dataplane::seconds_t found{0};
        std::uint16_t out{0};
    };
    struct waiting_packet {
        rte_mbuf* mbuf; // with a link-layer header that lacks its destination
        endpoint::neighbours::key who;
        endpoint::ip_address out;   // the interface's
        dataplane::port_index port; // the tunnel's
        std::uint32_t incarnation;
        std::uint32_t bytes;
        std::uint32_t inner_bytes;
        std::uint64_t until; // TSC
        std::uint16_t note;  // its queue
    };

    void make_room(const surroundings& around) noexcept;
    // With this as its note; as a packet of that port, which counts it.
    static void add_ready(dataplane::packet_slot& p, dataplane::port_index from,
                          const surroundings& around, std::uint16_t note = 0) noexcept;
    static void put_ready(dataplane::packet_slot& p, dataplane::port_index from,
                          ready_packets& ready, std::uint16_t note) noexcept;
    struct owned {
        dataplane::packet_slot* p; // null: there is none, and why
        dataplane::drop_reason reason{};
    };
    // In front of a frame in a slot, whose head moves for it.
    [[nodiscard]] static bool has_room(dataplane::packet_slot& p, std::size_t room) noexcept;
    [[nodiscard]] static owned make_own(dataplane::packet_slot& p, std::size_t room,
                                        const surroundings& around) noexcept;

    // Outwards.
    void transmit(dataplane::packet_slot& p, const dataplane::port_config& to,
                  const surroundings& around, transmit_template& alike) noexcept;
    [[nodiscard]] const path* find_path(const endpoint::ip_address& remote,
                                        const endpoint::ip_address& local,
                                        const surroundings& around) noexcept;
    void ask(const path& via, const surroundings& around) noexcept;
    [[nodiscard]] static std::size_t longest_frame(std::size_t headers, const description& d,
                                                   const endpoint::interface& out,
                                                   const dataplane::port_config& to,
                                                   const surroundings& around) noexcept;
    [[nodiscard]] bool fits(const dataplane::packet_slot& p, const description& d,
                            const endpoint::interface& out, const dataplane::port_config& to,
                            const surroundings& around) noexcept;
    void send_segments(dataplane::packet_slot& p, const dataplane::port_config& to, description& d,
                       const path& via, const surroundings& around) noexcept;
    // False: it waits.
    bool send(dataplane::packet_slot& p, const dataplane::port_config& to, description& d,
              const path& via, const surroundings& around) noexcept;
    static void count_sent(std::uint32_t bytes, const dataplane::port_config& to,
                           const surroundings& around) noexcept;
    void wait(dataplane::packet_slot& p, std::uint32_t inner_bytes,
              const dataplane::port_config& to, const path& via,
              const surroundings& around) noexcept;

    [[nodiscard]] std::optional<dataplane::drop_reason>
    look_at(const waiting_packet& w, const surroundings& around) noexcept;

    // Inwards. What was not for the switch has a reason why.
    using refusal = std::optional<dataplane::drop_reason>;
    void receive(dataplane::packet_slot& p, const dataplane::port_config& to,
                 const surroundings& around, receive_template& alike) noexcept;
    [[nodiscard]] refusal handle(dataplane::packet_slot& p, const dataplane::port_config& to,
                                 const surroundings& around, receive_template& alike) noexcept;
    [[nodiscard]] bool receive_alike(dataplane::packet_slot& p, const surroundings& around,
                                     const receive_template& alike) noexcept;
    [[nodiscard]] refusal handle_ip(dataplane::packet_slot& p, const endpoint::arrival& a,
                                    const dataplane::port_config& to, const surroundings& around,
                                    receive_template& alike) noexcept;
    [[nodiscard]] refusal answer_neighbour(const endpoint::neighbour_message& m,
                                           const endpoint::arrival& a,
                                           const dataplane::port_config& to,
                                           const surroundings& around) noexcept;
    [[nodiscard]] static refusal read_tunnel(const dataplane::packet& p, const outer_ip& ip,
                                             const table* tunnels, contents& out) noexcept;
    [[nodiscard]] refusal decapsulate(dataplane::packet_slot& p, const outer_ip& ip,
                                      const surroundings& around, receive_template& alike) noexcept;

    endpoint::neighbours& known_;
    const std::uint64_t tsc_hz_;
    endpoint::error_limit errors_;
    std::uint64_t next_look_{0};
    std::uint64_t seen_{0}; // generation of the neighbours
    std::size_t waiting_bytes_{0};
    std::vector<waiting_packet> waiting_;
    std::vector<waiting_packet> looked_at_; // by look(), while others may come to wait
    std::vector<path> paths_;
    // The tunnel that the last packet was of.
    struct identity {
        endpoint::ip_address source;
        endpoint::ip_address destination;
        std::uint64_t key{0};
        std::uint64_t version{0}; // of the endpoint's configuration: tunnels change with it
        std::uint16_t port{0};
        kind what{kind::vxlan};
        bool has_key{false};
        bool operator==(const identity&) const noexcept = default;
    };
    [[nodiscard]] dataplane::port_index find_tunnel(const contents& c, const outer_ip& ip,
                                                    const surroundings& around) noexcept;
    identity last_;
    dataplane::port_index last_tunnel_{dataplane::no_port};
    path lone_; // of a far end whose next hop is not known
    tunnel::notes notes_;
};

} // namespace strait::tunnel
