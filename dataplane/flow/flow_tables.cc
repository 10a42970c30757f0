// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/flow_tables.hh"

namespace strait::flow {

boost::intrusive_ptr<flow_tables::one>& flow_tables::own_place(table_id id)
{
    if (!all_) {
        all_ = new all;
    } else if (all_->use_count() != 1) {
        all_ = new all{*all_};
    }
    return all_->tables[id];
}

classifier& flow_tables::own(table_id id)
{
    auto& place = own_place(id);
    if (!place) {
        place = new one;
    } else if (place->use_count() != 1) {
        place = new one{*place};
    }
    return place->rules;
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
