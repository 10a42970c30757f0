// SPDX-License-Identifier: BSD-3-Clause
// The flow tables of a bridge, 0 to 254. A value like each of them: copies share what does not
// differ.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/classifier.hh"

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <array>
#include <cstddef>

namespace strait::flow {

class flow_tables {
public:
    // Null: there was never a rule in it, or it was removed; all_tables is none. A packet meets
    // nothing there.
    [[nodiscard]] const classifier* find(table_id id) const noexcept
    {
        const one* const t = all_ && id < all_tables ? all_->tables[id].get() : nullptr;
        return t == nullptr ? nullptr : &t->rules;
    }

    // A table to be changed, not all_tables, made if it is not there: no copy made before has it.
    // Until the next copy is made.
    [[nodiscard]] classifier& own(table_id id);
    void remove(table_id id);

    // Rules of all tables.
    [[nodiscard]] std::size_t size() const noexcept;

private:
    struct one : boost::intrusive_ref_counter<one, boost::thread_safe_counter> {
        classifier rules;
    };
    struct all : boost::intrusive_ref_counter<all, boost::thread_safe_counter> {
        std::array<boost::intrusive_ptr<one>, all_tables> tables;
    };
    [[nodiscard]] boost::intrusive_ptr<one>& own_place(table_id id);

    boost::intrusive_ptr<all> all_; // null: no table
};

} // namespace strait::flow
