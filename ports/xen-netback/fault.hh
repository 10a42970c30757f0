// SPDX-License-Identifier: BSD-3-Clause
// What ends a guest's connection: a ring that cannot be gone on with. One sentence each, for
// `port show`.
#pragma once

namespace strait::xen::fault_text {

inline constexpr const char* index =
    "its ring holds more requests than it has slots (producer index out of range)";
inline constexpr const char* missing_extra = "its transmit ring ends inside a frame's extra info";
inline constexpr const char* missing_slot = "its transmit ring ends inside a frame";
inline constexpr const char* extra_type = "it sent an extra info of an unknown type";
inline constexpr const char* too_many_slots = "it sent a frame of 20 or more slots";
inline constexpr const char* crosses_page = "it sent from a slot that leaves its page";
inline constexpr const char* gso = "it sent an extra info with a wrong segmentation type or size 0";

} // namespace strait::xen::fault_text
