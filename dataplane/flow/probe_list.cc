// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/probe_list.hh"

#include "dataplane/flow/own.hh"

#include <bit>

namespace strait::flow {

probe::probe(const tuple& of) : order{of.order()}, words{}, bits{}, filter{}
{
    const auto all = of.mask().parts();
    parts = static_cast<std::uint8_t>(all.size());
    for (std::size_t i = 0; i < std::min(all.size(), inline_parts); ++i) {
        words[i] = all[i].word;
        bits[i] = all[i].bits;
    }
    refilter(of);
}

void probe::refilter(const tuple& of) noexcept
{
    if (of.size() > tuple::few) {
        filter.fill(~std::uint64_t{0});
        return;
    }
    filter.fill(0);
    of.rules().for_each([this](const auto& entry) { add(entry.hash()); });
}

void probe_list::block::insert(std::size_t at, const tuple& t, const probe& p) noexcept
{
    std::copy_backward(of.begin() + at, of.begin() + count, of.begin() + count + 1);
    std::copy_backward(probes.begin() + at, probes.begin() + count, probes.begin() + count + 1);
    of[at] = &t;
    probes[at] = p;
    ++count;
    refresh();
}

void probe_list::block::erase(std::size_t at) noexcept
{
    std::copy(of.begin() + at + 1, of.begin() + count, of.begin() + at);
    std::copy(probes.begin() + at + 1, probes.begin() + count, probes.begin() + at);
    --count;
    refresh();
}

void probe_list::block::refresh() noexcept
{
    steady = key{};
    varying = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const flow_mask& mask = of[i]->mask();
        mask.add_steady_to(steady);
        varying |= static_cast<std::uint32_t>(mask.varies()) << i;
    }
}

probe_list::place probe_list::first_of(order_t order) const noexcept
{
    const auto all = blocks();
    const auto b = std::ranges::partition_point(
        all, [&](const auto& one) { return one->probes[one->count - 1].order > order; });
    const auto at = static_cast<std::size_t>(b - all.begin());
    if (b == all.end()) {
        return {at, 0};
    }
    const auto probes = std::span{(*b)->probes}.first((*b)->count);
    const auto p =
        std::ranges::partition_point(probes, [&](const probe& one) { return one.order > order; });
    return {at, static_cast<std::size_t>(p - probes.begin())};
}

// Two masks of one rank may be of one order.
probe_list::place probe_list::find(order_t order, const flow_mask& mask) const noexcept
{
    place at = first_of(order);
    while (&blocks()[at.block]->of[at.index]->mask() != &mask) {
        if (++at.index == blocks()[at.block]->count) {
            at = {at.block + 1, 0};
        }
    }
    return at;
}

probe_list::directory& probe_list::own_directory()
{
    return own(directory_);
}

probe_list::block& probe_list::own_block(std::size_t at)
{
    return own(own_directory().blocks[at]);
}

void probe_list::split(std::size_t at)
{
    block& full = own_block(at);
    const boost::intrusive_ptr<block> rest{new block};
    constexpr std::size_t half = block_size / 2;
    std::copy(full.of.begin() + half, full.of.begin() + full.count, rest->of.begin());
    std::copy(full.probes.begin() + half, full.probes.begin() + full.count, rest->probes.begin());
    rest->count = full.count - half;
    auto& all = directory_->blocks;
    all.insert(all.begin() + static_cast<std::ptrdiff_t>(at) + 1, rest);
    full.count = half;
    full.refresh();
    rest->refresh();
}

void probe_list::insert(const tuple& t)
{
    auto& all = own_directory().blocks;
    if (all.empty()) {
        all.emplace_back(new block);
        all.front()->insert(0, t, probe{t});
        return;
    }
    place at = first_of(t.order());
    if (at.block == all.size()) {
        at = {all.size() - 1, all.back()->count};
    }
    if (all[at.block]->count == block_size) {
        split(at.block);
        constexpr std::size_t half = block_size / 2;
        if (at.index > half) {
            at = {at.block + 1, at.index - half};
        }
    }
    own_block(at.block).insert(at.index, t, probe{t});
}

void probe_list::erase(order_t order, const flow_mask& mask)
{
    const place at = find(order, mask);
    block& one = own_block(at.block);
    one.erase(at.index);
    if (one.count == 0) {
        auto& all = directory_->blocks;
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(at.block));
    }
}

void probe_list::update(order_t before, const tuple& t, std::optional<std::uint64_t> added)
{
    if (t.order() != before) {
        erase(before, t.mask());
        insert(t);
        return;
    }
    const place at = find(before, t.mask());
    block& one = own_block(at.block);
    one.of[at.index] = &t;
    probe& p = one.probes[at.index];
    if (added && t.size() <= tuple::few) {
        p.add(*added);
    } else {
        p.refilter(t);
    }
}

void probe_list::consult(const key& k, std::size_t last, std::size_t end,
                         key& consulted) const noexcept
{
    const auto varying = [&](const block& one, std::uint32_t which) {
        for (; which != 0; which &= which - 1) {
            const tuple& t = *one.of[static_cast<std::size_t>(std::countr_zero(which))];
            if (t.has_steady(k)) {
                t.mask().add_to(consulted);
            }
        }
    };
    const auto all = blocks();
    for (std::size_t b = 0; b < last; ++b) {
        const block& one = *all[b];
        for (std::size_t i = 0; i < key_words; ++i) {
            consulted.words[i] |= one.steady.words[i];
        }
        varying(one, one.varying);
    }
    if (end != 0) {
        const block& one = *all[last];
        for (std::size_t i = 0; i < end; ++i) {
            one.of[i]->mask().add_steady_to(consulted);
        }
        varying(one, one.varying & static_cast<std::uint32_t>((std::uint64_t{1} << end) - 1));
    }
}

} // namespace strait::flow
