// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/classifier.hh"

#include "dataplane/flow/conjunctions.hh"

#include <algorithm>
#include <utility>

namespace strait::flow {

namespace {

auto has_mask(const flow_mask& mask) noexcept
{
    return [&mask](const tuple& t) { return &t.mask() == &mask; };
}

} // namespace

const tuple* classifier::find_tuple(const flow_mask& mask) const noexcept
{
    const auto found = tuples_.find(mask.rank());
    const auto at = std::ranges::find_if(
        found, [&](const auto& entry) { return &entry.get()->mask() == &mask; });
    return at == found.end() ? nullptr : at->get();
}

rule_ptr classifier::insert(rule_ptr added)
{
    const flow_mask& mask = added->mask();
    conjunctive_ += static_cast<unsigned>(added->is_conjunctive());
    const tuple* const known = find_tuple(mask);
    if (known == nullptr) {
        hamt<tuple>::pointer made{new tuple{added->shared_mask()}};
        made->insert(std::move(added));
        probes_.insert(*made);
        tuples_.put(mask.rank(), 0, std::move(made), has_mask(mask));
        union_.add(mask);
        ++size_;
        return {};
    }
    const std::uint64_t hash = flow_mask::hash_of(added->values());
    const order_t order = known->order();
    tuple& t = tuples_.own(mask.rank(), has_mask(mask));
    rule_ptr before = t.insert(std::move(added));
    if (before) {
        conjunctive_ -= static_cast<unsigned>(before->is_conjunctive());
    } else {
        ++size_;
    }
    // What the probe says of a tuple of many rules does not change with each of them.
    if (&t != known || t.order() != order || t.size() <= tuple::few + 1) {
        probes_.update(order, t, hash);
    }
    return before;
}

rule_ptr classifier::erase(const rule& like)
{
    const flow_mask& mask = like.mask();
    const tuple* const known = find_tuple(mask);
    if (known == nullptr || known->find(like.values(), like.priority()) == nullptr) {
        return {};
    }
    const order_t order = known->order();
    tuple& t = tuples_.own(mask.rank(), has_mask(mask));
    rule_ptr out = t.erase(like);
    --size_;
    conjunctive_ -= static_cast<unsigned>(out->is_conjunctive());
    if (t.size() != 0) {
        if (&t != known || t.order() != order || t.size() <= tuple::few) {
            probes_.update(order, t, std::nullopt);
        }
        return out;
    }
    probes_.erase(order, mask);
    tuples_.take(mask.rank(), 0, has_mask(mask));
    union_.remove(mask);
    return out;
}

rule_ptr classifier::erase(const match& what, priority_t priority)
{
    const rule* const found = find_exact(what, priority);
    return found == nullptr ? rule_ptr{} : erase(*found);
}

const rule* classifier::find_exact(const match& what, priority_t priority) const
{
    const auto mask = flow_mask::of(what.mask);
    const tuple* const t = find_tuple(*mask);
    if (t == nullptr) {
        return nullptr;
    }
    const auto found = t->rules().find(mask->hash(what.value));
    const auto at = std::ranges::find_if(found, [&](const auto& entry) {
        return entry.rank() == priority && entry.get()->matches(what.value);
    });
    return at == found.end() ? nullptr : at->get();
}

void classifier::for_each(const std::function<void(const rule&)>& visit) const
{
    for_each_within({}, visit);
}

void classifier::for_each_within(const match& filter,
                                 const std::function<void(const rule&)>& visit) const
{
    const auto visit_if_within = [&](const auto& entry) {
        if (entry.get()->overlaps(filter)) {
            visit(*entry.get());
        }
    };
    tuples_.for_each([&](const auto& of) {
        const tuple& t = *of.get();
        const key mask = t.mask().whole();
        if (mask == filter.mask) {
            std::ranges::for_each(t.rules().find(t.mask().hash(filter.value)), visit_if_within);
        } else if (covers(mask, filter.mask)) {
            t.rules().for_each(visit_if_within);
        }
    });
}

bool classifier::has_overlap(const match& what, priority_t priority) const
{
    const auto overlaps = [&](const auto& entry) {
        return entry.rank() == priority && entry.get()->overlaps(what);
    };
    return tuples_.any_of([&](const auto& of) {
        const tuple& t = *of.get();
        if (t.rules().highest_rank() < priority) {
            return false;
        }
        // All that its rules ask for is known.
        if (covers(what.mask, t.mask().whole())) {
            return std::ranges::any_of(t.rules().find(t.mask().hash(what.value)), overlaps);
        }
        return t.rules().any_of(overlaps);
    });
}

namespace {

// What is known of a packet while tuples are looked at.
struct best_rule {
    const rule* found{nullptr};
    order_t order{0};
    conjunctions* met{nullptr}; // null: rules of conjunctions are passed over
};

void look_at(const tuple& t, const key& k, std::uint64_t hash, best_rule& best) noexcept
{
    if (!t.may_have(hash)) {
        return;
    }
    for (const auto& entry : t.rules().find(hash)) {
        const order_t order = order_of(entry.rank(), t.mask().rank());
        if (order < best.order) {
            return;
        }
        const rule& r = *entry.get();
        if (!r.matches(k)) {
            continue;
        }
        if (!r.is_conjunctive()) {
            best.found = &r;
            best.order = order;
            return;
        }
        if (best.met != nullptr) {
            best.met->add(r);
        }
    }
}

// How many of a block's tuples could have something better.
std::size_t look_at(const probe_list::block& block, const key& k, best_rule& best) noexcept
{
    for (std::size_t i = 0; i < block.count; ++i) {
        const probe& p = block.probes[i];
        if (p.order < best.order) {
            return i;
        }
        const std::uint64_t hash = p.hash(k, *block.of[i]);
        if (p.may_have(hash)) [[unlikely]] {
            look_at(*block.of[i], k, hash, best);
        }
    }
    return block.count;
}

const rule* search(const probe_list& probes, const key& k, conjunctions* met,
                   key* consulted) noexcept
{
    best_rule best;
    best.met = met;
    const auto blocks = probes.blocks();
    std::size_t whole = 0;
    std::size_t more = 0;
    for (; whole < blocks.size(); ++whole) {
        more = look_at(*blocks[whole], k, best);
        if (more < blocks[whole]->count) {
            break;
        }
    }
    if (consulted != nullptr) {
        probes.consult(k, whole, whole < blocks.size() ? more : 0, *consulted);
    }
    return best.found;
}

} // namespace

const rule* classifier::lookup(const key& k, key* consulted) const noexcept
{
    return conjunctive_ == 0 ? search(probes_, k, nullptr, consulted)
                             : lookup_with_conjunctions(k, consulted);
}

const rule* classifier::lookup_with_conjunctions(const key& k, key* consulted) const noexcept
{
    conjunctions met;
    while (true) {
        const rule* const plain = search(probes_, k, &met, consulted);
        for (const auto& c : met.all()) {
            if (plain != nullptr && c.priority() <= plain->priority()) {
                return plain;
            }
            if (!c.is_met()) {
                continue;
            }
            key with_id = k;
            with_id.set(field::conj_id, c.id());
            if (const rule* const r = search(probes_, with_id, nullptr, consulted)) {
                return r;
            }
        }
        if (!met.has_more()) {
            return plain;
        }
        met.go_on();
    }
}

} // namespace strait::flow
