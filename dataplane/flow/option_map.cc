// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/option_map.hh"

#include <algorithm>
#include <bit>

namespace strait::flow {

// A bit for each word that no option has.
unsigned option_map::free_words() const noexcept
{
    unsigned free = (1U << option_words) - 1;
    for (const option& o : all_) {
        for (std::size_t i = 0; i < o.word_count(); ++i) {
            free &= ~(1U << o.words[i]);
        }
    }
    return free;
}

std::size_t option_map::room() const noexcept
{
    return static_cast<std::size_t>(std::popcount(free_words())) * option_word_bytes;
}

bool option_map::add(option o)
{
    if (o.length > room()) {
        return false;
    }
    unsigned free = free_words();
    for (std::size_t i = 0; i < o.word_count(); ++i) {
        o.words[i] = static_cast<std::uint8_t>(std::countr_zero(free));
        free &= free - 1;
    }
    all_.insert(std::ranges::lower_bound(all_, o.index, {}, &option::index), o);
    return true;
}

void option_map::remove(std::uint8_t index)
{
    std::erase_if(all_, [index](const option& o) { return o.index == index; });
}

const option* option_map::at(std::size_t index) const noexcept
{
    const auto found = std::ranges::find(all_, index, &option::index);
    return found == all_.end() ? nullptr : &*found;
}

const option* option_map::find(std::uint16_t option_class, std::uint8_t type) const noexcept
{
    const auto found = std::ranges::find_if(all_, [option_class, type](const option& o) noexcept {
        return o.option_class == option_class && o.type == type;
    });
    return found == all_.end() ? nullptr : &*found;
}

const option* option_map::owner_of(field data) const noexcept
{
    const auto found = std::ranges::find_if(all_, [data](const option& o) noexcept {
        for (std::size_t i = 0; i < o.word_count(); ++i) {
            if (o.field_at(i) == data) {
                return true;
            }
        }
        return false;
    });
    return found == all_.end() ? nullptr : &*found;
}

} // namespace strait::flow
