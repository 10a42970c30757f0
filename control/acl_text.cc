// SPDX-License-Identifier: BSD-3-Clause
#include "control/acl_text.hh"

#include "control/flow_fields.hh"
#include "control/flow_match_text.hh"

#include <algorithm>
#include <utility>

namespace strait::control {

namespace {

// The first word of a text, which it is taken off.
std::string_view take_word(std::string_view& text)
{
    constexpr std::string_view blanks = " \t\r";
    text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
    const std::string_view word = text.substr(0, text.find_first_of(blanks));
    text.remove_prefix(word.size());
    return word;
}

// Whether a field is a packet's own, and not what the switch knows beside it.
bool is_of_packet(flow::field f)
{
    using flow::place_of;
    const std::size_t word = place_of(f).word;
    return word >= place_of(flow::field::eth_dst).word &&
           word < place_of(flow::field::metadata).word;
}

flow_result<std::vector<flow::match>> read_packets(std::string_view text)
{
    const port_names none;
    match_reader reader{none};
    if (const auto read = read_match(text, reader); read.has_error()) {
        return read.error();
    }
    for (const flow_field& f : flow_fields()) {
        if (reader.has(f.of) && !is_of_packet(f.of)) {
            return flow_fault{text, std::string{f.name} +
                                        " is nothing that a packet has itself; rules of sets match "
                                        "headers and packet_length"};
        }
    }
    return reader.finish();
}

flow_result<acl_rule> read_rule(std::string_view line)
{
    acl_rule out;
    std::string_view rest = line;
    const std::string_view direction = take_word(rest);
    if (direction != "from" && direction != "to") {
        return flow_fault{direction,
                          "a rule begins with from (what the port sends) or to (what it is sent), "
                          "not with " +
                              shown(direction)};
    }
    const std::string_view verdict = take_word(rest);
    if (verdict != "allow" && verdict != "drop") {
        return flow_fault{verdict.empty() ? line : verdict,
                          "behind " + std::string{direction} + " there must be allow or drop" +
                              (verdict.empty() ? "" : ", not " + shown(verdict))};
    }
    const std::string_view match = trimmed(rest);
    if (match.empty()) {
        return flow_fault{verdict, "which packets? Behind " + std::string{verdict} +
                                       " there must be a match, like tcp,tp_dst=80; eth is all"};
    }
    auto packets = read_packets(match);
    if (packets.has_error()) {
        return packets.error();
    }
    out.sends = direction == "from";
    out.allows = verdict == "allow";
    out.matches = std::move(*packets);
    out.text = std::string{direction} + " " + std::string{verdict} + " " + std::string{match};
    return out;
}

} // namespace

ports::result<std::vector<acl_rule>> read_acl(const flow_lines& lines)
{
    std::vector<acl_rule> out;
    std::size_t matches = 0;
    const auto read = [&](std::string_view line,
                          std::size_t /*number*/) -> flow_result<ports::result<void>> {
        auto rule = read_rule(trimmed(line));
        if (rule.has_error()) {
            return rule.error();
        }
        matches += rule->matches.size();
        if (out.size() == most_acl_rules || matches > most_acl_matches) {
            return flow_fault{
                line, "a set has " + std::to_string(most_acl_rules) + " rules at the most, and " +
                          std::to_string(most_acl_matches) + " with each mask of a range counted"};
        }
        out.push_back(std::move(*rule));
        return ports::result<void>{};
    };
    if (const auto done = read_lines(lines, read); done.has_error()) {
        return done.error();
    }
    return out;
}

} // namespace strait::control
