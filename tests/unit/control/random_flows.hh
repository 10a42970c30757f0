// SPDX-License-Identifier: BSD-3-Clause
// Random flows as text, each right in itself, for tests that compare what is made of them.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace strait::test {

class random_flows {
public:
    // Words that Open vSwitch has and that it writes in OpenFlow 1.0 as they are written here, or
    // all that there are.
    enum class words : std::uint8_t { common, all };

    random_flows(std::uint64_t seed, words which) : random_{seed}, which_{which} {}

    [[nodiscard]] std::string next();

private:
    [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
    [[nodiscard]] bool chance(unsigned percent) { return below(100) < percent; }
    [[nodiscard]] bool has_all() const { return which_ == words::all; }
    template <typename... Options>
    [[nodiscard]] std::string one_of(Options... options)
    {
        const std::vector<std::string> list{options...};
        return list[below(list.size())];
    }
    [[nodiscard]] static std::string hex(std::uint64_t value);
    [[nodiscard]] std::string number(unsigned bits);
    [[nodiscard]] std::string masked(unsigned bits);
    [[nodiscard]] std::string ethernet();
    [[nodiscard]] std::string ipv4();
    [[nodiscard]] std::string ipv6();
    [[nodiscard]] std::string masked_ipv4();
    [[nodiscard]] std::string masked_ipv6();
    [[nodiscard]] std::string flags(const std::vector<std::string>& names);
    [[nodiscard]] std::string bits_of(std::string_view name, unsigned width, unsigned bits);

    void match(const std::string& word) { text_ += word + ','; }
    void maybe(unsigned percent, const std::string& word)
    {
        if (chance(percent)) {
            match(word);
        }
    }
    void add_properties();
    void add_metadata();
    void add_connection();
    void add_ethernet();
    void add_tag();
    void add_type();
    void add_arp();
    void add_ip();
    void add_transport();
    void add_neighbour();

    [[nodiscard]] std::string actions(unsigned most, bool within);
    [[nodiscard]] std::string action(bool within);
    [[nodiscard]] std::string plain_action();
    [[nodiscard]] std::string network_action();
    [[nodiscard]] std::string own_action();
    [[nodiscard]] std::string ct();
    [[nodiscard]] std::string nat();
    [[nodiscard]] std::string instructions();

    std::mt19937_64 random_;
    words which_;
    std::string text_;
    // Of the flow that is made.
    unsigned table_{0};
    bool is_ipv4_{false};
    bool is_ipv6_{false};
    bool is_arp_{false};
    bool is_tagged_{false};
    bool is_invalid_{false}; // ct_state=+inv
    std::string protocol_;   // tcp, udp, sctp, icmp or nothing
};

} // namespace strait::test
