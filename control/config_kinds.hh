// SPDX-License-Identifier: BSD-3-Clause
// What the configuration consists of: kinds of records, each of which is the parameters of the
// method that makes the thing, without those that are as if not given. So a record is checked and
// carried out like any request. Flows, groups and meters, of which there may be a million, are
// lines and not here (config_lines.hh).
//
// A method that changes something new needs a kind here, or a member in one.
#pragma once

#include "control/acl_list.hh"
#include "control/mirror_list.hh"
#include "control/switch.hh"
#include "control/xen_adoption.hh"

#include <boost/json/object.hpp>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// Where it is read from.
struct config_sources {
    const virtual_switch& sw;
    const acl_list& acls;
    const mirror_list& mirrors;
    const xen_adoption& adoption;
};

struct config_call {
    std::string_view method;
    boost::json::object parameters;
};

struct config_kind {
    using object = boost::json::object;

    std::string_view name; // of the list of them in a document
    std::string_view one;  // in sentences, "port"
    std::string_view make; // the method
    // Which parameters tell them apart.
    std::vector<std::string_view> identity;
    // As there are now, in a stable order.
    void (*list)(const config_sources& from, const std::function<void(object record)>& take);
    // A record as list() would give it; of parameters that were checked.
    object (*normal)(const object& given);
    // What takes it away.
    config_call (*remove)(const config_sources& from, const object& record);
    // What makes `to` of it while it stays; nothing: it must be made anew. Null: always.
    std::vector<config_call> (*change)(const object& from, const object& to);
    bool declared{true}; // part of documents; else only kept
    // Flows may name it: it goes when they do not any more, or with its bridge.
    bool named_by_lines{false};
};

// In the order in which they are made.
[[nodiscard]] std::span<const config_kind> config_kinds();
// Null: there is none of that name.
[[nodiscard]] const config_kind* find_config_kind(std::string_view name);

// "port vm1", unique among all.
[[nodiscard]] std::string key_of(const config_kind& kind, const boost::json::object& record);
// "port vm1" or "static MAC 02:00:00:00:00:01 of port vm1", for people.
[[nodiscard]] std::string describe(const config_kind& kind, const boost::json::object& record);

// What a record cannot be without: the key of another, or nothing.
[[nodiscard]] std::vector<std::string> parents_of(const config_kind& kind,
                                                  const boost::json::object& record);

// VLANs, ascending, as a list with ranges: [10, "20-29"].
[[nodiscard]] boost::json::array to_ranges(std::span<const std::uint16_t> vlans);

} // namespace strait::control
