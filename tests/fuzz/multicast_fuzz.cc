// SPDX-License-Identifier: BSD-3-Clause
// IGMP and MLD from guests that lie, and the table that they fill. An input is packets, each behind
// its length (16 bits) and a byte: seconds that pass before it (bits 0 to 5), and its port (bits 6
// and 7). Packets begin with the IP header and lie in memory of exact size on the heap, so that
// AddressSanitizer sees what leaves them. What is checked: that nothing but groups that a switch
// keeps is learned, that no port has more than its limit, and that all of it ends.
#include "dataplane/multicast/group_table.hh"
#include "dataplane/multicast/message.hh"
#include "tests/fuzz/check.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

namespace {

using namespace strait;
using dataplane::port_index;
using fuzz::check;
using multicast::group_table;
using multicast::message;

constexpr std::uint32_t limit = 5;
constexpr dataplane::vlan_id vlan{};

void learn(group_table& table, const message& m, port_index port, dataplane::seconds_t now)
{
    const auto one = [&](multicast::wish what, const multicast::ip_address& group) {
        if (what == multicast::wish::leave) {
            table.leave(group, vlan, port);
        } else if (what == multicast::wish::join && multicast::is_snooped(group)) {
            (void)table.join(group, vlan, port, limit, now);
        }
    };
    switch (m.is) {
    case message::kind::query:
        table.hear_querier(m.six, vlan, port, now);
        table.shorten(m.group, vlan, m.response_ms / 1000 % 1000, now);
        break;
    case message::kind::router_is_there:
        table.hear_router(vlan, port, now);
        break;
    case message::kind::router_leaves:
        table.forget_router(vlan, port);
        break;
    case message::kind::report:
        one(multicast::wish::join, m.group);
        break;
    case message::kind::leave:
        one(multicast::wish::leave, m.group);
        break;
    case message::kind::records: {
        multicast::record_reader records{m};
        multicast::group_record r;
        std::size_t count = 0;
        while (records.next(r)) {
            one(r.is, r.group);
            ++count;
        }
        check(count == m.record_count);
        break;
    }
    default:
        break;
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static group_table table{group_table::least_groups};
    dataplane::seconds_t now = 0;
    constexpr std::size_t before = 3;
    for (std::size_t at = 0; size - at >= before;) {
        const std::size_t length = data[at] | std::size_t{data[at + 1]} << 8;
        now += data[at + 2] & 0x3fU;
        const port_index port{static_cast<std::uint16_t>(data[at + 2] >> 6)};
        at += before;
        if (length > size - at || length > multicast::longest_message) {
            break;
        }
        const std::unique_ptr<std::byte[]> packet{new std::byte[length]};
        std::memcpy(packet.get(), data + at, length);
        at += length;
        const std::span<const std::byte> all{packet.get(), length};
        for (const message& m : {multicast::read_ipv4(all), multicast::read_ipv6(all)}) {
            learn(table, m, port, now);
        }
        table.expire(now);
    }
    std::array<std::uint32_t, 4> counts{};
    table.for_each(now, [&](const group_table::entry& e) {
        if (e.is == group_table::entry::kind::group) {
            check(multicast::is_snooped(e.group));
            check(++counts.at(dataplane::to_index(e.port)) <= limit);
        }
    });
    table.expire(now + group_table::most_ageing);
    table.for_each(now, [](const group_table::entry&) { check(false); });
    check(table.size() == 0);
    return 0;
}
