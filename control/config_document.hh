// SPDX-License-Identifier: BSD-3-Clause
// Declarative documents, which config show prints and config apply reads: a list of records for
// each kind, and each bridge's meters, groups and flows. Reading one refuses all that can be told
// from it alone, with line and column; bringing the switch to it is config_plan.hh's business.
#pragma once

#include "control/config_kinds.hh"
#include "control/config_lines.hh"
#include "control/configuration.hh"
#include "control/json_place.hh"

#include <boost/json/object.hpp>

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

inline constexpr std::int64_t document_version = 1;

struct config_document {
    struct entry {
        boost::json::object record; // in the form of config_kind::list()
        json_path place;
    };
    struct line {
        std::string text;
        json_path place;
    };
    using lines = std::array<std::vector<line>, 3>; // by line_kind

    std::vector<std::map<std::string, entry>> kinds; // by kind and key
    std::map<std::string, lines> bridges;            // those that say flows, or groups or meters
    std::string_view text;                           // that it was read from
    std::string file;

    // "FILE:LINE:COLUMN: ports[2].vlan: "
    [[nodiscard]] std::string where(const json_path& place) const;
};

// `text` outlives it. The sources say which ports Xen guests have, which no document makes.
[[nodiscard]] outcome<config_document> read_document(std::string_view text, std::string file,
                                                     const config_sources& sources);

// What there is, and what is configured and is not there; in a stable order.
[[nodiscard]] boost::json::object show_document(const configuration& from);

} // namespace strait::control
