// SPDX-License-Identifier: BSD-3-Clause
// What actions read of packets and where they lead, by table, and what that makes of the passes of
// a bridge: in which tables they begin, and which bits of a key tell flows apart in each.
// Control's.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/pipeline.hh"

#include <bitset>
#include <vector>

namespace strait::flow {

// Of rules that are gone, too: layouts change seldom.
class action_uses {
public:
    // Of a rule in `table`.
    void add(table_id table, const action_list& actions);
    void add(const action_uses& others);
    // Of what any packet may come to.
    void add_everywhere(const action_list& actions);
    void add_everywhere(const key& bits);

    // Sets the layouts of a pipeline that has its tables.
    void make_layouts(pipeline& p) const;

private:
    using table_set = std::bitset<table_count>;
    struct uses {
        key read;
        table_set leads_to; // in the same pass
        table_set goes_on;  // in another
        bool by_connection{false};
    };
    struct reader;

    static void add(table_id table, const action_list& actions, uses& here, uses& later);
    [[nodiscard]] table_set reached_from(table_id first) const;
    [[nodiscard]] table_set begins() const;
    [[nodiscard]] key_layout layout_of(const pipeline& p, table_id first, bool later) const;

    std::vector<uses> tables_; // up to the highest there is
    uses everywhere_;          // and of action sets
};

} // namespace strait::flow
