// SPDX-License-Identifier: BSD-3-Clause
// Bridges in memory, joined by links that carry BPDUs as frames and may be cut; and what of them is
// to hold whatever they look like.
#pragma once

#include "control/stp/bridge.hh"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace strait::stp::testing_support {

[[nodiscard]] inline dataplane::mac_address address(std::size_t n)
{
    return dataplane::mac_address{0x02 | (std::uint64_t{n >> 8} << 32) |
                                  (std::uint64_t{n & 0xff} << 40)};
}

class network {
public:
    struct end {
        std::size_t bridge;
        port_number port;
        auto operator<=>(const end&) const = default;
    };
    struct link {
        std::vector<end> ends; // two, or more on a shared medium
        bool up;
        bool one_way; // what the last end sends is lost
    };

    std::size_t add_bridge(bridge_settings s = {})
    {
        bridges.push_back(std::make_unique<bridge>(s, address(bridges.size() + 1)));
        return bridges.size() - 1;
    }
    port_number add_port(std::size_t b, port_settings s = {})
    {
        port_number number = 1;
        while (bridges[b]->has_port(number)) {
            ++number;
        }
        bridges[b]->add_port(number, s);
        return number;
    }
    std::size_t connect(std::vector<std::size_t> on, port_settings s = {.auto_edge = false})
    {
        link l{{}, false, false};
        for (const std::size_t b : on) {
            l.ends.push_back({b, add_port(b, s)});
        }
        links.push_back(l);
        set_link(links.size() - 1, true);
        return links.size() - 1;
    }
    void set_link(std::size_t l, bool up)
    {
        links[l].up = up;
        for (const end& e : links[l].ends) {
            bridges[e.bridge]->set_link(e.port, up, 1000, links[l].ends.size() <= 2);
        }
        deliver();
    }
    void pass(unsigned seconds)
    {
        for (unsigned i = 0; i < seconds; ++i) {
            for (auto& b : bridges) {
                b->tick();
            }
            deliver();
        }
    }
    // What was sent arrives at once, and so on until nobody says anything more.
    void deliver()
    {
        std::deque<std::pair<end, frame>> on_their_way;
        for (std::size_t carried = 0; carried < 100'000; ++carried) {
            for (std::size_t b = 0; b < bridges.size(); ++b) {
                for (const port_number p : bridges[b]->take_flushes()) {
                    ++flushed[{b, p}];
                }
                for (const auto& [port, message] : bridges[b]->take_messages()) {
                    ++sent;
                    if (sending) {
                        sending({b, port}, message);
                    }
                    const frame f = write(message, address(b + 1));
                    for (const end& to : others({b, port})) {
                        on_their_way.emplace_back(to, f);
                    }
                }
            }
            if (watch) {
                watch();
            }
            if (on_their_way.empty()) {
                return;
            }
            const auto [to, f] = on_their_way.front();
            on_their_way.pop_front();
            if (const auto b = read(f)) {
                bridges[to.bridge]->receive(to.port, *b);
            }
        }
    }

    [[nodiscard]] state state_of(const end& e) const { return bridges[e.bridge]->state_of(e.port); }
    [[nodiscard]] role role_of(const end& e) const { return bridges[e.bridge]->view(e.port).role; }
    // A link forwards if frames may pass it, in at one end and out at another.
    [[nodiscard]] bool has_loop() const
    {
        std::vector<std::size_t> group(bridges.size() + links.size());
        for (std::size_t i = 0; i < group.size(); ++i) {
            group[i] = i;
        }
        const std::function<std::size_t(std::size_t)> find = [&](std::size_t i) {
            return group[i] == i ? i : group[i] = find(group[i]);
        };
        for (std::size_t l = 0; l < links.size(); ++l) {
            for (const end& e : links[l].ends) {
                if (!links[l].up || state_of(e) != state::forwarding) {
                    continue;
                }
                const std::size_t a = find(e.bridge);
                const std::size_t b = find(bridges.size() + l);
                if (a == b) {
                    return true;
                }
                group[a] = b;
            }
        }
        return false;
    }
    // Bridges that frames reach from this one, with itself.
    [[nodiscard]] std::set<std::size_t> reached(std::size_t from, bool only_forwarding = true) const
    {
        std::set<std::size_t> seen{from};
        std::deque<std::size_t> next{from};
        while (!next.empty()) {
            const std::size_t at = next.front();
            next.pop_front();
            for (const link& l : links) {
                const auto passes = [&](const end& e) {
                    return l.up && (!only_forwarding || state_of(e) == state::forwarding);
                };
                if (std::ranges::any_of(
                        l.ends, [&](const end& e) { return e.bridge == at && passes(e); })) {
                    for (const end& e : l.ends) {
                        if (passes(e) && seen.insert(e.bridge).second) {
                            next.push_back(e.bridge);
                        }
                    }
                }
            }
        }
        return seen;
    }

    std::vector<std::unique_ptr<bridge>> bridges;
    std::vector<link> links;
    std::map<end, std::size_t> flushed;
    std::size_t sent{0};
    std::function<void()> watch; // after each BPDU
    std::function<void(const end&, const bpdu&)> sending;

private:
    [[nodiscard]] std::vector<end> others(const end& from) const
    {
        for (const link& l : links) {
            const auto found = std::ranges::find(l.ends, from);
            if (found == l.ends.end()) {
                continue;
            }
            std::vector<end> out;
            if (l.up && !(l.one_way && from == l.ends.back())) {
                std::ranges::copy_if(l.ends, std::back_inserter(out),
                                     [&](const end& e) { return e != from; });
            }
            return out;
        }
        return {};
    }
};

} // namespace strait::stp::testing_support
