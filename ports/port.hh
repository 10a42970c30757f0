// SPDX-License-Identifier: BSD-3-Clause
// The one interface between the switch and its ports. Workers see queues; control sees ports. A
// port type is one folder that implements these three classes and registers one factory.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/packet.hh"
#include "dataplane/rcu.hh"
#include "dataplane/types.hh"
#include "ports/error.hh"
#include "ports/notification.hh"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <poll.h>

namespace strait::tunnel {
struct settings;
} // namespace strait::tunnel

namespace strait::ports {

class tx_queue;

// What a worker hands to its queues with every call.
struct queue_context {
    std::uint64_t now;                  // TSC at the start of the iteration
    rte_mempool* pool;                  // for own()
    dataplane::port_counters* counters; // the worker's own, of the port of this queue
    notification_list* notifications;
    tx_queue* expected{nullptr}; // for receive(): where all of the last burst went, if to one queue
    std::uint64_t packet_cost{0};  // for receive(): TSC cycles of a packet in a long burst, lately
    dataplane::origin_ring from{}; // for transmit(): of all the packets, as receive() said
};

// Towards the switch. One worker calls at a time: another one after engine::publish_moved().
class rx_queue {
public:
    virtual ~rx_queue() = default;

    enum class poll : std::uint8_t {
        empty, // nothing was there, or it was not time to look: that time is the worker's to use
        taken  // `b` has packets
    };
    // Adds packets to an empty burst, fills every field of them but `vlan`, `priority`, `tagged`,
    // `tags`, `note` and `in_port`, counts rx_packets, rx_bytes and what it drops. Bounded work
    // whatever the other side does.
    virtual poll receive(dataplane::burst& b, const queue_context& context) noexcept = 0;
    // Returns every borrowed packet of the last receive() to its sender, or those of the one before
    // and these at the next one that looks, and frees what mbufs are still owned by packets of `b`.
    // Called once after each receive() that said `taken`.
    virtual void release(dataplane::burst& b, const queue_context& context) noexcept = 0;

    // Whether what comes stays with its sender until it is taken, as in a guest's ring: then a look
    // may be 100 microseconds late. A device that nobody looks at loses what it has no room for.
    [[nodiscard]] virtual bool sender_waits() const noexcept { return false; }

    // Whether the calls below can be used.
    [[nodiscard]] virtual bool can_wake() const noexcept { return false; }
    // Of one that cannot wake its worker: whether it has room for all that can come in 50
    // microseconds. If not, its worker never sleeps; else it does for less than that at a time.
    [[nodiscard]] virtual bool may_wait() const noexcept { return false; }
    // Before its worker sleeps, both in the same iteration. Adds the descriptors that will be
    // readable when something comes; false: something is there. May allocate.
    virtual bool list_wakers(std::vector<pollfd>& /*all*/) noexcept { return false; }
    // What it added, with `revents` as they are now: makes readable ones unreadable, and asks the
    // sender to tell of what comes next. False: something came meanwhile.
    virtual bool ask_to_wake(std::span<const pollfd> /*own*/) noexcept { return false; }
};

// Out of the switch. One worker calls at a time, likewise.
class tx_queue {
public:
    virtual ~tx_queue() = default;

    // At most burst::capacity packets; sends each or counts why not, never waits. When it returns,
    // a packet's bytes were copied or belong to an mbuf taken through own(). At most one
    // notification. Counts tx_packets, tx_bytes, drops.
    virtual void transmit(std::span<dataplane::packet* const> packets,
                          const queue_context& context) noexcept = 0;

    // The same for who keeps what there is no room for now (a shaper): `packets` are owned and go
    // nowhere else. Returns how many there was no room for; they are the first of `packets` then,
    // in their order, owned as before, and not counted.
    [[nodiscard]] virtual std::size_t transmit_some(std::span<dataplane::packet*> packets,
                                                    const queue_context& context) noexcept
    {
        transmit(packets, context);
        return 0;
    }

    // What the far side takes unfinished: what else a packet's intent asks for was done before it
    // is given to transmit(). May change from call to call. Not asked for packets without intent.
    [[nodiscard]] virtual dataplane::offloads takes() const noexcept { return {}; }
    // Whether transmit() can copy remote payload itself. It is then given packets with it that go
    // nowhere else; else all payload is local.
    [[nodiscard]] virtual bool takes_remote() const noexcept { return false; }

    // Whether what it is given can leave now. While it cannot, its worker gives the port's packets
    // to that of the port's first queue; so nobody asks the first one, or a port's only one. May
    // change from call to call.
    [[nodiscard]] virtual bool open() const noexcept { return true; }

    // Hints: `n` packets, at most burst::capacity, are likely to be transmitted in this iteration.
    // A receiver's lines are far away while its CPU is. The ring's are asked for while the sender's
    // are on their way, so that both are waited for once; its buffers' when the heads are there.
    // `from` will be transmit()'s.
    virtual void prefetch_ring(std::size_t /*n*/, dataplane::origin_ring /*from*/) noexcept {}
    virtual void prefetch_buffers(std::size_t /*n*/, dataplane::origin_ring /*from*/) noexcept {}
};

// The two directions of a queue pair belong to one worker. Either may be null.
struct queue_pair {
    rx_queue* rx{nullptr};
    tx_queue* tx{nullptr};
};

// A word, number, truth or list that a port tells of itself, for `port show`.
using port_detail = std::variant<bool, std::int64_t, std::string, std::vector<std::string>>;

// A port, from its creation by a factory to its destruction. All calls come from the control
// thread. Queues exist from creation to destruction, whether or not a guest is attached: they say
// `empty`, and count receiver_not_connected, while there is none.
class port {
public:
    virtual ~port() = default;

    // Stable for the port's life.
    [[nodiscard]] virtual std::span<const queue_pair> queues() const noexcept = 0;

    // Called after the port was published to the workers: begins to serve guests. An error leaves
    // the port unusable; it is then destroyed.
    virtual result<void> start() = 0;
    // Called before the port is unpublished: stops serving guests. Nothing attaches after it
    // returned. Idempotent; the destructor does it too.
    virtual void stop() noexcept = 0;

    // The port is gone for good, not for a restart: what it kept outside this process goes, too.
    // After stop().
    virtual void forget() noexcept {}

    // Ten times a second: what a port does by itself.
    virtual void tend() {}

    // Another name from here on, in what the port says. Guests notice nothing. What it keeps by its
    // name outside this process is there under both names then, so that it is found whichever of
    // them a switch after this one knows; settle_name() ends that. After an error it has the name
    // that it had.
    virtual result<void> rename(const std::string& /*name*/) { return {}; }
    virtual void settle_name() noexcept {}

    // L3 MTU in bytes. Checks that the port can do it and prepares it; the data plane enforces it.
    virtual result<void> set_mtu(std::uint32_t mtu) = 0;

    // The operator lets it pass traffic or not; the data plane sees to that. For a port that can
    // tell its guest so.
    virtual void set_admin(bool /*up*/) noexcept {}

    // Carrier: a guest or peer is there and its driver is up.
    [[nodiscard]] virtual bool link_up() const noexcept = 0;
    // Of a port that serves guests, by a VMM's connection or a driver's: how many came since
    // start(), whether the last of them is there, and whether its rings went on where another
    // process had left them.
    struct guests {
        std::uint64_t came{0};
        bool there{false};
        bool taken_over{false};
        bool operator==(const guests&) const noexcept = default;
    };
    [[nodiscard]] virtual guests attached() const noexcept { return {}; }
    // Why it can only be destroyed, and made anew when what it serves is there again: a NIC was
    // unplugged. Empty: it is not so.
    [[nodiscard]] virtual std::string why_lost() const { return {}; }
    // Of a tunnel's port, which has no queues.
    [[nodiscard]] virtual std::shared_ptr<const tunnel::settings> tunnel() const { return {}; }
    // Its own on its link; zero: it has none.
    [[nodiscard]] virtual dataplane::mac_address mac() const noexcept { return {}; }
    // Of the link, in Mbit/s; 0: it is down, or nobody knows.
    [[nodiscard]] virtual std::uint64_t link_speed() const noexcept { return 0; }
    // Type-specific facts, in the order to be shown.
    [[nodiscard]] virtual std::vector<std::pair<std::string, port_detail>> details() const = 0;
};

} // namespace strait::ports
