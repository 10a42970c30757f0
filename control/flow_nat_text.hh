// SPDX-License-Identifier: BSD-3-Clause
// Translations of addresses as text: nat(src=10.0.0.1-10.0.0.9:1000-1999,random).
#pragma once

#include "dataplane/flow/action.hh"

#include "control/flow_words.hh"

#include <string>

namespace strait::control {

[[nodiscard]] flow_result<flow::nat> parse_nat(const flow_word& word);
void append_nat(std::string& out, const flow::nat& nat);

} // namespace strait::control
