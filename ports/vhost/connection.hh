// SPDX-License-Identifier: BSD-3-Clause
// One front end's connection to a port: what it said so far, and when its rings may be worked.
// Rings are published only when everything a worker will touch was checked, and taken back before
// any message that changes it. Ports own connections; the library's calls come through library.hh.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "dataplane/rcu.hh"
#include "ports/vhost/dirty_log.hh"
#include "ports/vhost/library.hh"
#include "ports/vhost/memory.hh"
#include "ports/vhost/message.hh"
#include "ports/vhost/position_file.hh"
#include "ports/vhost/queue.hh"
#include "ports/vhost/ring.hh"

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace strait::vhost {

using dataplane::file_descriptor;

// Even rings are the guest's receive rings (sinks of the switch), odd ones its transmit rings
// (sources).
inline constexpr unsigned max_rings = 2 * max_pairs;
static_assert(max_rings == position_file::ring_count);
[[nodiscard]] constexpr bool is_sink(unsigned ring) noexcept
{
    return ring % 2 == 0;
}

// The call descriptors that a port's workers write to, and the library's thread for a message. A
// front end shares them and can make them block again: then one at its limit stops who writes. Any
// thread.
class call_guard {
public:
    // Takes over `fd`, or closes the one before.
    void set(unsigned ring, file_descriptor fd) noexcept;
    enum class state : std::uint8_t {
        right,
        full,    // one holds no more, and may be made to block behind us
        tampered // one was made to block
    };
    // Sends on who waits for one of them. Takes no lock that anybody holds while waiting for a
    // worker.
    [[nodiscard]] state look() noexcept;

private:
    std::mutex mutex_;
    std::array<file_descriptor, max_rings> calls_;
    std::array<bool, max_rings> was_full_{}; // at the last look
};

// What the connections of one port share.
struct port_parts {
    std::string name;
    call_guard calls;
    unsigned pairs{1};                          // of rings, that a guest may have
    std::uint64_t offered{0};                   // features
    std::vector<std::unique_ptr<queue>> queues; // each has every n-th of them
    dataplane::rcu_domain* rcu{nullptr};
    position_file positions;
    std::string last_loss;  // why a guest last lost the port; empty: none did
    std::uint64_t kicks{0}; // of rings that were taken back
    std::uint32_t mtu{1500};

    [[nodiscard]] unsigned rings() const noexcept { return 2 * pairs; }
    [[nodiscard]] queue& queue_of(unsigned ring) const noexcept
    {
        return *queues[ring / 2 % queues.size()];
    }
    [[nodiscard]] std::size_t place_of(unsigned ring) const noexcept // in that one
    {
        return ring / 2 / queues.size();
    }
    // Keeps `reason` for `port show` and logs it. What is logged of a port is a few lines a second.
    void lost(const std::string& reason) noexcept;
    void note(const std::string& what) noexcept; // logs what is no loss

private:
    [[nodiscard]] bool may_log() noexcept;

    std::uint64_t logged_at_{0}; // seconds
    unsigned logged_{0};
};

// Calls are the port's to serialise; all but the constructor, look() and take_back() come from the
// library's threads.
class connection {
public:
    // socket: a duplicate of the connection's, to be shut down when the guest must go; may be -1.
    connection(int vid, port_parts& port, file_descriptor socket);
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;
    ~connection();

    [[nodiscard]] verdict before(message m);
    void after(message m);
    void device_ready();
    void device_stopped();
    void ring_state(unsigned ring, bool ready);
    void memory_lost();

    // Takes the guest's port away when its memory went or its rings are broken.
    void look();
    // Takes every ring back from the workers and returns after a grace period; idempotent.
    void take_back();
    // Shuts the connection down and never publishes again: for what its guest did, or because
    // another front end takes its place.
    void expel(const std::string& reason);
    void retire();
    // The front end learns at once that the connection is over, though the library's thread may
    // keep the socket open in its poll for up to a second after it was closed.
    void hang_up() noexcept;
    // The other end is gone, whether or not the library has noticed.
    [[nodiscard]] bool hung_up() const noexcept;

    [[nodiscard]] int vid() const noexcept { return vid_; }
    [[nodiscard]] bool running() const noexcept; // rings are published
    [[nodiscard]] bool expelled() const noexcept { return expelled_; }
    [[nodiscard]] std::uint64_t features() const noexcept { return features_; }
    [[nodiscard]] const guest_memory* memory() const noexcept { return memory_.get(); }
    [[nodiscard]] std::optional<std::uint16_t> guest_mtu() const noexcept { return guest_mtu_; }
    [[nodiscard]] int peer() const noexcept; // the front end's process, 0 when unknown
    // Why a ring that the driver has ready is not published; empty when none is held back.
    [[nodiscard]] const std::string& obstacle() const noexcept { return obstacle_; }
    [[nodiscard]] std::uint64_t kicks() const noexcept;
    struct ring_facts {
        std::uint16_t size{0}; // 0: not published
        bool packed{false};
        std::uint16_t position{0}; // where the next used buffer goes, as the guest sees it
        bool wrap{false};
    };
    [[nodiscard]] ring_facts facts(unsigned ring) const noexcept; // one of the port's

private:
    struct published_ring {
        const vhost::ring* ring{nullptr};           // the queue owns it
        file_descriptor kick;                       // open while the ring is worked
        dataplane::guest_array<std::uint16_t> used; // split
        std::uint16_t size{0};
        bool packed{false};
    };

    [[nodiscard]] verdict refuse(message& m, const std::string& why);
    [[nodiscard]] std::optional<std::string> check_memory(const message& m) const;
    [[nodiscard]] verdict take_log(message& m);
    [[nodiscard]] verdict take_log_event(message& m);
    [[nodiscard]] verdict announce(message& m);
    enum class tell : bool { nobody, driver };
    using ring_set = std::bitset<max_rings>;
    void take_back(const ring_set& which, tell whom);
    void settle(unsigned ring, vhost::ring& old, tell whom);
    [[nodiscard]] std::string name_of(unsigned ring) const;
    void give_back(unsigned ring);
    [[nodiscard]] static bool is_eventfd(int fd) noexcept;
    void read_memory();
    void read_features();
    void publish();
    [[nodiscard]] bool may_publish() const noexcept;
    // Nothing, or why not.
    [[nodiscard]] std::optional<std::string> publish(unsigned ring);
    [[nodiscard]] std::optional<std::string> describe_split(unsigned ring, ring_setup& setup) const;
    [[nodiscard]] std::optional<std::string> describe_packed(unsigned ring, ring_setup& setup);
    [[nodiscard]] std::optional<std::string> describe_log(unsigned ring, ring_setup& setup) const;

    int vid_;
    port_parts& port_;
    file_descriptor socket_;

    std::uint64_t features_{0};
    std::uint64_t beside_library_{0};      // those agreed on last that the library is not told of
    std::unique_ptr<guest_memory> memory_; // null while the library's is not to be had
    std::unique_ptr<dirty_log> log_;       // null while none was given; rings have it
    bool device_ready_{false};
    bool status_used_{false};
    bool driver_ok_{false};
    bool message_open_{false}; // a message that changes things has not been taken without an error
    bool expelled_{false};
    struct known_ring {
        bool ready{false};
        // Where writes to its device area are to be marked, if not where it lies.
        std::optional<std::uint64_t> log_address;
        // Where it stood when it was taken back, until the front end says otherwise.
        std::optional<ring_index> stood;
        published_ring published;
    };
    std::vector<known_ring> rings_; // as many as the port's
    std::optional<std::uint16_t> guest_mtu_;
    std::string obstacle_;
};

} // namespace strait::vhost
