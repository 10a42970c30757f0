// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/tunnel/options.hh"

#include "dataplane/parse.hh"

#include <algorithm>

namespace strait::tunnel {

using namespace dataplane;

namespace {

static_assert(most_set_options == flow::longest_option_data + flow::option_words * option_header);

// Data of an option is a number whose first byte is the highest; words of it, the lowest first, end
// where it ends. Of the highest there may be but four bytes.
void read_data(const std::byte* data, const flow::option& o, notes::option_values& out) noexcept
{
    std::size_t end = o.length;
    for (std::size_t i = 0; i < o.word_count(); ++i) {
        std::uint64_t& word = out.data[o.words[i]];
        if (end >= flow::option_word_bytes) {
            end -= flow::option_word_bytes;
            word = __builtin_bswap64(load<std::uint64_t>(data + end));
        } else {
            word = load<be32>(data);
        }
    }
}

void write_data(const notes::option_values& values, const flow::option& o, std::byte* data) noexcept
{
    std::size_t end = o.length;
    for (std::size_t i = 0; i < o.word_count(); ++i) {
        const std::uint64_t word = values.data[o.words[i]];
        if (end >= flow::option_word_bytes) {
            end -= flow::option_word_bytes;
            store(data + end, __builtin_bswap64(word));
        } else {
            store(data, be32{static_cast<std::uint32_t>(word)});
        }
    }
}

} // namespace

fault read_options(const contents& c, const flow::option_map* known,
                   notes::option_values& out) noexcept
{
    out = {};
    bool understood = false; // one that must be
    for (auto left = c.header.options; !left.empty();) {
        const auto type = load<std::uint8_t>(left.data() + 2);
        const std::size_t size = option_size(left);
        const flow::option* const o =
            known == nullptr ? nullptr : known->find(load<be16>(left.data()), type);
        if (o != nullptr) {
            if (size != option_header + o->length) {
                return fault::option_length;
            }
            read_data(left.data() + option_header, *o, out);
            out.present |= o->present_bit().low;
            understood = understood || (type & flow::critical_option) != 0;
        } else if ((type & flow::critical_option) != 0) {
            return fault::critical_option;
        }
        left = left.subspan(size);
    }
    return c.critical && !understood ? fault::critical_option : fault::none;
}

std::size_t write_options(const notes::option_values& values, const flow::option_map& known,
                          std::array<std::byte, most_set_options>& out) noexcept
{
    std::size_t size = 0;
    for (const flow::option& o : known.all()) {
        if ((values.present & o.present_bit().low) == 0) {
            continue;
        }
        std::byte* const at = out.data() + size;
        store(at, be16{o.option_class});
        store(at + 2, o.type);
        store(at + 3, static_cast<std::uint8_t>(o.length / 4));
        write_data(values, o, at + option_header);
        size += option_header + o.length;
    }
    return size;
}

} // namespace strait::tunnel
