// SPDX-License-Identifier: BSD-3-Clause
// straitctl top: the switch as it goes, ports and workers, again and again. Plain ANSI sequences: a
// table that is written anew needs no library for terminals. What is shown is made here from two
// looks; the terminal itself is the last function's business.
#pragma once

#include "control/client.hh"
#include "control/method_table.hh"

#include <boost/json/object.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace strait::control {

enum class top_order : std::uint8_t { traffic, drops, received, sent, name };

struct top_view {
    top_order order{top_order::traffic};
    bool reversed{false};
    bool paused{false};
    std::size_t first{0}; // port that is at the top of the list
};

// A key changes the view: t traffic, d drops, r received, s sent, n name, R the other way round,
// space pauses, j and k (or the arrows' last letters B and A) move down and up. False: it means
// nothing. What q means is the caller's.
bool press(top_view& view, char key);

// Results of version, stats and worker.list at one time.
struct top_look {
    boost::json::object version;
    boost::json::object stats;
    boost::json::object workers;
};

// What happened between two looks. `columns` and `rows` of the terminal: longer lines are cut, and
// what does not fit of the ports is counted in the last line; 0: all of it, for a program or a
// file. `colours`: headings stand out. No line of it moves the cursor.
[[nodiscard]] std::string top_screen(const top_look& before, const top_look& now,
                                     const top_view& view, std::size_t columns, std::size_t rows,
                                     bool colours);

// The method `top`, which straitctl does itself.
[[nodiscard]] bool is_top(const method& m);
[[nodiscard]] method top_method();
// Until q, an interrupt, or so many iterations as `parameters` say. Throws call_error. False: the
// standard output takes no more.
bool run_top(client& daemon, const boost::json::object& parameters, bool json);

} // namespace strait::control
