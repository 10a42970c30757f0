// SPDX-License-Identifier: BSD-3-Clause
// Methods about options of Geneve.
#include "control/methods_options.hh"

#include "control/methods_parts.hh"

namespace strait::control {

namespace {

parameter options(bool required, std::string_view help)
{
    return {.name = "options",
            .kind = kind::text,
            .help = help,
            .placeholder = "OPTION[,OPTION...]",
            .required = required,
            .positional = true,
            .maximum = longest_text};
}

} // namespace

std::vector<method> option_methods()
{
    return {
        {.name = "tlv-map.add",
         .summary = "Have flows of a bridge know options of Geneve, as tun_metadata0 to 63",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {options(true, "like {class=0x102,type=0x80,len=4}->tun_metadata0"),
                        flow_bridge()},
         .result = {{"added", "integer", "how many were added"}}},
        {.name = "tlv-map.del",
         .summary = "Have flows of a bridge know options of Geneve no longer",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {options(false, "tun_metadata0, or the same as for add; all, if none is "
                                       "given"),
                        flow_bridge(),
                        flag("if_exists", "done, too, when there is no such option")},
         .result = {{"removed", "integer", "how many were removed"}}},
        {.name = "tlv-map.list",
         .summary = "List the options of Geneve that flows of a bridge know",
         .changes = false,
         .parameters = {flow_bridge()},
         .result = {{"bridge", "string", "the bridge"},
                    {"room", "integer", "bytes of data that more options may have"},
                    {"options", "array",
                     "of each: field (tun_metadata0), class, type, length (bytes of data) and "
                     "references (flows and groups' buckets that name it)"}}},
    };
}

} // namespace strait::control
