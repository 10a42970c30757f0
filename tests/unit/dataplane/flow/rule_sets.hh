// SPDX-License-Identifier: BSD-3-Clause
// Random rules and packets that meet often: few values, few masks, and what a switch without any
// structure would make of them.
#pragma once

#include "dataplane/flow/rule.hh"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace strait::flow::test {

inline rule_ptr make_rule(priority_t priority, const match& what,
                          std::shared_ptr<const action_list> actions = {})
{
    return rule::make({.priority = priority}, what, std::move(actions));
}

// Fields of all kinds: whole words, parts of words, 128 bits, and those that vary inside a flow.
inline constexpr std::array matched = {
    field::in_port, field::eth_dst,   field::eth_type, field::vlan_tci, field::nw_proto,
    field::nw_tos,  field::nw_ttl,    field::nw_src,   field::nw_dst,   field::ipv6_src,
    field::tp_src,  field::tcp_flags, field::metadata, field::reg0,     field::packet_length,
    field::tp_dst,  field::ct_state,  field::tun_id,   field::ipv6_dst, field::nd_target,
};

class dice {
public:
    explicit dice(unsigned seed) : engine_{seed} {}

    [[nodiscard]] unsigned below(unsigned limit)
    {
        return std::uniform_int_distribution<unsigned>{0, limit - 1}(engine_);
    }
    [[nodiscard]] bool one_in(unsigned n) { return below(n) == 0; }
    [[nodiscard]] field any_field() { return matched[below(matched.size())]; }

    // One of few, with low and high bits.
    [[nodiscard]] wide value(field f)
    {
        const unsigned width = width_of(f);
        return wide{below(3)} | wide{below(2)} << (width - 1) | wide{below(2)} << (width / 2);
    }
    [[nodiscard]] wide mask(field f)
    {
        const unsigned width = width_of(f);
        switch (below(4)) {
        case 0:
            return wide{1} << (width - 1);
        case 1:
            return wide{1};
        case 2:
            return wide{3} | wide{1} << (width / 2);
        default:
            return wide::ones(width);
        }
    }
    // Of up to `most` fields; any order of few values matches a packet with a fair chance.
    [[nodiscard]] match any_match(unsigned most)
    {
        match out;
        for (unsigned n = below(most + 1); n > 0; --n) {
            const field f = any_field();
            out.require(f, value(f), mask(f));
        }
        return out;
    }
    [[nodiscard]] key any_packet()
    {
        key out;
        for (const field f : matched) {
            out.set(f, value(f));
        }
        return out;
    }
    // A dimension or several of conjunctions that all have `dimensions`.
    [[nodiscard]] std::shared_ptr<const action_list> any_conjunctions(unsigned ids,
                                                                      std::uint8_t dimensions)
    {
        action_list out;
        do {
            const auto dimension = static_cast<std::uint8_t>(below(dimensions));
            out.push_back({conjunction{1 + below(ids), dimension, dimensions}});
        } while (one_in(2));
        return std::make_shared<const action_list>(std::move(out));
    }
    [[nodiscard]] key noise()
    {
        key out;
        for (std::uint64_t& word : out.words) {
            word = engine_();
        }
        return out;
    }

private:
    std::mt19937_64 engine_;
};

// The rules of a table, one after the other.
class linear_table {
public:
    rule_ptr insert(rule_ptr added)
    {
        for (rule_ptr& r : rules_) {
            if (r->priority() == added->priority() && r->match() == added->match()) {
                return std::exchange(r, std::move(added));
            }
        }
        rules_.push_back(std::move(added));
        return {};
    }
    rule_ptr erase(std::size_t at)
    {
        rule_ptr out = std::exchange(rules_[at], rules_.back());
        rules_.pop_back();
        return out;
    }
    [[nodiscard]] const std::vector<rule_ptr>& rules() const noexcept { return rules_; }

    [[nodiscard]] key union_mask() const
    {
        key out;
        for (const rule_ptr& r : rules_) {
            r->mask().add_to(out);
        }
        return out;
    }

    [[nodiscard]] const rule* lookup(const key& k) const
    {
        const rule* const plain = lookup_plain(k);
        for (const auto& [place, c] : conjunctions_of(k)) {
            if (plain != nullptr && place.first >= -int{plain->priority()}) {
                break;
            }
            if (c.met.size() == c.dimensions) {
                key with_id = k;
                with_id.set(field::conj_id, place.second);
                if (const rule* const r = lookup_plain(with_id)) {
                    return r;
                }
            }
        }
        return plain;
    }

private:
    struct partly_met {
        std::set<unsigned> met;
        std::size_t dimensions;
    };
    // By priority, descending, and number.
    using partly_met_map = std::map<std::pair<int, std::uint32_t>, partly_met>;

    // Of several with one priority the one of the higher mask.
    [[nodiscard]] const rule* lookup_plain(const key& k) const
    {
        const rule* best = nullptr;
        const auto order = [](const rule& r) { return std::pair{r.priority(), r.mask().rank()}; };
        for (const rule_ptr& r : rules_) {
            if (!r->is_conjunctive() && r->match().matches(k) &&
                (best == nullptr || order(*r) > order(*best))) {
                best = r.get();
            }
        }
        return best;
    }
    [[nodiscard]] partly_met_map conjunctions_of(const key& k) const
    {
        partly_met_map out;
        for (const rule_ptr& r : rules_) {
            if (!r->is_conjunctive() || !r->match().matches(k)) {
                continue;
            }
            for (const action& a : r->actions()) {
                const auto& c = std::get<conjunction>(a.is);
                auto& one = out[{-int{r->priority()}, c.id}];
                one.met.insert(c.dimension);
                one.dimensions = c.dimensions;
            }
        }
        return out;
    }

    std::vector<rule_ptr> rules_;
};

} // namespace strait::flow::test
