// SPDX-License-Identifier: BSD-3-Clause
// Taking UTF-8 apart, by the table of well-formed sequences in the Unicode Standard (chapter 3.9).
#include "control/utf8.hh"

#include <cstddef>

namespace strait::control {

namespace {

// Bytes of the character that `text`, which is not empty, begins with; 0: none.
std::size_t first_character(std::string_view text) noexcept
{
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) {
        return 1;
    }
    const std::size_t size = lead >= 0xc2 && lead <= 0xdf   ? 2
                             : lead >= 0xe0 && lead <= 0xef ? 3
                             : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                            : 0;
    if (size == 0 || size > text.size()) {
        return 0;
    }
    // The second byte's range tells overlong forms, surrogates and what is beyond U+10FFFF.
    const unsigned char least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned char most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (byte(1) < least || byte(1) > most) {
        return 0;
    }
    for (std::size_t i = 2; i < size; ++i) {
        if (byte(i) < 0x80 || byte(i) > 0xbf) {
            return 0;
        }
    }
    return size;
}

} // namespace

bool is_utf8(std::string_view text) noexcept
{
    while (!text.empty()) {
        const std::size_t size = first_character(text);
        if (size == 0) {
            return false;
        }
        text.remove_prefix(size);
    }
    return true;
}

std::string as_utf8(std::string_view text)
{
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const std::size_t size = first_character(text);
        if (size == 0) {
            out += '?';
            text.remove_prefix(1);
        } else {
            out += text.substr(0, size);
            text.remove_prefix(size);
        }
    }
    return out;
}

} // namespace strait::control
