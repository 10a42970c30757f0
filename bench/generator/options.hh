// SPDX-License-Identifier: BSD-3-Clause
// The load generator's command line. What the options mean to the rings and to the frames is in
// endpoint.hh and frames.hh.

#pragma once

#include "bench/generator/flow_order.hh"
#include "bench/generator/frames.hh"
#include "bench/generator/vxlan.hh"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace strait::bench {

// What an end of the traffic is, as the switch sees it.
enum class end_kind : std::uint8_t {
    none,
    vhost, // a KVM guest's device, at a vhost-user socket
    xen,   // the device of a guest of the simulated hypervisor
    tap,   // a wire: what the kernel has as an interface
    nic,   // a wire: a device of DPDK's
};

struct end_place {
    end_kind kind = end_kind::none;
    std::string where;        // the socket, the hypervisor's socket, the interface, the device
    std::uint16_t domain = 0; // of a Xen guest

    bool operator==(const end_place&) const = default;
};

// Who sends to whom. Of `pair` there are two ends, of the others more, in paths: from the first end
// to each other one, from each other one to the first, or from each to the next and from the last
// to the first.
enum class pattern : std::uint8_t { pair, one_to_many, many_to_one, ring };

// An end's name in reports: a, b, c, ...
constexpr char name_of_end(std::size_t number) noexcept
{
    return static_cast<char>('a' + number);
}
inline constexpr std::size_t most_ends = 26;

inline constexpr std::uint32_t most_flows_of_a_side = 8'388'608;
// With figures of each: a histogram has 20 KiB, and with latency there is one of each flow of
// either side.
inline constexpr std::uint32_t most_reported_flows = 1024;

struct options {
    std::vector<end_place> ends = std::vector<end_place>(2);
    pattern traffic = pattern::pair;
    // The generator listens on vhost-user sockets and the switch connects.
    bool server = false;
    // vhost-user ends whose switch hangs up hand their rings to the next one that listens there.
    bool reconnect = false;

    bool packed = false;
    bool mergeable = true;
    bool in_order = true;
    std::uint16_t queue_size = 256;
    // Pairs of queues of each end: a flow has its own, as a guest's kernel sees to it. A wire has
    // one whatever is said here.
    std::uint16_t queues = 1;

    // Bytes of a frame without its check sequence, 60 to 9,600; 0 stands for the IMIX.
    std::uint16_t frame = 64;
    // VLAN tags of what an end sends, which `frame` includes, and of what arrives there: the ends'
    // differ where the switch takes tags off or adds them.
    vlan_tags tags_a;
    vlan_tags tags_b;
    // What `frame` does not include: the header of VXLAN that an end speaks.
    vxlan_place vxlan_a;
    vxlan_place vxlan_b;
    // The rest of their headers, the same at both ends.
    bool ipv6 = false;
    bool tcp = false;
    // Not 0: frames are to be segmented into so many bytes of payload each where they cannot go
    // whole, and their checksums to be filled in; both ends take such frames, too.
    std::uint16_t segment = 0;
    // They do not: the switch fills in the checksums of frames that are one segment each.
    bool filled_in = false;
    // MAC addresses in play on both sides together: even, 2 to 2,097,152.
    std::uint32_t macs = 2;
    // Addresses are written into each frame as it is sent, even where they are always the same: as
    // a guest does, and as generators do that have several flows.
    bool rewrite = false;
    // Flows that IP addresses, or these and ports, tell apart, on both sides together: even. 0:
    // there are but those of MAC addresses.
    std::uint32_t flows = 0;
    flow_kind kind = flow_kind::five_tuple;
    flow_order order = flow_order::uniform;
    // Not empty: a capture whose flows, in its order, are the flows of both sides.
    std::string trace;
    // This share of all frames is of flows that were never sent before.
    double new_flows = 0;
    // Each flow, or each MAC address, is sent before anything is counted.
    bool prime = true;
    // Flows are listed, and nothing is sent.
    bool list_flows = false;
    // Of two ends.
    bool a_to_b = true;
    bool b_to_a = true;

    // Million frames a second offered, all directions together; 0 is as many as the rings take.
    double rate = 0;
    double warm_up = 1;
    double seconds = 3;
    // Not 0: a burst of so many frames in each direction instead of seconds of traffic. What a ring
    // has no room for is not sent again.
    std::uint32_t frames = 0;
    // A line on standard input begins each step: traffic, the count, the end of both; then again,
    // until the input ends. In between nothing is sent. So the switch can be asked for its own
    // figures under load, and switches can take turns. The first line of each may change rate,
    // seconds, warm_up, frames and latency; see take_step(). A burst is one step.
    bool steps = false;
    // Seconds without a frame after which what has not arrived will not.
    double settle = 0.02;
    // How long to wait for the first frame to come through the switch.
    double ready_timeout = 15;
    // One frame in so many is stamped with the time it was made, and one in about as many that
    // arrive is looked at: what that finds makes a histogram. 0: none.
    std::uint32_t latency = 0;
    // Seconds; the report has what arrived in each such part of the count. 0: it has not.
    double interval = 0;
    // One frame in this many is compared byte for byte; 0 turns it off.
    std::uint32_t verify_every = 64;
    // Every frame carries its number in its flow; arrivals are told apart by it.
    bool sequence = false;
    // The report has the figures of each flow.
    bool per_flow = false;
    // The switch exchanges the MAC addresses of a frame.
    bool turned = false;

    unsigned cpu = 0;
    bool no_huge = false;
    // Bytes of data a receive buffer holds.
    std::uint16_t buffer_size = 2048;

    [[nodiscard]] frame_form form_of(side one) const noexcept
    {
        return {.tags = one == side::a ? tags_a : tags_b,
                .ipv6 = ipv6,
                .tcp = tcp,
                .partial = segment != 0,
                .paths = static_cast<std::uint16_t>(paths()),
                .ring = traffic == pattern::ring};
    }
    // Of more than two ends; see frame_form::paths.
    [[nodiscard]] std::uint32_t paths() const noexcept
    {
        return traffic == pattern::pair
                   ? 0
                   : static_cast<std::uint32_t>(ends.size() - (traffic == pattern::ring ? 0 : 1));
    }
    // What an end sends is of this side, and what arrives there of that.
    [[nodiscard]] side side_of(std::size_t end) const noexcept
    {
        return end == 0 || traffic == pattern::ring ? side::a : side::b;
    }
    [[nodiscard]] side far_side_of(std::size_t end) const noexcept
    {
        return traffic == pattern::ring ? side::a : other(side_of(end));
    }
    // Flows are told apart in so many groups: flow i is of group i % groups().
    [[nodiscard]] std::uint32_t groups() const noexcept
    {
        return per_flow ? flows_of_a_side() : std::max(paths(), 1U);
    }
    // What tells flows apart, and how many of them a side has.
    [[nodiscard]] flow_kind sent_kind() const noexcept
    {
        return flows == 0 ? flow_kind::macs : kind;
    }
    [[nodiscard]] std::uint32_t flows_of_a_side() const noexcept
    {
        return (flows == 0 ? macs : flows) / 2;
    }
};

struct help_wanted {};
struct bad_usage {
    std::string message;
};

// Reads the command line; it never exits.
std::variant<options, help_wanted, bad_usage> parse_options(int argc, char** argv);

// Takes the line that begins a step, "rate=1.5 seconds=0.2": of --rate, --seconds, --warm-up,
// --frames and --latency those that it names are as it says from now on. The answer is a
// sentence if it is wrong; nothing has changed then.
std::optional<std::string> take_step(std::string_view line, options& to);

// The text of --help.
const char* usage() noexcept;

} // namespace strait::bench
