// SPDX-License-Identifier: BSD-3-Clause
#include "control/methods_acls.hh"

#include "control/methods_parts.hh"

namespace strait::control {

namespace {

constexpr std::int64_t longest_rules = std::int64_t{1} << 24U;

parameter set_name()
{
    return {.name = "name",
            .kind = kind::name,
            .help = "the set's name",
            .placeholder = "NAME",
            .required = true,
            .positional = true};
}

std::vector<parameter> sets_and_port(std::string_view help)
{
    return {{.name = "names",
             .help = help,
             .placeholder = "NAME,...",
             .required = true,
             .positional = true,
             .maximum = longest_text},
            port(true, "the port")};
}

} // namespace

std::vector<method> acl_methods()
{
    const std::vector<result_member> its_port{{"port", "string", "the port"}};
    return {
        {.name = "acl.set",
         .summary = "Make a rule set, or replace all of its rules",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {set_name(),
                        {.name = "rules",
                         .kind = kind::lines,
                         .help = "rules, one a line: from|to allow|drop MATCH; the first that "
                                 "matches decides",
                         .placeholder = "RULE|FILE|-",
                         .required = true,
                         .positional = true,
                         .maximum = longest_rules},
                        flag("stateless", "connections are not tracked: replies need a rule"),
                        file_name("what messages call the text that the rules are of")},
         .result = {{"name", "string", "the set's name"}, {"rules", "integer", "how many it has"}}},
        {.name = "acl.del",
         .summary = "Remove a rule set that no port has",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {set_name(), flag("if_exists", "done, too, when there is no such set")},
         .result = {{"removed", "boolean", "whether there was one"}}},
        {.name = "acl.list",
         .summary = "List the rule sets, with the ports that have them",
         .changes = false,
         .result_is_list = true,
         .result = {{"name", "string", "the set's name"},
                    {"stateful", "boolean", "whether replies pass without a rule"},
                    {"rules_from", "integer", "rules for what ports send"},
                    {"rules_to", "integer", "rules for what ports are sent"},
                    {"ports", "array", "names of the ports that have it"}}},
        {.name = "acl.show",
         .summary = "Show a rule set's rules, with what they have decided on",
         .changes = false,
         .parameters = {set_name()},
         .result = {{"name", "string", "the set's name"},
                    {"stateful", "boolean", "whether replies pass without a rule"},
                    {"ports", "array", "names of the ports that have it"},
                    {"rules", "array",
                     "of each, in order: rule, and packets and bytes that it decided on, of all "
                     "ports that have it"}}},
        {.name = "acl.attach",
         .summary = "Give a port rule sets, behind those that it has",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = sets_and_port("sets, in the order in which they are asked"),
         .result = its_port},
        {.name = "acl.detach",
         .summary = "Take rule sets from a port; one without any is open",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = sets_and_port("sets that the port has"),
         .result = its_port},
    };
}

} // namespace strait::control
