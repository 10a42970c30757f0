// SPDX-License-Identifier: BSD-3-Clause
// Spanning tree among bridges that are lied to. Two bridges are joined by two links, one of them is
// cabled to itself, and a third, if it is there, closes a ring; a hostile port is at a medium that
// all share, and at a link of its own to each. An input says in its first byte what they are (bit
// 0: there is the third; bits 1 to 3: which speak STP alone), then come steps, each a byte: what is
// done (bits 0 to 3), and to which (bits 4 to 7), with what that takes, in little-endian order:
//
//   0 frame     16 bits of length and a frame, whole, from the hostile port of that place
//   1 BPDU      8 bits of length and what is behind LLC, likewise
//   2 repeat    8 bits: the port whose last BPDU the hostile port sends on
//   3 seconds   so many and one
//   4 link      goes down, or comes up
//   5 one way   what the last of the link's ports sends is lost, or no more
//   6 bridge    8 bits each: priority and hold count; hello; max age; forward delay and version
//   7 port      8 bits: priority and kind of link; 8 bits: edge; 32 bits: path cost
//   8 speed     8 bits: of the port's link, with its duplex
//   9 address   8 bits: of the bridge
//  10 check     of the port's peer, whether it speaks RSTP
//  11 anew      the port goes and comes back
//
// Frames lie in memory of exact size on the heap, so that AddressSanitizer sees what leaves them.
// What is checked: what was read is, once written, read as the same; after each BPDU roles, states
// and what ports say belong together; no port sends more than its hold count allows; all machines
// come to rest; and when the hostile port has gone, whatever it said, bridges come to a tree that
// reaches all that there is a link to.
#include "control/stp/bridge.hh"
#include "tests/fuzz/check.hh"
#include "tests/unit/control/stp/network.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace {

using namespace strait;
using fuzz::check;
using stp::testing_support::network;
using end = network::end;

constexpr std::size_t most_steps = 200;
constexpr unsigned most_seconds = 400;
// As an input that is tried for minutes comes to; a bridge here has 7 ports.
constexpr std::size_t most_rounds = 50; // 11 were seen

class input {
public:
    explicit input(std::span<const std::uint8_t> bytes) : left_{bytes} {}
    [[nodiscard]] bool is_empty() const { return left_.empty(); }
    // Zeroes behind the end.
    std::uint32_t number(std::size_t bytes)
    {
        std::uint32_t out = 0;
        for (std::size_t i = 0; i < bytes && !left_.empty(); ++i) {
            out |= std::uint32_t{left_.front()} << (8 * i);
            left_ = left_.subspan(1);
        }
        return out;
    }
    // As many as there are.
    std::span<const std::byte> bytes(std::size_t length)
    {
        const auto out = left_.first(std::min(length, left_.size()));
        left_ = left_.subspan(out.size());
        return std::as_bytes(out);
    }

private:
    std::span<const std::uint8_t> left_;
};

// Within bounds, wherever the number is.
template <typename Number>
Number between(std::uint32_t n, Number least, Number most)
{
    return static_cast<Number>(least + n % (most - least + 1U));
}

class attacked_network {
public:
    explicit attacked_network(std::uint32_t how)
    {
        const std::size_t bridges = (how & 1U) != 0 ? 3 : 2;
        std::vector<std::size_t> all;
        for (std::size_t i = 0; i < bridges; ++i) {
            all.push_back(n_.add_bridge({.rapid = (how >> (1 + i) & 1U) == 0}));
        }
        changes_.resize(bridges);
        n_.sending = [this](const end& e, const stp::bpdu& b) { count(e, b); };
        n_.watch = [this] { look(); };
        std::vector<std::vector<std::size_t>> links{{0, 1}, {0, 1}, {1, 1}};
        if (bridges == 3) {
            links.push_back({1, 2});
            links.push_back({2, 0});
        }
        const std::size_t quiet = links.size();
        links.push_back(all);
        for (const std::size_t b : all) {
            links.push_back({b});
        }
        for (std::size_t l = 0; l < links.size(); ++l) {
            n_.connect(links[l]);
            for (const end& e : n_.links[l].ends) {
                ends_.push_back({e, l});
            }
            if (l >= quiet) {
                places_.push_back(l);
            }
        }
    }

    void step(input& in)
    {
        const std::uint32_t what = in.number(1);
        const std::size_t which = what >> 4;
        const std::size_t place = places_[which % places_.size()];
        const std::size_t link = which % n_.links.size();
        const port_place& at = ends_[which % ends_.size()];
        const std::size_t b = which % n_.bridges.size();
        switch (what & 0xfU) {
        case 0:
            hear(place, in.bytes(in.number(2)));
            break;
        case 1:
            hear_bpdu(place, in.bytes(in.number(1)));
            break;
        case 2: {
            const auto& last = ports_[ends_[in.number(1) % ends_.size()].at].last;
            if (last) {
                hear(place, stp::write(*last, dataplane::mac_address{}));
            }
            break;
        }
        case 3:
            for (std::size_t i = 0; i <= which && seconds_ < most_seconds; ++i, ++seconds_) {
                pass_second();
            }
            break;
        case 4:
            set_link(link, !n_.links[link].up);
            break;
        case 5:
            n_.links[link].one_way = !n_.links[link].one_way;
            break;
        case 6:
            set_bridge(b, in);
            break;
        case 7:
            set_port(at, in);
            break;
        case 8: {
            constexpr std::array<std::uint64_t, 4> speeds{0, 10, 1000, 100'000};
            const std::uint32_t how = in.number(1);
            bridge_of(at).set_link(at.at.port, n_.links[at.link].up, speeds[how & 3U],
                                   !is_shared(at) && (how & 4U) != 0);
            break;
        }
        case 9: // none that another bridge may have
            n_.bridges[b]->set_address(
                stp::testing_support::address(1 + b + n_.bridges.size() * (in.number(1) & 3U)));
            break;
        case 10:
            bridge_of(at).check_migration(at.at.port);
            break;
        case 11:
            bridge_of(at).remove_port(at.at.port);
            check(!bridge_of(at).has_port(at.at.port));
            check(bridge_of(at).state_of(at.at.port) == stp::state::discarding);
            ports_.erase(at.at);
            bridge_of(at).add_port(at.at.port, {});
            bridge_of(at).set_link(at.at.port, n_.links[at.link].up, 1000, !is_shared(at));
            break;
        default:
            break;
        }
        n_.deliver();
    }

    void come_to_a_tree()
    {
        for (auto& l : n_.links) {
            l.one_way = false;
        }
        for (const std::size_t l : places_) {
            set_link(l, false);
        }
        set_link(places_.front(), true); // what others than the hostile port share
        // What it said goes round until it is too old (256 s, by as many BPDUs), and two delays of
        // as long may follow.
        constexpr unsigned longest = 3000;
        constexpr unsigned longest_loop = 400; // what goes round may be forwarded where it is new
        constexpr unsigned calm = 20;
        for (unsigned second = 0, since = 0; since < calm; ++second) {
            check(second < longest);
            pass_second();
            check(second < longest_loop || !n_.has_loop());
            since = is_tree() ? since + 1 : 0;
        }
    }

private:
    struct port_place {
        end at;
        std::size_t link;
    };
    struct port_record {
        unsigned sent_lately{0};
        std::uint64_t sent{0};
        std::optional<stp::bpdu> last{};
    };

    stp::bridge& bridge_of(const port_place& p) { return *n_.bridges[p.at.bridge]; }
    bool is_shared(const port_place& p) { return n_.links[p.link].ends.size() > 2; }

    void hear_bpdu(std::size_t link, std::span<const std::byte> body)
    {
        const std::size_t length = 3 + body.size();
        const auto high = static_cast<std::uint8_t>(length >> 8);
        const auto low = static_cast<std::uint8_t>(length & 0xffU);
        const std::array<std::uint8_t, 17> header{0x01, 0x80, 0xc2, 0,    0,   0,    2,    0,   0,
                                                  0,    0,    9,    high, low, 0x42, 0x42, 0x03};
        const auto before = std::as_bytes(std::span{header});
        std::vector<std::byte> frame{before.begin(), before.end()};
        frame.insert(frame.end(), body.begin(), body.end());
        hear(link, frame);
    }

    void hear(std::size_t link, std::span<const std::byte> bytes)
    {
        const std::unique_ptr<std::byte[]> exact{new std::byte[bytes.size()]};
        std::ranges::copy(bytes, exact.get());
        const auto b = stp::read({exact.get(), bytes.size()});
        if (b) {
            const auto again = stp::read(stp::write(*b, dataplane::mac_address{}));
            // Times are rounded: of what is too old by then a bridge makes nothing, either.
            check(again ? *again == *b : b->timers.message_age >= b->timers.max_age);
        }
        for (const end& e : n_.links[link].ends) {
            stp::bridge& to = *n_.bridges[e.bridge];
            const stp::port_view before = to.view(e.port);
            if (b) {
                to.receive(e.port, *b);
            } else {
                to.count_refused(e.port);
            }
            const stp::port_view after = to.view(e.port);
            check(after.received == before.received + (b ? 1U : 0U));
            check(after.refused == before.refused + (b ? 0U : 1U) ||
                  (b && after.refused == before.refused + 1 &&
                   b->timers.message_age >= b->timers.max_age));
        }
    }

    void set_bridge(std::size_t which, input& in)
    {
        stp::bridge& b = *n_.bridges[which];
        using settings = stp::bridge_settings;
        settings s = b.settings();
        const std::uint32_t first = in.number(1);
        s.priority = static_cast<std::uint16_t>((first & 0xfU) * settings::priority_step);
        s.hold_count = between(first >> 4, settings::least_hold_count, settings::most_hold_count);
        s.hello = between(in.number(1), settings::least_hello, settings::most_hello);
        s.max_age = between(in.number(1), settings::least_max_age, settings::most_max_age);
        const std::uint32_t last = in.number(1);
        s.forward_delay =
            between(last >> 1, settings::least_forward_delay, settings::most_forward_delay);
        s.rapid = (last & 1U) == 0;
        if (!s.times_fit()) {
            return; // who sets them refuses it
        }
        if (s != b.settings()) { // 17.13: counts begin anew
            for (auto& [e, p] : ports_) {
                p.sent_lately = e.bridge == which ? 0 : p.sent_lately;
            }
        }
        b.set(s);
    }

    void set_port(const port_place& p, input& in)
    {
        constexpr std::array<stp::point_to_point, 4> kinds{
            stp::point_to_point::found, stp::point_to_point::no, stp::point_to_point::yes,
            stp::point_to_point::found};
        const std::uint32_t first = in.number(1);
        const std::uint32_t edge = in.number(1);
        stp::port_settings s{
            .priority =
                static_cast<std::uint8_t>((first & 0xfU) * stp::port_settings::priority_step),
            .path_cost = between(in.number(4), std::uint32_t{0}, stp::port_settings::most_cost),
            .admin_edge = (edge & 1U) != 0,
            .auto_edge = (edge & 2U) != 0,
            .link = kinds[first >> 4 & 3U]};
        if (is_shared(p) && s.link == stp::point_to_point::yes) {
            s.link = stp::point_to_point::found; // one agreement would stand for several bridges
        }
        bridge_of(p).set_port(p.at.port, s);
    }

    void set_link(std::size_t l, bool up)
    {
        for (const end& e : n_.links[l].ends) {
            ports_[e].sent_lately = up ? ports_[e].sent_lately : 0;
        }
        n_.set_link(l, up);
    }

    void pass_second()
    {
        for (auto& [e, p] : ports_) {
            p.sent_lately -= p.sent_lately > 0 ? 1U : 0U;
        }
        n_.pass(1);
    }

    void count(const end& e, const stp::bpdu& b)
    {
        port_record& p = ports_[e];
        ++p.sent;
        p.last = b;
        check(++p.sent_lately <= n_.bridges[e.bridge]->settings().hold_count);
    }

    void look()
    {
        for (std::size_t i = 0; i < n_.bridges.size(); ++i) {
            stp::bridge& b = *n_.bridges[i];
            const stp::bridge_view v = b.view();
            check(b.most_rounds() <= most_rounds);
            check(v.id.priority() == b.settings().priority);
            check(v.root <= v.id && (v.root == v.id) == (v.root_port == 0));
            check(v.root_port != 0 || v.cost == 0);
            check(v.timers.message_age <= v.timers.max_age);
            changes_[i] += b.take_changes().size();
            check(changes_[i] == v.topology_changes);
        }
        for (const port_place& p : ends_) {
            look(p);
        }
    }

    void look(const port_place& at)
    {
        const stp::bridge& b = bridge_of(at);
        const stp::bridge_view v = b.view();
        const stp::port_view p = b.view(at.at.port);
        check(p.state == b.state_of(at.at.port));
        check(stp::number_of(p.id) == at.at.port);
        check(p.enabled == n_.links[at.link].up);
        check(p.enabled == (p.role != stp::role::disabled));
        check((p.role == stp::role::root) == (at.at.port == v.root_port));
        check(p.sent == ports_[at.at].sent);
        const stp::priority_vector own{v.root, v.cost, v.id, p.id};
        switch (p.role) {
        case stp::role::disabled:
            check(p.state == stp::state::discarding);
            break;
        case stp::role::root: {
            const auto cost = std::uint64_t{p.designated.cost} + p.path_cost;
            check(p.designated.root == v.root);
            check(v.cost ==
                  std::min<std::uint64_t>(cost, std::numeric_limits<std::uint32_t>::max()));
            break;
        }
        case stp::role::designated:
            check(p.designated == own);
            break;
        case stp::role::alternate:
        case stp::role::backup:
            check(p.state == stp::state::discarding);
            check(p.designated <= own);
            check((p.designated.bridge.address() == v.id.address()) ==
                  (p.role == stp::role::backup));
            break;
        }
    }

    [[nodiscard]] bool is_tree() const
    {
        if (n_.has_loop()) {
            return false;
        }
        for (std::size_t b = 0; b < n_.bridges.size(); ++b) {
            const auto all = n_.reached(b, false);
            const auto best = std::ranges::min(
                all, {}, [this](std::size_t i) { return n_.bridges[i]->view().id; });
            if (n_.reached(b) != all || n_.bridges[b]->view().root != n_.bridges[best]->view().id) {
                return false;
            }
        }
        return true;
    }

    network n_;
    std::vector<port_place> ends_;
    std::vector<std::size_t> places_; // links that the hostile port is at; the shared one first
    std::map<end, port_record> ports_;
    std::vector<std::uint64_t> changes_; // by bridge
    unsigned seconds_{0};
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input in{{data, size}};
    attacked_network n{in.number(1)};
    for (std::size_t i = 0; i < most_steps && !in.is_empty(); ++i) {
        n.step(in);
    }
    n.come_to_a_tree();
    return 0;
}
