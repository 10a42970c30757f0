// SPDX-License-Identifier: BSD-3-Clause
// Showing the configuration, and applying one.
#include "control/methods_config.hh"

#include "control/methods_parts.hh"

#include <limits>

namespace strait::control {

namespace {

// What programs send in one request is limited by its length; more is put into an upload.
constexpr std::int64_t longest_document = std::int64_t{1} << 30U;

parameter document(std::string_view help)
{
    return {.name = "document",
            .kind = kind::lines,
            .help = help,
            .placeholder = "FILE|-",
            .positional = true,
            .maximum = longest_document};
}

parameter upload_number()
{
    return {.name = "upload",
            .kind = kind::integer,
            .help = "its number",
            .required = true,
            .minimum = 1,
            .maximum = std::numeric_limits<std::int64_t>::max()};
}

std::vector<result_member> differences()
{
    return {{"changes", "array",
             "of each: action (add, change, remove or remake), kind, what, and from and to: the "
             "records, as documents have them"},
            {"lines", "array",
             "of each bridge's flows, groups and meters that differ: bridge, kind, removed and "
             "added"}};
}

} // namespace

std::vector<method> config_methods()
{
    parameter text = document("a part of the document");
    text.name = "text";
    text.required = true;
    return {
        {.name = "config.show",
         .summary = "Show the configuration as a document, which config apply takes",
         .changes = false,
         .result = {{"version", "integer", "of the format"},
                    {"bridges", "array",
                     "the bridges, each as bridge.add takes it; then likewise "
                     "all other kinds of which there are some"},
                    {"missing", "array",
                     "of what is configured and is not there: what and why; if any is"}}},
        {.name = "config.diff",
         .summary = "Tell what applying a configuration would change",
         .changes = false,
         .parameters = {document("a document as config show prints it"),
                        file_name("what messages call the document")},
         .result = differences()},
        {.name = "config.apply",
         .summary = "Bring the switch to a configuration: all of it or nothing, and only what "
                    "differs is touched",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {document("a document as config show prints it"),
                        file_name("what messages call the document")},
         .result = differences()},
        {.name = "config.begin",
         .summary = "Begin a document that comes in parts",
         .changes = false,
         .result = {{"upload", "integer", "its number"}},
         .for_programs = true},
        {.name = "config.put",
         .summary = "Add a part to a document",
         .changes = false,
         .parameters = {upload_number(), text},
         .result = {{"bytes", "integer", "that it has now"}},
         .for_programs = true},
        {.name = "config.commit",
         .summary = "Apply a document that came in parts, or tell what that would change",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {upload_number(), flag("diff", "tell alone"),
                        file_name("what messages call the document")},
         .result = differences(),
         .for_programs = true},
    };
}

} // namespace strait::control
