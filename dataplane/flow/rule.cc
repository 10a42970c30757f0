// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/rule.hh"

#include <algorithm>
#include <new>
#include <utility>

namespace strait::flow {

namespace {

bool is_conjunction(const action& a) noexcept
{
    return std::holds_alternative<conjunction>(a.is);
}

} // namespace

rule::rule(const rule_settings& settings, std::shared_ptr<const flow_mask> mask,
           std::shared_ptr<const action_list> actions) noexcept
    : conjunctive_{std::ranges::any_of(*actions, is_conjunction)},
      settings_{settings},
      mask_{std::move(mask)},
      actions_{std::move(actions)},
      used_{settings.created.count()}
{}

rule_ptr rule::make(const rule_settings& settings, const flow::match& match,
                    std::shared_ptr<const action_list> actions)
{
    static const auto drop = std::make_shared<const action_list>();
    if (!actions) {
        actions = drop;
    }
    auto mask = flow_mask::of(match.mask);
    const auto parts = mask->parts();
    void* memory = ::operator new(sizeof(rule) + parts.size() * sizeof(std::uint64_t));
    const rule_ptr made{new (memory) rule{settings, std::move(mask), std::move(actions)}};
    auto* value = reinterpret_cast<std::uint64_t*>(static_cast<std::byte*>(memory) + sizeof(rule));
    for (const flow_mask::part& p : parts) {
        new (value++) std::uint64_t{match.value.words[p.word] & p.bits};
    }
    return made;
}

flow::match rule::match() const noexcept
{
    flow::match out;
    const std::uint64_t* value = values().data();
    for (const flow_mask::part& p : mask_->parts()) {
        out.mask.words[p.word] = p.bits;
        out.value.words[p.word] = *value++;
    }
    return out;
}

bool rule::same_match(const rule& other) const noexcept
{
    return mask_ == other.mask_ && std::ranges::equal(values(), other.values());
}

bool rule::overlaps(const flow::match& other) const noexcept
{
    std::uint64_t differs = 0;
    const std::uint64_t* value = values().data();
    for (const flow_mask::part& p : mask_->parts()) {
        differs |= (other.value.words[p.word] ^ *value++) & p.bits & other.mask.words[p.word];
    }
    return differs == 0;
}

bool rule::within(const flow::match& other) const noexcept
{
    return covers(mask_->whole(), other.mask) && overlaps(other);
}

void rule::count(std::uint64_t packets, std::uint64_t bytes, instant now) const noexcept
{
    packets_.fetch_add(packets, relaxed);
    bytes_.fetch_add(bytes, relaxed);
    if (now.count() > used_.load(relaxed)) {
        used_.store(now.count(), relaxed);
    }
}

} // namespace strait::flow
