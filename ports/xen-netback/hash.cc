// SPDX-License-Identifier: BSD-3-Clause
// Toeplitz is DPDK's (rte_softrss).
#include "ports/xen-netback/hash.hh"

#include "dataplane/flow_hash.hh"
#include "ports/xen-netback/netif.hh"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <vector>

#include <boost/algorithm/hex.hpp>
#include <rte_thash.h>

namespace strait::xen {

using dataplane::packet;

hash_config::value hash_config::of(const packet& p) const noexcept
{
    using namespace netif;
    const auto t = dataplane::find_ip_tuple(p);
    if (!t) {
        return {};
    }
    const std::uint32_t with_ports = t->ipv6 ? hash_type::ipv6_tcp : hash_type::ipv4_tcp;
    const std::uint32_t without = t->ipv6 ? hash_type::ipv6 : hash_type::ipv4;
    auto words = t->words;
    if (t->tcp && t->ports && (types_ & with_ports) != 0) {
        return {rte_softrss(words.data(), t->addresses + 1, key_.data()),
                static_cast<std::uint8_t>(with_ports)};
    }
    if ((types_ & without) != 0) {
        return {rte_softrss(words.data(), t->addresses, key_.data()),
                static_cast<std::uint8_t>(without)};
    }
    return {};
}

std::size_t hash_config::queue(value v, std::size_t queues) const noexcept
{
    const std::size_t chosen = mapping_size_ == 0 ? v.hash : mapping_[v.hash % mapping_size_];
    return chosen % queues;
}

bool hash_config::set_types(std::uint32_t types) noexcept
{
    if ((types & ~netif::hash_type::all) != 0) {
        return false;
    }
    types_ = types;
    return true;
}

bool hash_config::set_key(std::span<const std::byte> key) noexcept
{
    if (key.size() > max_key) {
        return false;
    }
    key_.fill(0);
    std::memcpy(key_.data(), key.data(), key.size());
    return true;
}

bool hash_config::set_mapping_size(std::uint32_t entries) noexcept
{
    if (entries > max_mapping) {
        return false;
    }
    mapping_size_ = entries;
    mapping_.fill(0);
    return true;
}

bool hash_config::set_mapping(std::uint32_t first, std::span<const std::uint32_t> entries,
                              std::size_t queues) noexcept
{
    if (first > mapping_size_ || entries.size() > mapping_size_ - first ||
        std::ranges::any_of(entries, [queues](std::uint32_t q) { return q >= queues; })) {
        return false;
    }
    std::ranges::transform(entries, mapping_.begin() + first,
                           [](std::uint32_t q) { return static_cast<std::uint8_t>(q); });
    return true;
}

std::string hash_config::to_text() const
{
    std::string bytes(1, static_cast<char>(types_));
    bytes.append(key_.begin(), key_.end());
    bytes.append(mapping_.begin(), mapping_.begin() + mapping_size_);
    return boost::algorithm::hex_lower(bytes);
}

std::optional<hash_config> hash_config::from_text(std::string_view text, std::size_t queues)
{
    std::string bytes;
    try {
        boost::algorithm::unhex(text.begin(), text.end(), std::back_inserter(bytes));
    } catch (const boost::algorithm::hex_decode_error&) {
        return std::nullopt;
    }
    constexpr std::size_t table = 1 + max_key;
    if (bytes.size() < table || bytes.size() > table + max_mapping) {
        return std::nullopt;
    }
    const auto* const at = reinterpret_cast<const std::uint8_t*>(bytes.data());
    const std::vector<std::uint32_t> entries(at + table, at + bytes.size());
    hash_config c;
    if (!c.set_types(at[0]) || !c.set_key(std::as_bytes(std::span{at + 1, max_key})) ||
        !c.set_mapping_size(static_cast<std::uint32_t>(entries.size())) ||
        !c.set_mapping(0, entries, queues)) {
        return std::nullopt;
    }
    return c;
}

} // namespace strait::xen
