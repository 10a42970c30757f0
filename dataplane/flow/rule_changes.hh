// SPDX-License-Identifier: BSD-3-Clause
// What a change of rules leaves as it is: says in a pipeline which entries that workers' caches
// made by older ones hold. Control's; the entries are cache.hh's, the asking is pipeline.hh's.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/pipeline.hh"
#include "dataplane/flow/rule.hh"

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace strait::flow {

// Adds the bits of a packet's key that actions change before it may meet another rule.
void add_written(const action_list& actions, key& bits);

// Rules that came or went; of one that took another's place, either. More than `most` are all.
class changed_rules {
public:
    static constexpr std::size_t most = 1024;

    void add(const rule& changed);
    void add(const changed_rules& others);
    // What is not a rule has changed, or nobody knows what.
    void add_all() noexcept;

    struct one {
        table_id table;
        flow::match match;
    };
    [[nodiscard]] bool all() const noexcept { return all_; }
    [[nodiscard]] const std::vector<one>& rules() const noexcept { return rules_; }

private:
    std::vector<one> rules_;
    bool all_{false};
};

// Of one bridge. A rule that came or went concerns packets that have its bits where it matches,
// before anything was written to them. Of these bits, those of one word are told to the workers.
class rule_changes {
public:
    // Since the last pipeline it was told of.
    template <typename Changed>
    void add(const Changed& changed)
    {
        changed_.add(changed);
    }
    void add_all() noexcept { changed_.add_all(); }

    // What of older entries holds in `next`, whose version and layouts are as they will be and
    // which workers do not see yet. Each pipeline that they see is told of, in the order of
    // versions. `written`: add_written() of all rules that are there or were.
    void tell(pipeline& next, const key& written);

private:
    using word_bits = std::array<std::uint64_t, key_words>;

    // A pass, the first one or one that begins in a table, and its layout: the words are those of
    // all pipelines since `since_`, the masks and the tables have all bits of theirs. Where keys
    // are equal that were made under different masks, so are the flows: neither tells more.
    static constexpr unsigned first_pass = all_tables;
    struct pass {
        unsigned begins;
        key_layout layout;
        word_bits masks;       // of the last pipeline
        std::uint32_t widened; // see key_layout
    };
    [[nodiscard]] bool take_in(unsigned begins, const key_layout& layout, std::uint32_t version);
    [[nodiscard]] word_bits usable_for(const changed_rules::one& rule, const key& written) const;
    [[nodiscard]] bool concerns_any(table_id table) const noexcept;
    [[nodiscard]] bool note(const changed_rules::one& rule, const pipeline& next,
                            const key& written);
    [[nodiscard]] changed_values* find(const word_bits& usable, unsigned enough) const noexcept;
    [[nodiscard]] changed_values* make(const word_bits& usable);
    void restart(const pipeline& next);

    changed_rules changed_;
    std::vector<pass> passes_;
    std::uint32_t since_{0}; // all older entries are stale
    pipeline::changes_by_word by_word_;
};

} // namespace strait::flow
