// SPDX-License-Identifier: BSD-3-Clause
// IGMP and MLD messages, from the RFCs' pictures; checksums by a plain sum of its own.
#pragma once

#include "tests/unit/dataplane/ip_frame.hh"

#include <initializer_list>

namespace strait::test {

inline const frame link_local{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0xff, 0xfe, 0, 0, 1};

inline frame six_group(std::uint32_t low, unsigned scope = 5)
{
    frame f(16);
    f[0] = 0xff;
    f[1] = static_cast<std::uint8_t>(scope);
    put32(f, 12, low);
    return f;
}

inline void append(frame& to, const frame& what)
{
    to.insert(to.end(), what.begin(), what.end());
}

inline void put_sum(frame& f, std::size_t at, unsigned sum)
{
    put16(f, at, ~sum & 0xffff);
}

// With Router Alert, TTL 1. The body's checksum is filled.
inline frame ip4(std::uint32_t source, std::uint32_t to, frame body, std::uint8_t protocol = 2)
{
    if (protocol == 2 && body.size() >= 4) {
        put16(body, 2, 0);
        put_sum(body, 2, plain_sum(body, 0, body.size()));
    }
    frame f(24);
    f[0] = 0x46;
    put16(f, 2, static_cast<unsigned>(24 + body.size()));
    f[8] = 1;
    f[9] = protocol;
    put32(f, 12, source);
    put32(f, 16, to);
    put32(f, 20, 0x9404'0000);
    put_sum(f, 10, plain_sum(f, 0, f.size()));
    append(f, body);
    return f;
}

// Behind a hop-by-hop header with Router Alert, hop limit 1.
inline frame ip6(const frame& source, const frame& to, frame body)
{
    frame pseudo = source;
    append(pseudo, to);
    frame tail(8);
    put32(tail, 0, static_cast<std::uint32_t>(body.size()));
    tail[7] = 58;
    append(pseudo, tail);
    put16(body, 2, 0);
    append(pseudo, body);
    put_sum(body, 2, plain_sum(pseudo, 0, pseudo.size()));
    frame f(8);
    f[0] = 0x60;
    put16(f, 4, static_cast<unsigned>(8 + body.size()));
    f[7] = 1;
    append(f, source);
    append(f, to);
    append(f, {58, 0, 5, 2, 0, 0, 1, 0});
    append(f, body);
    return f;
}

// Of 8 bytes: type, code, group.
inline frame igmp(std::uint8_t type, std::uint8_t code, std::uint32_t group)
{
    frame f(8);
    f[0] = type;
    f[1] = code;
    put32(f, 4, group);
    return f;
}

// A version 3 query's rest, of IGMP and MLD.
inline frame query_rest(std::uint8_t flags, unsigned sources)
{
    frame f(4);
    f[0] = flags;
    put16(f, 2, sources);
    return f;
}

struct listed {
    std::uint8_t type;
    frame group; // 4 or 16 bytes
    std::vector<frame> sources{};
};

inline frame records(std::uint8_t type, const std::vector<listed>& all)
{
    frame f(8);
    f[0] = type;
    put16(f, 6, static_cast<unsigned>(all.size()));
    for (const listed& r : all) {
        frame head(4);
        head[0] = r.type;
        put16(head, 2, static_cast<unsigned>(r.sources.size()));
        append(f, head);
        append(f, r.group);
        for (const frame& s : r.sources) {
            append(f, s);
        }
    }
    return f;
}

inline frame four(std::uint32_t address)
{
    frame f(4);
    put32(f, 0, address);
    return f;
}

// Of 24 bytes: type, response, group.
inline frame mld(std::uint8_t type, std::uint16_t response, const frame& group)
{
    frame f(8);
    f[0] = type;
    put16(f, 4, response);
    append(f, group);
    return f;
}

} // namespace strait::test
