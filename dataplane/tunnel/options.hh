// SPDX-License-Identifier: BSD-3-Clause
// Geneve's options (RFC 8926, 3.5): those of a header to what flows know of them, and back. Which
// ones flows know is flow/option_map.hh's business, the header around them headers.hh's.
#pragma once

#include "dataplane/flow/option_map.hh"
#include "dataplane/tunnel/headers.hh"
#include "dataplane/tunnel/notes.hh"

#include <array>
#include <cstddef>
#include <span>

namespace strait::tunnel {

// Sets `out` to what a header's options, which are whole ones, have of those that are known; of one
// that is there twice, the last. critical_option: one that must be understood is not known, or the
// header says that there is one, and none is. option_length: one that is known has another length.
[[nodiscard]] fault read_options(const contents& c, const flow::option_map* known,
                                 notes::option_values& out) noexcept;

// Those that are there, in the order of their indices. Returns how many bytes they are.
[[nodiscard]] std::size_t write_options(const notes::option_values& values,
                                        const flow::option_map& known,
                                        std::array<std::byte, most_set_options>& out) noexcept;

} // namespace strait::tunnel
