// SPDX-License-Identifier: BSD-3-Clause
// Tuples packed and opened.
#include "dataplane/conntrack/tuple.hh"

#include <random>

namespace strait::conntrack {

const std::array<std::uint64_t, 6> detail::seeds = [] {
    std::random_device random;
    std::array<std::uint64_t, 6> out{};
    std::ranges::generate(out, [&] { return random() | std::uint64_t{random()} << 32; });
    return out;
}();

whole_tuple whole_tuple::of(const tuple& t) noexcept
{
    whole_tuple out;
    std::uint64_t addresses = t.source.low << 32 | (t.destination.low & 0xffff'ffff);
    if (t.ipv6) {
        out.addresses = {t.source.high, t.source.low, t.destination.high, t.destination.low};
        addresses = digests(out.addresses);
    }
    out.packed =
        packed_tuple::make(addresses, t.source_port | std::uint32_t{t.destination_port} << 16,
                           t.zone, t.protocol, t.ipv6);
    return out;
}

tuple whole_tuple::open() const noexcept
{
    tuple out{.source = packed.addresses >> 32,
              .destination = packed.addresses & 0xffff'ffff,
              .source_port = packed.source_port(),
              .destination_port = packed.destination_port(),
              .zone = packed.zone(),
              .protocol = packed.protocol(),
              .ipv6 = packed.ipv6()};
    if (out.ipv6) {
        out.source = {addresses[0], addresses[1]};
        out.destination = {addresses[2], addresses[3]};
    }
    return out;
}

tuple reversed(const tuple& t) noexcept
{
    return whole_tuple::of(t).reversed().open();
}

} // namespace strait::conntrack
