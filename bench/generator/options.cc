// SPDX-License-Identifier: BSD-3-Clause
// Reading the load generator's command line, with one sentence for each thing that can be wrong.

#include "bench/generator/options.hh"

#include "bench/guest/front_end.hh"
#include "ports/number.hh"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <system_error>

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>

namespace strait::bench {

namespace {

enum option_id : int {
    opt_end_a = 1,
    opt_end_b,
    opt_end,
    opt_pattern,
    opt_server,
    opt_reconnect,
    opt_packed,
    opt_mergeable,
    opt_in_order,
    opt_queue_size,
    opt_queues,
    opt_frame,
    opt_vlan_a,
    opt_vlan_b,
    opt_vxlan_a,
    opt_vxlan_b,
    opt_ip,
    opt_protocol,
    opt_tso,
    opt_filled_in,
    opt_macs,
    opt_rewrite,
    opt_flows,
    opt_flow_kind,
    opt_order,
    opt_new_flows,
    opt_prime,
    opt_list_flows,
    opt_direction,
    opt_rate,
    opt_warm_up,
    opt_seconds,
    opt_frames,
    opt_steps,
    opt_settle,
    opt_ready_timeout,
    opt_latency,
    opt_interval,
    opt_verify_every,
    opt_sequence,
    opt_per_flow,
    opt_turned,
    opt_cpu,
    opt_no_huge,
    opt_buffer_size,
    opt_help,
};

constexpr unsigned imix_smallest = 64;
constexpr unsigned imix_largest = 1514;

constexpr option long_options[] = {
    {"end-a", required_argument, nullptr, opt_end_a},
    {"end-b", required_argument, nullptr, opt_end_b},
    {"end", required_argument, nullptr, opt_end},
    {"pattern", required_argument, nullptr, opt_pattern},
    {"server", no_argument, nullptr, opt_server},
    {"reconnect", no_argument, nullptr, opt_reconnect},
    {"packed", required_argument, nullptr, opt_packed},
    {"mergeable", required_argument, nullptr, opt_mergeable},
    {"in-order", required_argument, nullptr, opt_in_order},
    {"queue-size", required_argument, nullptr, opt_queue_size},
    {"queues", required_argument, nullptr, opt_queues},
    {"frame", required_argument, nullptr, opt_frame},
    {"vlan-a", required_argument, nullptr, opt_vlan_a},
    {"vlan-b", required_argument, nullptr, opt_vlan_b},
    {"vxlan-a", required_argument, nullptr, opt_vxlan_a},
    {"vxlan-b", required_argument, nullptr, opt_vxlan_b},
    {"ip", required_argument, nullptr, opt_ip},
    {"protocol", required_argument, nullptr, opt_protocol},
    {"tso", required_argument, nullptr, opt_tso},
    {"filled-in", required_argument, nullptr, opt_filled_in},
    {"macs", required_argument, nullptr, opt_macs},
    {"rewrite", required_argument, nullptr, opt_rewrite},
    {"flows", required_argument, nullptr, opt_flows},
    {"flow-kind", required_argument, nullptr, opt_flow_kind},
    {"order", required_argument, nullptr, opt_order},
    {"new-flows", required_argument, nullptr, opt_new_flows},
    {"prime", required_argument, nullptr, opt_prime},
    {"list-flows", no_argument, nullptr, opt_list_flows},
    {"direction", required_argument, nullptr, opt_direction},
    {"rate", required_argument, nullptr, opt_rate},
    {"warm-up", required_argument, nullptr, opt_warm_up},
    {"seconds", required_argument, nullptr, opt_seconds},
    {"frames", required_argument, nullptr, opt_frames},
    {"steps", no_argument, nullptr, opt_steps},
    {"settle", required_argument, nullptr, opt_settle},
    {"ready-timeout", required_argument, nullptr, opt_ready_timeout},
    {"latency", required_argument, nullptr, opt_latency},
    {"interval", required_argument, nullptr, opt_interval},
    {"verify-every", required_argument, nullptr, opt_verify_every},
    {"sequence", no_argument, nullptr, opt_sequence},
    {"per-flow", no_argument, nullptr, opt_per_flow},
    {"turned", no_argument, nullptr, opt_turned},
    {"cpu", required_argument, nullptr, opt_cpu},
    {"no-huge", no_argument, nullptr, opt_no_huge},
    {"buffer-size", required_argument, nullptr, opt_buffer_size},
    {"help", no_argument, nullptr, opt_help},
    {nullptr, 0, nullptr, 0},
};

// Reads all of `text` as a number from `low` to `high` and stores it.
template <typename T, typename Bound>
bool read(std::string_view text, Bound low, Bound high, T& to)
{
    const auto value = to_number<Bound>(text);
    if (!value || !(*value >= low) || !(*value <= high)) {
        return false;
    }
    to = static_cast<T>(*value);
    return true;
}

bool read_end(std::string_view text, end_place& to)
{
    const auto behind = [&](std::string_view head) {
        const bool has = text.starts_with(head);
        text.remove_prefix(has ? head.size() : 0);
        return has;
    };
    to = {};
    if (behind("vhost:")) {
        to.kind = end_kind::vhost;
    } else if (behind("tap:")) {
        to.kind = end_kind::tap;
    } else if (behind("nic:")) {
        to.kind = end_kind::nic;
    } else if (behind("xen:")) {
        const auto colon = text.find(':');
        if (colon == std::string_view::npos ||
            !read(text.substr(0, colon), 1U, 0x7fefU, to.domain)) {
            return false;
        }
        to.kind = end_kind::xen;
        text.remove_prefix(colon + 1);
    }
    to.where = text;
    return to.kind != end_kind::none && !to.where.empty();
}

bool read_frame(std::string_view text, std::uint16_t& to)
{
    if (text == "imix") {
        to = 0;
        return true;
    }
    return read(text, 60U, 65535U, to);
}

// ID, or OUTER.INNER.
bool read_tags(std::string_view text, vlan_tags& to)
{
    constexpr unsigned last = 4094;
    const auto dot = text.find('.');
    to = {};
    return read(text.substr(0, dot), 1U, last, to.outer) &&
           (dot == std::string_view::npos || read(text.substr(dot + 1), 1U, last, to.inner));
}

bool read_address(std::string_view text, std::uint32_t& to)
{
    in_addr address{};
    const bool good = inet_pton(AF_INET, std::string{text}.c_str(), &address) == 1;
    to = ntohl(address.s_addr);
    return good && to != 0;
}

// VNI,OWN,FAR.
bool read_vxlan(std::string_view text, vxlan_place& to)
{
    const auto first = text.find(',');
    const auto second = text.find(',', first + 1);
    return first != std::string_view::npos && second != std::string_view::npos &&
           read(text.substr(0, first), 0U, (1U << 24) - 1, to.network) &&
           read_address(text.substr(first + 1, second - first - 1), to.own) &&
           read_address(text.substr(second + 1), to.far) && to.own != to.far;
}

bool read_word(std::string_view text, std::string_view no, std::string_view yes, bool& to)
{
    to = text == yes;
    return text == no || text == yes;
}

bool read_kind(std::string_view text, flow_kind& to)
{
    to = text == "nw_dst"     ? flow_kind::nw_dst
         : text == "answered" ? flow_kind::answered
                              : flow_kind::five_tuple;
    return text == "nw_dst" || text == "5tuple" || text == "answered";
}

bool read_order(std::string_view text, options& to)
{
    constexpr std::string_view capture = "pcap:";
    to.order = text == "uniform" ? flow_order::uniform
               : text == "zipf"  ? flow_order::zipf
                                 : flow_order::round;
    to.trace = text.starts_with(capture) ? text.substr(capture.size()) : std::string_view{};
    return text == "uniform" || text == "zipf" || text == "round" || !to.trace.empty();
}

bool read_pattern(std::string_view text, pattern& to)
{
    to = text == "one-to-many"   ? pattern::one_to_many
         : text == "many-to-one" ? pattern::many_to_one
         : text == "ring"        ? pattern::ring
                                 : pattern::pair;
    return to != pattern::pair;
}

bool read_direction(std::string_view text, options& to)
{
    to.a_to_b = text == "both" || text == "ab";
    to.b_to_a = text == "both" || text == "ba";
    return to.a_to_b || to.b_to_a;
}

constexpr const char* tag_forms = "a VLAN from 1 to 4094, or two as OUTER.INNER";
constexpr const char* vxlan_forms = "VNI,OWN,FAR: a number below 16777216 and the IPv4 addresses "
                                    "of the end and of the switch";
constexpr const char* end_forms = "vhost:SOCKET, xen:DOMAIN:SOCKET, tap:INTERFACE or nic:DEVICE";

// Takes one option; the answer is what a right value looks like, if this one is not.
std::optional<std::string> take(int id, const char* text, options& to)
{
    const auto wrong = [](bool good, const char* right) -> std::optional<std::string> {
        return good ? std::nullopt : std::optional<std::string>(right);
    };
    switch (id) {
    case opt_end_a:
        return wrong(read_end(text, to.ends[0]), end_forms);
    case opt_end_b:
        return wrong(read_end(text, to.ends[1]), end_forms);
    case opt_end:
        return wrong(read_end(text, to.ends.emplace_back()), end_forms);
    case opt_pattern:
        return wrong(read_pattern(text, to.traffic), "one-to-many, many-to-one or ring");
    case opt_server:
        to.server = true;
        return std::nullopt;
    case opt_reconnect:
        to.reconnect = true;
        return std::nullopt;
    case opt_packed:
        return wrong(read_word(text, "0", "1", to.packed), "0 or 1");
    case opt_mergeable:
        return wrong(read_word(text, "0", "1", to.mergeable), "0 or 1");
    case opt_in_order:
        return wrong(read_word(text, "0", "1", to.in_order), "0 or 1");
    case opt_queue_size:
        return wrong(read(text, 32U, 1024U, to.queue_size) &&
                         (to.queue_size & (to.queue_size - 1)) == 0,
                     "a power of two from 32 to 1024");
    case opt_queues:
        return wrong(read(text, 1U, unsigned{front_end::most_pairs}, to.queues), "1 to 16");
    case opt_frame:
        return wrong(read_frame(text, to.frame), "60 to 9600 (65535 with --tso), or imix");
    case opt_vlan_a:
        return wrong(read_tags(text, to.tags_a), tag_forms);
    case opt_vlan_b:
        return wrong(read_tags(text, to.tags_b), tag_forms);
    case opt_vxlan_a:
        return wrong(read_vxlan(text, to.vxlan_a), vxlan_forms);
    case opt_vxlan_b:
        return wrong(read_vxlan(text, to.vxlan_b), vxlan_forms);
    case opt_ip:
        return wrong(read_word(text, "4", "6", to.ipv6), "4 or 6");
    case opt_protocol:
        return wrong(read_word(text, "udp", "tcp", to.tcp), "udp or tcp");
    case opt_tso:
        return wrong(read(text, 64U, 65000U, to.segment), "64 to 65000 bytes of payload");
    case opt_filled_in:
        return wrong(read_word(text, "0", "1", to.filled_in), "0 or 1");
    case opt_macs:
        return wrong(read(text, 2U, 2097152U, to.macs) && to.macs % 2 == 0,
                     "an even number from 2 to 2097152");
    case opt_rewrite:
        return wrong(read_word(text, "0", "1", to.rewrite), "0 or 1");
    case opt_flows:
        return wrong(read(text, 2U, 2 * most_flows_of_a_side, to.flows) && to.flows % 2 == 0,
                     "an even number from 2 to 16777216");
    case opt_flow_kind:
        return wrong(read_kind(text, to.kind), "nw_dst, 5tuple or answered");
    case opt_order:
        return wrong(read_order(text, to), "uniform, zipf, round or pcap:FILE");
    case opt_new_flows:
        return wrong(read(text, 0.0, 1.0, to.new_flows), "0 to 1, a share of all frames");
    case opt_prime:
        return wrong(read_word(text, "0", "1", to.prime), "0 or 1");
    case opt_list_flows:
        to.list_flows = true;
        return std::nullopt;
    case opt_direction:
        return wrong(read_direction(text, to), "both, ab or ba");
    case opt_rate:
        return wrong(read(text, 0.0, 1000.0, to.rate), "0 to 1000 million frames a second");
    case opt_warm_up:
        return wrong(read(text, 0.0, 3600.0, to.warm_up), "0 to 3600 seconds");
    case opt_seconds:
        return wrong(read(text, 0.01, 86400.0, to.seconds), "0.01 to 86400 seconds");
    case opt_frames:
        return wrong(read(text, 0U, 1000000000U, to.frames), "0 to 1000000000");
    case opt_steps:
        to.steps = true;
        return std::nullopt;
    case opt_settle:
        return wrong(read(text, 0.001, 60.0, to.settle), "0.001 to 60 seconds");
    case opt_ready_timeout:
        return wrong(read(text, 0.1, 3600.0, to.ready_timeout), "0.1 to 3600 seconds");
    case opt_latency:
        return wrong(read(text, 0U, 1000U, to.latency), "0 to 1000");
    case opt_interval:
        return wrong(read(text, 0.0, 3600.0, to.interval), "0 to 3600 seconds");
    case opt_verify_every:
        return wrong(read(text, 0U, 1000000000U, to.verify_every), "0 to 1000000000");
    case opt_sequence:
        to.sequence = true;
        return std::nullopt;
    case opt_per_flow:
        to.per_flow = true;
        return std::nullopt;
    case opt_turned:
        to.turned = true;
        return std::nullopt;
    case opt_cpu:
        return wrong(read(text, 0U, 1023U, to.cpu), "a CPU's number");
    case opt_no_huge:
        to.no_huge = true;
        return std::nullopt;
    case opt_buffer_size:
        return wrong(read(text, 128U, 16384U, to.buffer_size), "128 to 16384 bytes");
    default:
        return "another option: see --help";
    }
}

std::string option_of_end(std::size_t number)
{
    return number < 2 ? std::string{"--end-"} + name_of_end(number)
                      : std::string{"--end "} + name_of_end(number);
}

// What is wrong with which ends there are, one sentence.
std::optional<std::string> fault_of_ends(const options& o)
{
    if (o.ends[0].kind == end_kind::none || o.ends[1].kind == end_kind::none) {
        return "both --end-a and --end-b are needed: two ports of the switch";
    }
    if (o.ends.size() > most_ends) {
        return std::to_string(o.ends.size()) + " ends are more than the " +
               std::to_string(most_ends) + " that there can be";
    }
    for (std::size_t i = 1; i < o.ends.size(); ++i) {
        for (std::size_t before = 0; before < i; ++before) {
            if (o.ends[before] == o.ends[i]) {
                return option_of_end(before) + " and " + option_of_end(i) +
                       " are the same; an end is a port of the switch of its own";
            }
        }
    }
    if (o.ends.size() > 2 && o.traffic == pattern::pair) {
        return "more than two ends need --pattern one-to-many, many-to-one or ring";
    }
    if (o.ends.size() == 2 && o.traffic != pattern::pair) {
        return "--pattern is of three ends or more; each --end adds one to --end-a and --end-b";
    }
    return std::nullopt;
}

// What does not go with more than two ends, one sentence.
std::optional<std::string> fault_of_paths(const options& o)
{
    if (!o.a_to_b || !o.b_to_a) {
        return "--pattern says who sends, which excludes --direction";
    }
    if (o.macs != 2) {
        return "--pattern excludes --macs: each end has one address, and --flows tells flows apart";
    }
    if (o.queues > 1 || o.turned || o.vxlan_a.own != 0 || o.vxlan_b.own != 0) {
        return "--pattern excludes --queues, --turned, --vxlan-a and --vxlan-b";
    }
    if (o.traffic == pattern::ring && o.tags_b != vlan_tags{}) {
        return "--pattern ring excludes --vlan-b: --vlan-a is of all ends";
    }
    if (o.flows % (2 * o.paths()) != 0) {
        return "--flows would be a multiple of " + std::to_string(2 * o.paths()) +
               " with so many ends: as many of each path, and of answers to them";
    }
    return std::nullopt;
}

// Whether a frame is more than one TCP segment.
bool is_cut(const options& o)
{
    const unsigned frame = o.frame == 0 ? imix_largest : o.frame;
    return std::ranges::any_of(std::array{side::a, side::b}, [&](side one) {
        return frame > before_tcp_payload(o.form_of(one)) + unsigned{o.segment};
    });
}

const char* name_of(int id) noexcept
{
    for (const option& one : long_options) {
        if (one.name != nullptr && one.val == id) {
            return one.name;
        }
    }
    return "?";
}

} // namespace

std::optional<std::string> take_step(std::string_view line, options& to)
{
    options changed = to;
    while (!line.empty()) {
        const std::string_view word = line.substr(0, line.find(' '));
        line.remove_prefix(std::min(line.size(), word.size() + 1));
        if (word.empty()) {
            continue;
        }
        const std::string name{word.substr(0, word.find('='))};
        const std::string value{word.substr(std::min(word.size(), name.size() + 1))};
        int id = 0;
        for (const int one : {opt_rate, opt_seconds, opt_warm_up, opt_frames, opt_latency}) {
            id = name == name_of(one) ? one : id;
        }
        if (id == 0) {
            return "a step cannot have \"" + std::string{word} +
                   "\"; right would be rate=, seconds=, warm-up=, frames= and latency=";
        }
        if (const auto right = take(id, value.c_str(), changed)) {
            return "a step's " + name + " cannot be \"" + value + "\"; right would be " + *right;
        }
    }
    to = changed;
    return std::nullopt;
}

std::variant<options, help_wanted, bad_usage> parse_options(int argc, char** argv)
{
    options result;
    opterr = 0;
    optind = 1;
    for (;;) {
        const int id = getopt_long(argc, argv, ":", long_options, nullptr);
        if (id == -1) {
            break;
        }
        if (id == opt_help) {
            return help_wanted{};
        }
        if (id == '?') {
            return bad_usage{std::string("there is no option ") + argv[optind - 1] +
                             "; --help lists them"};
        }
        if (id == ':') {
            return bad_usage{std::string("option ") + argv[optind - 1] + " needs a value"};
        }
        if (const auto right = take(id, optarg, result)) {
            return bad_usage{std::string("option --") + name_of(id) + " cannot be \"" +
                             (optarg != nullptr ? optarg : "") + "\"; right would be " + *right};
        }
    }
    if (optind < argc) {
        return bad_usage{std::string("\"") + argv[optind] +
                         "\" belongs to no option; --help lists them"};
    }
    if (!result.trace.empty() && (result.flows != 0 || result.new_flows != 0)) {
        return bad_usage{"--order pcap:FILE excludes --flows and --new-flows: the capture says "
                         "which flows there are"};
    }
    if ((result.list_flows || result.new_flows != 0) && result.flows == 0 && result.trace.empty()) {
        return bad_usage{"--list-flows and --new-flows need --flows"};
    }
    if ((result.flows != 0 || !result.trace.empty()) && result.macs != 2) {
        return bad_usage{"--flows and --macs exclude each other: flows are of two MAC addresses"};
    }
    if (result.list_flows) {
        return result;
    }
    if (const auto wrong = fault_of_ends(result)) {
        return bad_usage{*wrong};
    }
    if (result.paths() != 0) {
        if (const auto wrong = fault_of_paths(result)) {
            return bad_usage{*wrong};
        }
        if (result.flows == 0 && result.trace.empty()) {
            result.flows = 2 * result.paths();
        }
    }
    if (result.reconnect && result.server) {
        return bad_usage{"--reconnect and --server exclude each other: who listens is who comes "
                         "back"};
    }
    if (result.per_flow) {
        if (result.new_flows != 0 || !result.trace.empty() ||
            result.flows_of_a_side() > most_reported_flows) {
            return bad_usage{"--per-flow is of flows that --flows or --macs names, 2048 at most, "
                             "without --new-flows"};
        }
    }
    if (result.queues > 1 && (result.flows == 0 || result.flows / 2 < result.queues)) {
        return bad_usage{"--queues needs --flows, at least " + std::to_string(2 * result.queues) +
                         " of them: a flow has one queue"};
    }
    if (result.sequence && result.new_flows != 0) {
        return bad_usage{"--sequence and --new-flows exclude each other: frames are numbered in "
                         "flows that are known before"};
    }
    const unsigned smallest = result.frame == 0 ? imix_smallest : result.frame;
    const unsigned form_a = result.form_of(side::a).before_mark();
    const unsigned form_b = result.form_of(side::b).before_mark();
    const unsigned headers = std::max(form_a, form_b);
    if (smallest < smallest_frame + headers) {
        return bad_usage{"frames of " + std::to_string(smallest) + " bytes have no room for " +
                         std::to_string(headers) +
                         " bytes of VLAN tags and what IPv6 and TCP have more than IPv4 and UDP; "
                         "--frame would be " +
                         std::to_string(smallest_frame + headers) + " or more"};
    }
    const unsigned more = headers - std::min(form_a, form_b);
    const bool tunnelled = result.vxlan_a.own != 0 || result.vxlan_b.own != 0;
    const unsigned largest =
        (result.frame == 0 ? imix_largest : result.frame) + more + (tunnelled ? vxlan::header : 0U);
    if (tunnelled && (result.segment != 0 || result.turned || !result.a_to_b || !result.b_to_a)) {
        return bad_usage{"--vxlan-a and --vxlan-b exclude --tso, --turned and --direction: who "
                         "does not send does not answer either when the switch asks for it"};
    }
    if (result.segment != 0) {
        const bool all_guests = std::ranges::all_of(result.ends, [](const end_place& one) {
            return one.kind == end_kind::vhost || one.kind == end_kind::xen;
        });
        if (!result.tcp || !result.mergeable || !all_guests) {
            return bad_usage{"--tso is of --protocol tcp, with mergeable buffers and guests, of "
                             "vhost-user or of Xen, at all ends"};
        }
        if (largest > largest_segmented) {
            return bad_usage{"frames of " + std::to_string(largest) +
                             " bytes are longer than the 65535 that can be segmented"};
        }
        if (result.filled_in && is_cut(result)) {
            return bad_usage{"--filled-in is of frames that are one segment each: a larger --tso, "
                             "or a smaller --frame"};
        }
    } else if (result.filled_in) {
        return bad_usage{"--filled-in needs --tso: without it there is no checksum to fill in"};
    } else if (largest > largest_frame) {
        return bad_usage{
            "frames of " + std::to_string(largest) +
            " bytes, with the VLAN tags that are expected and with VXLAN, are longer than the 9600 "
            "that one without --tso can have"};
    }
    if (!result.mergeable && largest > result.buffer_size) {
        return bad_usage{"frames of " + std::to_string(largest) + " bytes do not fit buffers of " +
                         std::to_string(result.buffer_size) +
                         " without mergeable buffers; use --mergeable 1 or a larger "
                         "--buffer-size"};
    }
    return result;
}

const char* usage() noexcept
{
    return "strait-generator --end-a END --end-b END [--end END ...] [options]\n"
           "\n"
           "Offers frames to a switch through two of its ports, or more, and counts what arrives, "
           "all\n"
           "on one CPU. Prints one JSON object a line: ready, warm, measure_begin, measure_end,\n"
           "result.\n"
           "\n"
           "Ends\n"
           "  vhost:SOCKET           a KVM guest's device, at a vhost-user socket\n"
           "  xen:DOMAIN:SOCKET      the device 0 of a guest of the simulated hypervisor\n"
           "                         (strait-xen-simulator) that listens on SOCKET; the tool "
           "stack\n"
           "                         has made both\n"
           "  tap:INTERFACE          a wire that the kernel has as an interface\n"
           "  nic:DEVICE             a NIC: a PCI address, or DPDK's name of a device with its\n"
           "                         arguments (net_af_packet0,iface=eth1); the switch has one at\n"
           "                         the other end of its wire\n"
           "  --end END              one more of them: the ends c, d and so on, 26 at most\n"
           "  --pattern one-to-many|many-to-one|ring\n"
           "                         who sends with more than two: a to each other end, in "
           "--order;\n"
           "                         each other end to a; each to the next, the last to a. The\n"
           "                         report has figures of each path and end, and how alike the\n"
           "                         paths' rates are (Jain's index, 1: all the same)\n"
           "Rings of vhost-user\n"
           "  --server               listen on the sockets; the switch connects\n"
           "  --reconnect            a switch that hangs up is looked for every millisecond, and "
           "the\n"
           "                         next one gets the rings as they stand\n"
           "  --packed 0|1           packed rings (0)\n"
           "  --mergeable 0|1        mergeable receive buffers (1)\n"
           "  --in-order 0|1         accept VIRTIO_F_IN_ORDER (1)\n"
           "  --queue-size N         entries of a ring (256)\n"
           "  --queues N             queue pairs of each end, of vhost-user and of Xen (1)\n"
           "  --buffer-size BYTES    room of a receive buffer (2048)\n"
           "Traffic\n"
           "  --frame BYTES|imix     size without check sequence (64); imix: 64, 594 and 1514\n"
           "                         as 7:4:1\n"
           "  --vlan-a ID[.INNER], --vlan-b ID[.INNER]\n"
           "                         VLAN tags of what an end sends, in its size, and of what "
           "has\n"
           "                         to arrive there; two are a service tag (88a8) and a "
           "customer's\n"
           "  --vxlan-a VNI,OWN,FAR, --vxlan-b VNI,OWN,FAR\n"
           "                         the end is a host OWN of the underlay, which sends its "
           "frames\n"
           "                         in VXLAN to the switch's address FAR and expects them so; "
           "the\n"
           "                         50 bytes of its header are not in --frame\n"
           "  --ip 4|6               IPv4, or IPv6 with addresses fd53::a.b.c.d (4)\n"
           "  --protocol udp|tcp     (udp); TCP's are segments in the middle of a connection\n"
           "  --tso BYTES            TCP segments that the switch is to cut to so many bytes of\n"
           "                         payload, and their checksum to fill in, where a port cannot\n"
           "                         do it; --frame up to 65535\n"
           "  --filled-in 0|1        with --tso: ends that take no frame whose checksum is left, "
           "so\n"
           "                         that the switch fills it in; frames of one segment (0)\n"
           "  --macs N               MAC addresses on both sides together (2); all are sent\n"
           "                         from once before anything is counted\n"
           "  --rewrite 0|1          write addresses into each frame sent, even with two (0)\n"
           "  --flows N              flows on both sides together, instead of MAC addresses; all "
           "are\n"
           "                         sent once before anything is counted\n"
           "  --flow-kind nw_dst|5tuple|answered\n"
           "                         what tells flows apart: IP's destination, or addresses and\n"
           "                         ports (5tuple); answered: and the two sides answer each "
           "other\n"
           "  --order uniform|zipf|round|pcap:FILE\n"
           "                         all flows alike, in an order by chance; flow i as often as\n"
           "                         1/i; all in turn; or as many flows as a capture has, in the\n"
           "                         order of its packets (uniform)\n"
           "  --new-flows SHARE      so many of all frames are each the first one of its flow (0)\n"
           "  --prime 0|1            send each address or flow before anything is counted (1)\n"
           "  --list-flows           print side, addresses and ports of each flow, and stop\n"
           "  --direction both|ab|ba (both)\n"
           "  --rate MPPS            offered, all directions together (0: all the rings take)\n"
           "  --warm-up S            seconds of traffic before the count starts (1)\n"
           "  --seconds S            seconds counted (3)\n"
           "  --frames N             a burst of N frames of each end that sends, instead of\n"
           "                         seconds; what a ring has no room for is lost\n"
           "  --steps                wait for a line on standard input before the traffic, with\n"
           "                         traffic before the count, and after it; then begin again,\n"
           "                         until the input ends. The first line may have rate=MPPS,\n"
           "                         seconds=S, warm-up=S, frames=N and latency=N from there "
           "on;\n"
           "                         a burst takes that line alone\n"
           "  --settle S             without a frame, until what has not come is lost (0.02)\n"
           "  --latency N            stamp one frame in N, look at one in about N that arrive, "
           "and\n"
           "                         report percentiles one way with their histogram: 1 is all of\n"
           "                         them and costs a third of the rate, 16 hardly any (0: none)\n"
           "  --interval S           report what arrived in each S seconds of the count\n"
           "  --verify-every N       compare one frame in N byte for byte (64; 0: none)\n"
           "  --sequence             number each flow's frames: what was lost, came twice or late\n"
           "  --per-flow             report the figures of each flow, of 2048 at most\n"
           "  --turned               expect frames with their MAC addresses exchanged\n"
           "  --ready-timeout S      wait so long for the first frame to pass (15)\n"
           "Machine\n"
           "  --cpu N                CPU of all ends (0)\n"
           "  --no-huge              guests' memory without huge pages\n";
}

} // namespace strait::bench
