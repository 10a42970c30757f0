// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/flow_tables.hh"

#include "dataplane/flow/own.hh"

namespace strait::flow {

boost::intrusive_ptr<flow_tables::one>& flow_tables::own_place(table_id id)
{
    return flow::own(all_).tables[id];
}

classifier& flow_tables::own(table_id id)
{
    return flow::own(own_place(id)).rules;
}

void flow_tables::remove(table_id id)
{
    if (find(id) != nullptr) {
        own_place(id).reset();
    }
}

std::size_t flow_tables::size() const noexcept
{
    std::size_t out = 0;
    for (unsigned id = 0; id < all_tables; ++id) {
        const classifier* const table = find(static_cast<table_id>(id));
        out += table == nullptr ? 0 : table->size();
    }
    return out;
}

} // namespace strait::flow
