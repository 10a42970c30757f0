// SPDX-License-Identifier: BSD-3-Clause
// Fields by name: all that ovs-ofctl calls them, where each lies in a flow's key, what form its
// values have, and what must be matched for it to be there.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/key.hh"
#include "dataplane/flow/option_map.hh"

#include "control/flow_values.hh"
#include "control/flow_words.hh"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace strait::control {

// What a match must have for a field to be in all packets that it matches.
enum class prerequisite : std::uint8_t {
    none,
    tagged,
    ipv4,
    ipv4_or_arp,
    ip, // either version
    ip_or_arp,
    ipv6,
    arp,
    tcp,
    udp,
    sctp,
    ports, // one of these three
    ports_or_icmp,
    icmp4,
    icmp6,
    icmp, // either version
    neighbour,
    neighbour_solicitation,
    neighbour_advertisement,
    tracked,
    tracked_ipv4,
    tracked_ipv6,
    tracked_ports,
};

struct flow_field {
    std::string_view name;
    std::string_view alias{};
    std::string_view nxm{}; // NXM_OF_ETH_SRC
    std::string_view oxm{};
    std::string_view oxm_alias{};
    flow::field of{};
    // In text a field has `width` bits. Those from `low` on, `bits` of them, are in the key, at bit
    // `first` of its field; the others are zero.
    std::uint16_t width{0};
    std::uint8_t low{0};
    std::uint16_t bits{0};
    std::uint8_t first{0};
    value_form form{value_form::hexadecimal};
    prerequisite needs{prerequisite::none};    // of actions
    std::optional<prerequisite> match_needs{}; // of matches, if it is not the same
    bool maskable{true};
    bool writable{true};
    bool fills{false};          // of the key's field, a match has all bits
    bool ranges{false};         // first-last is a match
    bool connection{false};     // set by ct(exec(...)) alone
    std::string_view instead{}; // by this name a match may have it, no action: what these call it
    // tun_metadataN, which is in a key where a bridge's map of options says (flow_options.hh);
    // of the table, which knows no bridge, whether there is one.
    bool is_option{false};
    std::uint8_t index{0}; // N
    const flow::option* option{nullptr};

    // Of bits that are counted as in text, those that there are.
    [[nodiscard]] flow::wide to_key(flow::wide text) const noexcept;
    [[nodiscard]] flow::wide to_text(flow::wide key) const noexcept;
    [[nodiscard]] constexpr bool is_whole() const noexcept { return low == 0 && bits == width; }
};

[[nodiscard]] std::span<const flow_field> flow_fields();
// By any of its names, those of NXM and OXM too.
[[nodiscard]] const flow_field* find_field(std::string_view name);
// What a name of ovs-fields(7) that is no field here is about; empty for other words.
[[nodiscard]] std::string_view unsupported_field(std::string_view name);
// For a word that is no field: a sentence's end.
[[nodiscard]] flow_fault no_such_field(std::string_view name);
// The same field as `names` know it, which they must for an option of Geneve. `at` is the word.
[[nodiscard]] flow_result<const flow_field*> known_field(const flow_field& f, std::string_view at,
                                                         const port_names& names);

[[nodiscard]] bool holds(prerequisite p, const flow::match& m);
// The same of one packet.
[[nodiscard]] bool holds(prerequisite p, const flow::key& k);
// Whether a match has something that says that it does not, whatever else is added.
[[nodiscard]] bool contradicts(prerequisite p, const flow::match& m);
// What must be in the match: "ipv6 (dl_type=0x86dd)".
[[nodiscard]] std::string_view describe(prerequisite p);

// reg0, reg0[], reg0[3], reg0[0..15], NXM_NX_REG0[0..15]: bits counted as in text.
struct field_bits {
    const flow_field* field{nullptr};
    unsigned first{0};
    unsigned bits{0};
    std::string_view text{};

    // Those that are in the key; bits is 0 if none is. Of an option those of the word that has the
    // first of them.
    [[nodiscard]] flow::subfield in_key() const noexcept;
};
[[nodiscard]] flow_result<field_bits> parse_field_bits(std::string_view text,
                                                       const port_names& names = {});

// The name and bits by which actions on packets of match `m` have a part of the key.
[[nodiscard]] const flow_field& field_for(const flow::subfield& s, const flow::match& m);
// With `number`, bits that text has and the key has not may be counted in: they are zero. Options
// of Geneve are known to `names`.
void append_subfield(std::string& out, const flow::subfield& s, const flow::match& m,
                     const port_names* names, bool number = false);

} // namespace strait::control
